// One take on the page.

import { el, pressed, seconds } from "./dom.js";
import { draw } from "./draw.js";

const dark = matchMedia("(prefers-color-scheme: dark)");
const drawn = new Map();

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) drawn.get(entry.target)?.draw();
}, { rootMargin: "200px" });
const resized = new ResizeObserver((entries) => {
  for (const entry of entries) drawn.get(entry.target)?.draw();
});
dark.addEventListener("change", () => drawn.forEach((row) => row.draw(true)));

export class Row {
  constructor(take, actions, formats) {
    this.take = take;
    this.actions = actions;
    const button = (text, action, props = {}) => el("button", { type: "button", textContent: text, onclick: action, ...props });
    this.badge = el("span", { className: "number", "aria-hidden": "true" });
    this.name = el("input", {
      className: "name", value: take.name, maxLength: 200, spellcheck: false, "aria-label": "Name of this take",
      onchange: () => actions.rename(take, this.name.value),
      onkeydown: (event) => { if (event.key === "Enter" || event.key === "Escape") this.playButton.focus(); },
    });
    this.playButton = button("", () => actions.toggle(take), { className: "play" });
    this.keepButton = button("Keep", () => actions.keep(take), { className: "keep", title: "Keep (K)" });
    this.canvas = el("canvas", { "aria-hidden": "true" });
    this.head = el("div", { className: "head-line", "aria-hidden": "true" });
    this.place = el("input", {
      type: "range", min: 0, max: take.length, step: 0.01, value: 0, className: "place",
      oninput: () => actions.seek(take, Number(this.place.value)),
    });
    this.meta = el("p", { className: "meta", textContent: describe(take) });
    this.saves = formats.map((format) => button(format, () => actions.download(take, format), { className: "quiet" }));
    this.discardButton = button("Discard", () => actions.discard(take), { className: "quiet", title: "Discard (X)" });
    this.reuseButton = button("Use settings", () => actions.reuse(take), { className: "quiet", title: "Put these settings into the form (R)" });
    this.node = el("li", { className: "take", onkeydown: (event) => this.#arrows(event), onfocusin: () => actions.current(take) },
      el("div", { className: "take-top" }, this.badge, this.name, this.meta),
      el("div", { className: "take-middle" }, this.playButton, el("div", { className: "picture" }, this.canvas, this.head, this.place)),
      el("div", { className: "take-bottom" }, this.keepButton, this.reuseButton,
        el("span", { className: "saves", role: "group", "aria-label": "Download" }, ...this.saves), this.discardButton));
    drawn.set(this.canvas, this);
    seen.observe(this.canvas);
    resized.observe(this.canvas);
    this.refresh();
  }

  refresh() {
    const { name, kept } = this.take;
    this.name.value = name;
    this.name.title = name;
    pressed(this.keepButton, kept);
    this.keepButton.textContent = kept ? "Kept" : "Keep";
    this.node.classList.toggle("kept", kept);
    this.#labels();
  }

  #labels() {
    const which = this.number ? `take ${this.number}, ${this.take.name}` : this.take.name;
    this.node.setAttribute("aria-label", which);
    this.playButton.setAttribute("aria-label", `${this.sounding ? "Pause" : "Play"} ${which}`);
    this.keepButton.setAttribute("aria-label", `Keep ${which}`);
    this.reuseButton.setAttribute("aria-label", `Use the settings of ${which}`);
    this.discardButton.setAttribute("aria-label", `Discard ${which}`);
    this.place.setAttribute("aria-label", `Place in ${which}`);
    for (const save of this.saves) save.setAttribute("aria-label", `Download ${which} as ${save.textContent}`);
  }

  setNumber(number) {
    if (number === this.number) return;
    this.number = number;
    this.badge.textContent = number ?? "";
    this.#labels();
  }

  showPlaying(isCurrent, sounding) {
    this.node.classList.toggle("current", isCurrent);
    if (sounding === this.sounding) return;
    this.sounding = sounding;
    this.node.classList.toggle("sounding", sounding);
    this.#labels();
  }

  showPosition(position) {
    const share = Math.min(1, position / this.take.length);
    this.head.style.transform = `translateX(${share * this.canvas.clientWidth}px)`;
    this.place.value = position;
    this.place.setAttribute("aria-valuetext", `${position.toFixed(1)} of ${seconds(this.take.length)}`);
  }

  /** Draw, unless it is drawn at this size already. */
  async draw(again = false) {
    const size = `${this.canvas.clientWidth}x${this.canvas.clientHeight}`;
    if (this.canvas.clientWidth === 0 || (size === this.size && !again)) return;
    this.size = size;
    try {
      draw(this.canvas, (await this.actions.buffer(this.take)).getChannelData(0), this.take.rate);
    } catch {
      this.meta.textContent = "The browser can't decode this take.";
    }
  }

  focus() { this.playButton.focus(); }

  focusName() {
    this.name.focus();
    this.name.select();
  }

  #arrows(event) {
    const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!by || event.target.tagName === "INPUT") return;
    event.preventDefault();
    this.actions.move(this.take, by);
  }
}

function describe(take) {
  const { num_inference_steps: steps, network, guidance_scale: guidance, seed } = take.settings;
  const way = network === "teacher" ? `teacher, ${steps} steps` : `${steps} step${steps === 1 ? "" : "s"}`;
  const { scores } = take.metadata?.ranking ?? {};
  const best = scores ? ` · best of ${scores.length}, score ${Math.max(...scores).toFixed(2)}` : "";
  return `${seconds(take.length)} · ${way} · guidance ${guidance} · seed ${seed}${best}`;
}
