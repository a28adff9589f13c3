// The list of takes: rows, playing, comparing, keeping, saving.

import { ask } from "./api.js";
import { announce, byId, fileName, plural, pressed, save, toast } from "./dom.js";
import { Player, commonLevel, decode, gainFor } from "./player.js";
import { Row } from "./row.js";
import * as store from "./store.js";
import { zip } from "./zip.js";

const PAGE_SIZE = 30;
const COMPARED = 9;

let takes = [];
let shown = PAGE_SIZE;
const rows = new Map();
const buffers = new Map();
const hooks = { reuse: () => {}, formats: ["wav", "flac", "mp3"] };

export const player = new Player(() => showPlaying());
export let current = null;

export async function load(own) {
  Object.assign(hooks, own);
  const lasting = await store.open();
  byId("store-note").hidden = lasting;
  byId("store-note").textContent = "This browser keeps no history for this page: download what you like before you close it.";
  takes = await store.all();
  show();
}

const visible = () => takes.filter((take) => take.kept || !pressed(byId("only-kept"))).slice(0, shown);

/** Add a take that was made; gives it back as it is stored. */
export async function add(job, made, bytes) {
  const id = `${job.id}-${made.number}`;
  const known = takes.find((take) => take.id === id);
  if (known) return known; // of a job that was followed before the page was loaded anew
  const take = {
    id, number: made.number, created: job.created ?? Date.now() / 1000, name: job.settings.prompt,
    kept: false, settings: { ...job.settings, seed: made.seed }, model: job.model ?? null, metadata: made.metadata ?? {},
    rate: made.sampling_rate, length: made.duration_in_s, peak: made.peak, loudness: made.loudness_dbfs,
    audio: made.audio, wav: bytes,
  };
  takes = [take, ...takes]
    .sort((a, b) => b.created - a.created || a.number - b.number);
  const old = store.tooMany(takes);
  takes = takes.filter((other) => !old.includes(other));
  show();
  try {
    await store.put(take);
    await Promise.all(old.map((other) => store.remove(other.id)));
  } catch {
    toast("The browser's store is full: download what you like, and discard some takes.");
  }
  return take;
}

export function show() {
  const list = visible();
  for (const [id, row] of rows) {
    if (list.some((take) => take.id === id)) continue;
    row.node.remove();
    rows.delete(id);
    buffers.delete(id);
  }
  list.forEach((take, i) => {
    let row = rows.get(take.id);
    if (!row) rows.set(take.id, row = new Row(take, actions, hooks.formats));
    row.setNumber(i < COMPARED ? i + 1 : null);
    const there = byId("takes").children[i];
    if (there !== row.node) byId("takes").insertBefore(row.node, there ?? null);
  });
  const kept = takes.filter((take) => take.kept).length;
  const all = pressed(byId("only-kept")) ? kept : takes.length;
  byId("empty").hidden = takes.length > 0;
  byId("takes-count").textContent = takes.length ? `${takes.length}, ${kept} kept` : "";
  byId("older").hidden = all <= shown;
  byId("zip").disabled = kept === 0;
  byId("sweep").disabled = kept === takes.length;
  showPlaying();
}

export function showOlder() {
  shown += PAGE_SIZE;
  show();
}

function showPlaying() {
  for (const [id, row] of rows) row.showPlaying(id === current?.id, player.playing && id === player.take?.id);
  requestAnimationFrame(tick);
}

let ticking = false;
function tick() {
  if (ticking || !player.take) return;
  ticking = true;
  rows.get(player.take.id)?.showPosition(player.position);
  ticking = false;
  if (player.playing) requestAnimationFrame(tick);
}

async function bufferOf(take) {
  if (!buffers.has(take.id)) buffers.set(take.id, decode(take.wav, take.rate));
  return buffers.get(take.id);
}

function gain(take) {
  return pressed(byId("match")) ? gainFor(take, commonLevel(visible().slice(0, COMPARED))) : 1;
}

export async function play(take, from) {
  player.wake();
  current = take;
  try {
    player.play(take, await bufferOf(take), gain(take), from);
  } catch {
    toast("The browser can't decode this take.");
  }
}

export function toggle(take = current ?? visible()[0]) {
  if (!take) return;
  if (player.playing && player.take?.id === take.id) player.pause();
  else play(take, player.take?.id === take.id && !player.playing ? player.rest : undefined);
}

