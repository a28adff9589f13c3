// The form: settings in, settings out, and faults beside their fields.

import { PRESETS } from "./examples.js";
import { byId, el, pressed } from "./dom.js";

const STUDENT_STEPS = [1, 2, 4];
const LABELS = {
  prompt: "The description", duration_in_s: "The length", num_inference_steps: "The number of steps",
  guidance_scale: "Guidance", seed: "The seed", count: "The number of takes", best_of: "Best of",
  negative_prompt: "What is not to be heard", struct_prompt: "The structured caption", network: "The choice of steps",
  solver: "The solver", model: "The model",
};
const NUMBERS = ["duration_in_s", "num_inference_steps", "guidance_scale", "count", "best_of"];
const OPTIONAL = ["negative_prompt", "struct_prompt"];
/** Settings of files that the form has no field for, and what they are where they do nothing. */
const RARE = { guidance_scale_post: 1, compat: false };

export let model = null;
let limits = { max_takes: 16, max_best_of: 8, max_prompt_characters: 1000 };
let extra = {};

const value = (name) => byId(name).value.trim();
const chosen = () => document.querySelector("#steps input:checked")?.value ?? "other";
const network = () => (chosen() === "teacher" ? "teacher" : model?.networks.student ? "student" : "teacher");
const facts = () => model?.networks[network()];

export function drawSeed() {
  byId("seed").value = String(crypto.getRandomValues(new Uint32Array(1))[0]);
  setFault("seed", "");
}

export const lockSeed = (locked) => pressed(byId("lock"), locked);

/** Fit the form to a model's ranges; keeps what was typed. */
export function useModel(entry, serverLimits) {
  const first = model === null;
  model = entry;
  limits = serverLimits;
  showSteps(entry.networks);
  if (first) {
    byId("duration_in_s").value = entry.duration_in_s.default;
    setSteps(entry.networks.student ? "student" : "teacher", null);
    byId("guidance_scale").value = facts().guidance_scale.default;
  }
  byId("solver-field").hidden = !entry.networks.teacher;
  byId("solver").replaceChildren(...(entry.solvers ?? []).map((name) => el("option", { value: name, textContent: name })));
  byId("solver").value = entry.default_solver ?? "";
  byId("struct-field").hidden = !entry.structured_captions;
  byId("best-of-field").hidden = !entry.ranking;
  byId("best_of").max = limits.max_best_of;
  byId("prompt").maxLength = limits.max_prompt_characters;
  hints();
}

function showSteps(networks) {
  const choices = STUDENT_STEPS
    .filter((steps) => networks.student && steps <= networks.student.num_inference_steps.max)
    .map((steps) => [String(steps), String(steps)]);
  if (networks.teacher) choices.push(["teacher", "Teacher"]);
  if (networks.student) choices.push(["other", "Other"]);
  const before = chosen();
  byId("steps-choices").replaceChildren(...choices.map(([id, text]) => el("label", { className: "choice" },
    el("input", { type: "radio", name: "steps", value: id, checked: id === before, onchange: stepsChanged }),
    el("span", { textContent: text }))));
}

function stepsChanged() {
  byId("num_inference_steps").value = facts().num_inference_steps.default;
  hints();
}

function setSteps(name, steps) {
  const wanted = steps ?? model.networks[name]?.num_inference_steps.default;
  const plain = name !== "teacher" && STUDENT_STEPS.includes(wanted) ? String(wanted) : "other";
  const radio = document.querySelector(`#steps input[value="${name === "teacher" ? "teacher" : plain}"]`);
  if (radio) radio.checked = true;
  byId("num_inference_steps").value = wanted ?? "";
}

/** Say the allowed ranges beside the fields. */
export function hints() {
  if (!model) return;
  const own = facts();
  const range = (limit) => `${limit.min} to ${limit.max}`;
  byId("duration_in_s-hint").textContent = range(model.duration_in_s);
  byId("guidance_scale-hint").textContent = range(own.guidance_scale);
  byId("num_inference_steps-hint").textContent = `${range(own.num_inference_steps)}; ${own.num_inference_steps.default} is usual`;
  byId("count-hint").textContent = `1 to ${limits.max_takes}`;
  byId("steps-field").hidden = !["teacher", "other"].includes(chosen());
  byId("solver").disabled = network() !== "teacher";
  showPresets();
}

function showPresets() {
  const able = PRESETS.filter((preset) => model.networks[preset.network]);
  const same = (preset) => preset.network === network() && Number(value("count")) === preset.count
    && (preset.steps ?? facts().num_inference_steps.default) === stepsNow()
    && Number(value("guidance_scale")) === facts().guidance_scale.default;
  if (byId("presets").querySelectorAll("button").length !== able.length) {
    byId("presets").querySelectorAll("button").forEach((button) => button.remove());
    byId("presets").append(...able.map((preset) => el("button", {
      type: "button", className: "chip", textContent: preset.name, title: preset.says,
      onclick: () => usePreset(preset),
    })));
  }
  byId("presets").querySelectorAll("button").forEach((button, i) => pressed(button, same(able[i])));
}

