// Shortcuts. Letters and numbers work where no text is typed, and can be turned off (WCAG 2.1.4).

import { byId, el, undoLast } from "./dom.js";
import * as form from "./form.js";
import { choice } from "./store.js";
import * as takes from "./takes.js";

const SHORTCUTS = [
  ["Ctrl ↵", "make takes (also ⌘ ↵)"],
  ["1 … 9", "play this take; while one sounds, switch at the same place (A/B)"],
  ["Space", "play or pause the current take"],
  ["↑ ↓", "go to the next take, once you are in the list"],
  ["← →", "move in the sound, on its picture"],
  ["Esc", "stop"],
  ["L", "loop"], ["M", "equal loudness"],
  ["K", "keep the current take"], ["X", "discard it"], ["U", "undo the discarding"],
  ["N", "rename it"], ["R", "use its settings"],
  ["D", "draw a seed"], ["S", "lock the seed"],
  ["F", "kept takes only"], ["/", "go to the description"], ["?", "this list"],
];

const onCurrent = (name) => () => { if (takes.current) takes.actions[name](takes.current); };

const ACTIONS = {
  l: takes.toggleLoop, m: takes.toggleMatch, f: takes.toggleKept,
  k: onCurrent("keep"), x: onCurrent("discard"), n: onCurrent("focusName"), r: onCurrent("reuse"),
  u: undoLast, d: form.drawSeed, s: () => form.lockSeed(!form.lockSeed()),
  "/": () => byId("prompt").focus(), "?": () => byId("help").showModal(),
};

export function listen() {
  byId("shortcuts").append(...SHORTCUTS.flatMap(([key, what]) => [
    el("dt", {}, el("kbd", { textContent: key })), el("dd", { textContent: what })]));
  byId("single-keys").checked = choice("single-keys") ?? true;
  byId("single-keys").addEventListener("change", () => choice("single-keys", byId("single-keys").checked));
  document.addEventListener("keydown", pressedKey);
}

function types(target) {
  return target.matches("textarea, select, input:not([type=radio], [type=checkbox], [type=range], [type=button])");
}

function pressedKey(event) {
  if (document.querySelector("dialog[open]")) return;
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    byId("form").requestSubmit();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.key === "Escape") return takes.player.stop();
  if (types(event.target)) return;
  if (event.key === " " && !event.target.matches("button, summary, input, a")) {
    event.preventDefault();
    return takes.toggle();
  }
  if (!byId("single-keys").checked || event.repeat) return;
  const action = /^[1-9]$/.test(event.key) ? () => takes.compare(Number(event.key)) : ACTIONS[event.key.toLowerCase()];
  if (!action) return;
  event.preventDefault();
  action();
}
