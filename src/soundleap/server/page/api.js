// What is asked of the server: JSON, sounds, and events read from a stream (so that keys can be sent).

import { byId } from "./dom.js";

const KEY = "soundleap-key";

/** An answer that is no success; `status` 0 means that there was no answer at all. */
export class ApiError extends Error {
  constructor(status, body, retryAfter) {
    super(body.message);
    this.status = status;
    this.code = body.code ?? "";
    this.fields = body.fields ?? [];
    this.retryAfter = retryAfter;
  }
}

let key = readKey();
let asking = null;

function readKey() {
  try { return sessionStorage.getItem(KEY); } catch { return null; }
}

/** Ask the server; a missing key is asked for, and the request is sent again. */
export async function ask(path, options = {}) {
  for (;;) {
    const used = key;
    const headers = { ...options.headers, ...(used ? { Authorization: `Bearer ${used}` } : {}) };
    let answer;
    try {
      answer = await fetch(path, { ...options, headers });
    } catch (error) {
      if (options.signal?.aborted) throw error;
      throw new ApiError(0, { message: "The server does not answer.", code: "no_answer" }, null);
    }
    if (answer.ok) return answer;
    const failure = await failed(answer);
    if (answer.status !== 401) throw failure;
    if (used === key) await askForKey(failure.code === "wrong_key");
  }
}

export async function askJson(path, options) {
  return (await ask(path, options)).json();
}

export function post(path, body) {
  return askJson(path, {
    method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" },
  });
}

async function failed(answer) {
  let body = { message: `The server answered ${answer.status}.` };
  try { body = (await answer.json()).error ?? body; } catch { /* no JSON: a proxy's page */ }
  const wait = Number(answer.headers.get("Retry-After"));
  return new ApiError(answer.status, body, Number.isFinite(wait) && wait > 0 ? wait : null);
}

function askForKey(wrong) {
  asking ??= new Promise((resolve) => {
    const dialog = byId("key-dialog");
    byId("api-key-fault").textContent = wrong ? "The server does not know this key." : "";
    byId("api-key").value = "";
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    dialog.addEventListener("close", () => {
      key = byId("api-key").value.trim();
      try { sessionStorage.setItem(KEY, key); } catch { /* kept for as long as the page is open */ }
      asking = null;
      resolve();
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

/** Give a stream's server-sent events as [name, data] pairs, until it ends or breaks. */
export async function* events(path, signal) {
  const answer = await ask(path, { signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    let part;
    try { part = await reader.read(); } catch { return; }
    if (part.done) return;
    text += part.value;
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const lines = block.split("\n");
      const name = lines.find((line) => line.startsWith("event: "))?.slice(7);
      const data = lines.find((line) => line.startsWith("data: "))?.slice(6);
      if (name && data) yield [name, JSON.parse(data)];
    }
  }
}

/** Whether the server is there: its /health, or null. */
export async function health() {
  try {
    const answer = await fetch("/health", { signal: AbortSignal.timeout(4000), cache: "no-store" });
    return await answer.json();
  } catch {
    return null;
  }
}