function usePreset(preset) {
  setSteps(preset.network, preset.steps);
  byId("count").value = preset.count;
  byId("guidance_scale").value = facts().guidance_scale.default;
  hints();
}

const stepsNow = () => (/^\d+$/.test(chosen()) ? Number(chosen()) : Number(value("num_inference_steps")));

/** The body of a job, or null with the faults shown and the first faulty field focused. */
export function read() {
  clearFaults();
  if (!pressed(byId("lock")) || !value("seed")) drawSeed();
  const faults = check();
  if (faults.length) {
    showFaults(faults);
    return null;
  }
  const body = {
    prompt: byId("prompt").value, duration_in_s: Number(value("duration_in_s")), network: network(),
    num_inference_steps: stepsNow(), guidance_scale: Number(value("guidance_scale")), seed: Number(value("seed")),
    count: Number(value("count")), model: model.id, ...extra,
  };
  for (const name of OPTIONAL) if (value(name)) body[name] = value(name);
  if (network() === "teacher") body.solver = value("solver");
  if (model.ranking && Number(value("best_of")) > 1) body.best_of = Number(value("best_of"));
  return body;
}

function check() {
  const faults = [];
  const bad = (field, message) => faults.push({ field, message });
  const own = facts();
  const range = (field, limit, whole = false) => {
    const number = Number(value(field));
    if (value(field) === "" || !Number.isFinite(number) || (whole && !Number.isInteger(number)) || number < limit.min || number > limit.max) {
      bad(field, `${LABELS[field]} must be a ${whole ? "whole " : ""}number from ${limit.min} to ${limit.max}.`);
    }
  };
  if (!value("prompt")) bad("prompt", "Say what is to be heard.");
  range("duration_in_s", model.duration_in_s);
  if (!byId("steps-field").hidden) range("num_inference_steps", own.num_inference_steps, true);
  range("guidance_scale", own.guidance_scale);
  range("count", { min: 1, max: limits.max_takes }, true);
  if (model.ranking) range("best_of", { min: 1, max: limits.max_best_of }, true);
  const most = Number.MAX_SAFE_INTEGER - limits.max_takes;
  if (!/^\d+$/.test(value("seed")) || Number(value("seed")) > most) bad("seed", `The seed must be a whole number from 0 to ${most}.`);
  return faults;
}

/** Put settings (of a take, or from a file) into the form, and lock the seed. */
export function fill(settings) {
  clearFaults();
  for (const name of ["prompt", ...OPTIONAL]) byId(name).value = settings[name] ?? "";
  for (const name of ["duration_in_s", "guidance_scale", "seed"]) if (settings[name] != null) byId(name).value = settings[name];
  if (model) {
    setSteps(settings.network ?? (model.networks.student ? "student" : "teacher"), settings.num_inference_steps ?? null);
    if (settings.solver) byId("solver").value = settings.solver;
  }
  lockSeed(true);
  const rare = Object.entries(RARE).filter(([name, nothing]) => settings[name] != null && settings[name] !== nothing);
  setExtra(Object.fromEntries(rare.map(([name]) => [name, settings[name]])));
  byId("more").open = OPTIONAL.some((name) => settings[name]);
  hints();
}

export function setExtra(settings) {
  extra = settings;
  const words = Object.entries(settings).map(([name, given]) => `${name} ${given}`);
  byId("extra").hidden = words.length === 0;
  byId("extra-text").textContent = `Also set: ${words.join(", ")}`;
}

export function setFault(field, message) {
  const place = byId(`${field}-fault`);
  if (!place) return false;
  place.textContent = message;
  const input = byId(field);
  if (message) input?.setAttribute("aria-invalid", "true");
  else input?.removeAttribute("aria-invalid");
  return true;
}

export function clearFaults() {
  for (const name of [...Object.keys(LABELS), "form"]) setFault(name, "");
}

/** Show [{field, message}] beside the fields; what has no field goes above the button. */
export function showFaults(faults) {
  const homeless = faults.filter(({ field, message }) => !setFault(field, message));
  setFault("form", homeless.map(({ message }) => message).join(" "));
  const first = faults.map(({ field }) => byId(field)).find((input) => input?.offsetParent !== undefined && input);
  if (first) {
    first.closest("details")?.setAttribute("open", "");
    first.focus();
  }
}

/** A server's error in plain words, as faults. */
export function faultsOf(error) {
  const wait = error.retryAfter ? ` Try again in ${Math.ceil(error.retryAfter)} s.` : "";
  if (error.fields.length === 0) return [{ field: "form", message: sentence(error.message) + wait }];
  return error.fields.map(({ field, message, allowed }) => ({
    field,
    message: allowed && NUMBERS.includes(field)
      ? `${LABELS[field]} must be ${allowed}.`
      : sentence(message.replaceAll(field, LABELS[field] ?? field)),
  }));
}

function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}