/** Play take `number` of the numbered ones, from where the one before is. */
export function compare(number) {
  const take = visible()[number - 1];
  if (take && number <= COMPARED) play(take);
}

export function toggleLoop() {
  player.setLoop(pressed(byId("loop"), !pressed(byId("loop"))));
}

export function toggleMatch() {
  pressed(byId("match"), !pressed(byId("match")));
  if (player.take) player.setGain(gain(player.take));
}

export function toggleKept() {
  pressed(byId("only-kept"), !pressed(byId("only-kept")));
  show();
}

const saved = (take) => store.put(take).catch(() => toast("The browser could not store this."));

export const actions = {
  buffer: bufferOf,
  toggle,
  current(take) { current = take; showPlaying(); },
  seek(take, at) { play(take, at); },
  rename(take, name) {
    take.name = name.trim() || take.settings.prompt;
    saved(take);
    rows.get(take.id)?.refresh();
  },
  keep(take) {
    take.kept = !take.kept;
    saved(take);
    rows.get(take.id)?.refresh();
    show();
    announce(take.kept ? "Kept" : "No longer kept");
  },
  reuse(take) { hooks.reuse(take); },
  discard(take) { discard([take]); },
  move(take, by) {
    const list = visible();
    rows.get(list[list.findIndex((other) => other.id === take.id) + by]?.id)?.focus();
  },
  focusName(take) { rows.get(take.id)?.focusName(); },
  async download(take, format) {
    try {
      save(await sound(take, format), fileName(take.name, take.settings.seed, format));
      announce(`Downloaded as ${format}`);
    } catch (error) {
      toast(error.message);
    }
  },
};

function discard(list) {
  const gone = new Set(list.map((take) => take.id));
  if (gone.size === 0) return;
  const before = takes;
  const at = visible().findIndex((take) => gone.has(take.id));
  const focused = [...rows].some(([id, row]) => gone.has(id) && row.node.contains(document.activeElement));
  if (gone.has(player.take?.id)) player.stop();
  if (gone.has(current?.id)) current = null;
  takes = takes.filter((take) => !gone.has(take.id));
  list.forEach((take) => store.remove(take.id).catch(() => {}));
  show();
  if (focused) (rows.get((visible()[at] ?? visible()[at - 1])?.id) ?? { focus: () => byId("takes-title").focus() }).focus();
  toast(`${plural(list.length, "take")} discarded`, () => {
    const now = new Set(takes.map((take) => take.id));
    takes = [...takes.filter((take) => !before.includes(take)), ...before.filter((take) => now.has(take.id) || gone.has(take.id))];
    list.forEach(saved);
    show();
  });
}

export const sweep = () => discard(takes.filter((take) => !take.kept));

/** The sound in a format: from here, from its job, or else made anew from its settings and seed. */
async function sound(take, format) {
  if (format === "wav") return new Blob([take.wav], { type: "audio/wav" });
  try {
    return await (await ask(take.audio[format])).blob();
  } catch (error) {
    if (error.status !== 404 && error.status !== 410) throw error;
  }
  const { models } = hooks;
  const same = models().find((model) => model.fingerprint && model.fingerprint === take.metadata.model_fingerprint);
  if (!same) throw new Error("The server no longer has this take, nor its model: only wav can be saved.");
  const given = Object.entries(take.settings).filter(([, value]) => value !== null && value !== "");
  const body = { ...Object.fromEntries(given), model: same.id, response_format: format };
  if (body.network === "student") delete body.solver;
  const answer = await ask("/v1/audio/generate", {
    method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" },
  });
  return answer.blob();
}

export async function downloadKept() {
  const format = byId("zip-format").value;
  const kept = takes.filter((take) => take.kept);
  byId("zip").disabled = true;
  try {
    const files = [];
    for (const take of kept) {
      byId("zip").textContent = `Packing ${files.length + 1} of ${kept.length}…`;
      const blob = await sound(take, format);
      files.push({ name: fileName(take.name, take.settings.seed, format), bytes: new Uint8Array(await blob.arrayBuffer()) });
    }
    save(zip(files), `soundleap ${plural(kept.length, "take")}.zip`);
    announce(`${plural(kept.length, "take")} downloaded`);
  } catch (error) {
    toast(error.message);
  }
  byId("zip").textContent = "Download kept (.zip)";
  byId("zip").disabled = false;
}
