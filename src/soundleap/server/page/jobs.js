// Jobs in the making: progress, place in the queue, cancel, and what happens when the server goes away.

import { ApiError, ask, askJson, events, health, post } from "./api.js";
import { announce, byId, el, plural, toast } from "./dom.js";
import { choice } from "./store.js";

const FINAL = ["done", "failed", "cancelled"];

/** Ask for takes; `hooks` has take(job, take, bytes), away(), back(), faults(error). */
export async function begin(body, hooks) {
  for (;;) {
    try {
      follow(await post("/v1/jobs", body), body, hooks);
      return;
    } catch (error) {
      if (error.code !== "loading") throw error;
      toast("The model is still loading; the takes are sent as soon as it is ready.");
      await new Promise((resolve) => setTimeout(resolve, 1000 * (error.retryAfter ?? 2)));
    }
  }
}

/** Go on with what was in the making when the page was left. */
export function resume(hooks) {
  for (const { job, body } of choice("open-jobs") ?? []) follow(job, body, hooks);
}

function remember(job, body) {
  const others = (choice("open-jobs") ?? []).filter((open) => open.job.id !== job.id);
  const { id, links, settings, takes } = job;
  const brief = { id, links, settings, takes: takes.map(({ number, seed }) => ({ number, seed })) };
  choice("open-jobs", body ? [...others, { job: brief, body }] : others);
}

async function follow(job, body, hooks) {
  const seen = new Set();
  const card = new Card(job, () => cancel(job, card));
  remember(job, body);
  for (let round = 0; ; round++) {
    try {
      const last = await listen(job, card, seen, hooks);
      if (last) return finish(last, body, card, hooks);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (error.status === 404 || error.status === 410) return lost(job, body, card, hooks);
      if (error.status !== 0 && error.status < 500) return fail(job, card, error.message);
    }
    card.say("The server does not answer; waiting for it…");
    await comeBack(hooks);
  }
}

/** Follow a job's events to its end; gives the finished job, or null if the stream broke. */
async function listen(job, card, seen, hooks) {
  const getting = [];
  const arrive = (take) => {
    if (take.status !== "done" || seen.has(take.number)) return;
    seen.add(take.number);
    const fetched = fetchTake(job, take, hooks).catch((error) => { seen.delete(take.number); throw error; });
    fetched.catch(() => {}); // seen to at the job's end
    getting.push(fetched);
  };
  for await (const [name, data] of events(job.links.events)) {
    if (name === "state") {
      card.state(data);
      data.takes.forEach(arrive);
    } else if (name === "queued") card.position(data.position);
    else if (name === "step") card.step(data);
    else if (name === "take") {
      card.take(data);
      arrive(data);
    } else if (FINAL.includes(name)) {
      await Promise.all(getting);
      return data;
    }
  }
  await Promise.allSettled(getting);
  return null;
}

async function fetchTake(job, take, hooks) {
  const answer = await ask(take.audio.wav);
  await hooks.take(job, take, await answer.arrayBuffer());
}

/** Wait until the server answers again. */
async function comeBack(hooks) {
  for (let wait = 500; ; wait = Math.min(5000, wait * 1.5)) {
    await new Promise((resolve) => setTimeout(resolve, wait));
    const found = await health();
    if (found && found.status !== "stopping") return hooks.back();
    hooks.away();
  }
}

async function cancel(job, card) {
  try {
    await askJson(job.links.self, { method: "DELETE" });
  } catch (error) {
    card.say(error.message);
  }
}

function finish(last, body, card, hooks) {
  remember(last, null);
  const stopped = last.takes.some((take) => take.error?.code === "stopping");
  if (stopped) return lost(last, body, card, hooks);
  if (last.status === "failed") return fail(last, card, last.error?.message ?? "Something went wrong.");
  card.remove();
  const made = last.takes.filter((take) => take.status === "done").length;
  announce(last.status === "cancelled" ? `Cancelled; ${plural(made, "take")} made` : `${plural(made, "take")} ready: ${last.settings.prompt}`);
}

function fail(job, card, message) {
  remember(job, null);
  card.end(`It did not work: ${message}`);
}

function lost(job, body, card, hooks) {
  remember(job, null);
  card.end("The server was stopped before this was finished. The settings and the seed are still here.", async () => {
    try {
      await begin(body, hooks);
      card.remove();
    } catch (error) {
      card.say(error.message);
    }
  });
}

/** A job's block on the page. */
class Card {
  constructor(job, cancelled) {
    this.text = el("p", { role: "status" });
    this.bar = el("progress", { max: 1, value: 0, "aria-label": `Progress of ${job.settings.prompt}` });
    this.button = el("button", { type: "button", className: "quiet", textContent: "Cancel", onclick: cancelled });
    this.button.setAttribute("aria-label", `Cancel: ${job.settings.prompt}`);
    this.node = el("div", { className: "job" },
      el("p", { className: "job-name", textContent: job.settings.prompt }), this.text, this.bar, this.button);
    byId("jobs").append(this.node);
    this.steps = new Map();
    this.total = 1;
    this.say("Sent…");
  }

  say(text) { if (this.text.textContent !== text) this.text.textContent = text; }

  state(job) {
    this.takes = job.takes.length;
    this.total = job.takes.reduce((sum, take) => sum + take.steps + 1, 0);
    job.takes.forEach((take) => this.take(take));
    if (job.position !== null) this.position(job.position);
  }

  position(position) {
    this.say(position > 0 ? `In the queue: ${plural(position, "sound")} before it` : this.count());
  }

  count() {
    const done = [...this.steps.values()].filter((take) => take.done).length;
    return `Making ${plural(this.takes, "take")}: ${done} done`;
  }

  step({ take, step }) {
    this.steps.set(take, { step, done: false });
    this.show();
  }

  take(take) {
    const done = take.status === "done";
    this.steps.set(take.number, { step: done ? take.steps + 1 : take.step, done });
    this.show();
    if (done) this.say(this.count());
  }

  show() {
    this.bar.value = [...this.steps.values()].reduce((sum, { step }) => sum + step, 0) / this.total;
  }

  end(text, again = null) {
    this.say(text);
    this.bar.remove();
    this.node.classList.add("ended");
    const dismiss = el("button", { type: "button", className: "quiet", textContent: "Dismiss", onclick: () => this.remove() });
    this.button.replaceWith(...(again ? [el("button", { type: "button", textContent: "Make it again", onclick: again })] : []), dismiss);
  }

  remove() {
    if (this.node.contains(document.activeElement)) byId("make").focus();
    this.node.remove();
  }
}
