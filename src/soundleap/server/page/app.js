// The studio page: puts its parts together.

import { askJson, ask, health } from "./api.js";
import { announce, byId, el, pressed, toast, undoLast } from "./dom.js";
import { EXAMPLES } from "./examples.js";
import * as form from "./form.js";
import * as jobs from "./jobs.js";
import * as keys from "./keys.js";
import { choice } from "./store.js";
import * as takes from "./takes.js";

const POLL_IN_MS = 5000;
const SAVED_FORMATS = ["wav", "flac", "mp3"];
let models = [];
let limits = null;
let away = false;
let wantsFirst = false;

const hooks = {
  async take(job, made, bytes) {
    const take = await takes.add(job, made, bytes);
    if (!wantsFirst || !byId("autoplay").checked) return;
    wantsFirst = false;
    if (!takes.player.playing) takes.play(take);
  },
  away() { setAway(true); },
  back() { setAway(false); },
};

function setAway(value) {
  if (away && !value) announce("The server is back.");
  away = value;
  if (value) {
    byId("server-state").textContent = "No server";
    byId("server-state").dataset.state = "away";
  }
  byId("banner").hidden = !value;
  byId("banner").textContent = value
    ? "The server does not answer. Your takes are safe in this browser; the page goes on when the server is back." : "";
  byId("make").disabled = value || limits === null;
}

/** Show how the server is, over and over. */
async function watch() {
  const found = await health();
  setAway(found === null);
  const words = { ready: "Ready", loading: "The model is loading…", failed: "The model can't be loaded", stopping: "The server is stopping" };
  byId("server-state").textContent = found ? words[found.status] ?? found.status : "No server";
  byId("server-state").dataset.state = found?.status ?? "away";
  if (found && (limits === null || found.status !== watch.before)) await getModels().catch(failedToList);
  watch.before = found?.status;
  setTimeout(watch, found?.status === "ready" ? POLL_IN_MS : 1000);
}

function failedToList(error) {
  form.showFaults([{ field: "form", message: error.message }]);
}

async function getModels() {
  const answer = await askJson("/v1/models");
  models = answer.data.filter((model) => model.networks);
  if (models.length === 0) return;
  const before = byId("model").value;
  byId("model").replaceChildren(...models.map((model) => el("option", { value: model.id, textContent: model.name === model.id ? model.id : `${model.id} (${model.name})` })));
  byId("model-field").hidden = models.length < 2;
  const chosen = models.find((model) => model.id === before) ?? models.find((model) => model.default) ?? models[0];
  byId("model").value = chosen.id;
  limits = answer.limits;
  form.useModel(chosen, limits);
  const failed = models.find((model) => model.status === "failed");
  if (failed) form.showFaults([{ field: "form", message: `${failed.id}: ${failed.error ?? "can't be loaded"}` }]);
  byId("make").disabled = away;
}

async function make(event) {
  event.preventDefault();
  if (byId("make").disabled) return;
  takes.player.wake();
  const body = form.read();
  if (body === null) return;
  byId("make").disabled = true;
  wantsFirst = true;
  try {
    await jobs.begin(body, hooks);
    announce("Sent to the server");
  } catch (error) {
    if (error.status === 0) hooks.away();
    if (error.fields === undefined) throw error;
    form.showFaults(form.faultsOf(error));
  } finally {
    byId("make").disabled = away;
  }
}

function useSettings(settings, modelId, said) {
  if (modelId && modelId !== byId("model").value && models.some((model) => model.id === modelId)) {
    byId("model").value = modelId;
    form.useModel(models.find((model) => model.id === modelId), limits);
  }
  form.fill(settings);
  toast(said);
}

async function readFile(file) {
  if (!file) return;
  if (limits && file.size > limits.max_upload_bytes) return toast("This file is too large to have come from Soundleap.");
  try {
    const answer = await ask("/v1/metadata", {
      method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" },
    });
    const found = await answer.json();
    const other = found.same_model ? "" : ` It was made by another model (${found.model_name ?? "unknown"}): the sound will differ.`;
    useSettings(found.settings, found.model, `Settings of ${file.name} are in the form.${other}`);
  } catch (error) {
    toast(error.status === 422 ? `${file.name} carries no Soundleap settings.` : error.message);
  }
}

function takeDrops() {
  const carriesFile = (event) => event.dataTransfer?.types.includes("Files");
  let depth = 0;
  addEventListener("dragenter", (event) => { if (carriesFile(event)) { depth++; byId("drop").hidden = false; } });
  addEventListener("dragleave", (event) => { if (carriesFile(event) && --depth <= 0) { depth = 0; byId("drop").hidden = true; } });
  addEventListener("dragover", (event) => { if (carriesFile(event)) event.preventDefault(); });
  addEventListener("drop", (event) => {
    depth = 0;
    byId("drop").hidden = true;
    if (!carriesFile(event)) return;
    event.preventDefault();
    readFile(event.dataTransfer.files[0]);
  });
}

function showExamples() {
  byId("examples").append(...EXAMPLES.map(({ prompt, duration }) => el("li", {}, el("button", {
    type: "button", className: "chip", textContent: prompt,
    onclick: () => {
      byId("prompt").value = prompt;
      byId("duration_in_s").value = duration;
      byId("negative_prompt").value = "";
      form.setExtra({});
      form.clearFaults();
      byId("make").focus();
    },
  }))));
}

function wire() {
  const click = (id, action) => byId(id).addEventListener("click", action);
  byId("form").addEventListener("submit", make);
  byId("form").addEventListener("input", (event) => { form.setFault(event.target.name, ""); form.hints(); });
  byId("model").addEventListener("change", () => form.useModel(models.find((model) => model.id === byId("model").value), limits));
  click("dice", form.drawSeed);
  click("lock", () => form.lockSeed(!form.lockSeed()));
  click("extra-drop", () => form.setExtra({}));
  click("file-open", () => byId("file").click());
  byId("file").addEventListener("change", () => { readFile(byId("file").files[0]); byId("file").value = ""; });
  click("stop", () => takes.player.stop());
  click("loop", takes.toggleLoop);
  click("match", takes.toggleMatch);
  click("only-kept", takes.toggleKept);
  click("zip", takes.downloadKept);
  click("sweep", takes.sweep);
  click("older", takes.showOlder);
  click("toast-undo", undoLast);
  click("help-open", () => byId("help").showModal());
  byId("autoplay").checked = choice("autoplay") ?? true;
  byId("autoplay").addEventListener("change", () => choice("autoplay", byId("autoplay").checked));
  byId("zip-format").append(...SAVED_FORMATS.map((format) => el("option", { value: format, textContent: format })));
  if (matchMedia("(max-width: 45rem)").matches) document.querySelector(".examples").open = false;
}

wire();
showExamples();
takeDrops();
keys.listen();
pressed(byId("lock"), false);
byId("make").disabled = true;
await takes.load({
  formats: SAVED_FORMATS, models: () => models,
  reuse: (take) => useSettings(take.settings, take.model, "The settings of this take are in the form, its seed is locked."),
});
jobs.resume(hooks);
watch();
