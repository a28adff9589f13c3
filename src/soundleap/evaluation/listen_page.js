"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const count = data.trials.length;
  const store = "soundleap-listen-" + data.page;
  const CHOICES = ["0", "tie", "1"];
  const state = { listener: "", answers: [] };
  const sounds = [new Audio(), new Audio()];
  let trial = -1;
  let last = 0;
  let since = 0;

  const blank = () => ({ choice: "", plays: [0, 0], seconds: 0 });
  const answer = () => state.answers[trial];
  const done = (entry) => Boolean(entry && entry.choice);

  // --- keeping answers over a reload; a browser may forbid it, then the page works without

  function save() {
    try {
      localStorage.setItem(store, JSON.stringify(state));
    } catch (error) {
      at("status").textContent = "This browser does not keep answers: don't reload the page.";
    }
  }

  function restore() {
    try {
      const kept = JSON.parse(localStorage.getItem(store));
      if (kept && Array.isArray(kept.answers)) Object.assign(state, kept);
    } catch (error) {
      // nothing was kept
    }
  }

  function forget() {
    try {
      localStorage.removeItem(store);
    } catch (error) {
      // nothing was kept
    }
  }

  // --- sounds

  function stop() {
    sounds.forEach((sound) => sound.pause());
  }

  function play(side) {
    const sound = sounds[side];
    stop();
    last = side;
    sound.currentTime = 0;
    sound.play().catch((error) => {
      if (error.name === "AbortError") return; // stopped before it began
      at("status").textContent = "This browser can't play sound " + (side + 1) + ".";
    });
  }

  function toggle() {
    if (sounds.some((sound) => !sound.paused)) stop();
    else play(last);
  }

  sounds.forEach((sound, side) => {
    for (const event of ["play", "pause", "ended"]) {
      sound.addEventListener(event, () => {
        at("play-" + side).classList.toggle("playing", !sound.paused);
      });
    }
    sound.addEventListener("playing", () => {
      if (trial < 0) return;
      answer().plays[side] += 1;
      refresh();
    });
    sound.addEventListener("timeupdate", () => {
      at("bar-" + side).value = sound.duration ? sound.currentTime / sound.duration : 0;
    });
  });

  // --- trials

  function show(name) {
    for (const id of ["start", "trial", "end"]) at(id).hidden = id !== name;
  }

  function open(number) {
    keepTime();
    stop();
    trial = number;
    state.answers[trial] = answer() || blank();
    const { prompt, urls } = data.trials[trial];
    at("caption").textContent = prompt || "Pair " + (trial + 1);
    sounds.forEach((sound, side) => {
      sound.src = urls[side];
      at("bar-" + side).value = 0;
    });
    last = 0;
    since = performance.now();
    show("trial");
    const who = "answers of " + state.listener;
    at("status").textContent = "Pair " + (trial + 1) + " of " + count + ", " + who;
    at("progress").value = trial;
    refresh();
    at("caption").focus();
  }

  function keepTime() {
    if (trial >= 0 && answer()) answer().seconds += (performance.now() - since) / 1000;
    since = performance.now();
  }

  function refresh() {
    const heard = answer().plays.every((plays) => plays > 0);
    for (const value of CHOICES) {
      const button = at("choose-" + value);
      button.disabled = !heard;
      button.setAttribute("aria-pressed", String(answer().choice === value));
    }
    [0, 1].forEach((side) => {
      const text = (answer().plays[side] ? "Play again: sound " : "Play sound ") + (side + 1);
      at("play-" + side).lastElementChild.textContent = text;
    });
    at("next").disabled = !done(answer());
    at("back").disabled = trial === 0;
  }

  function choose(value) {
    if (at("choose-" + value).disabled) {
      at("status").textContent = "Listen to both sounds first.";
      return;
    }
    answer().choice = value;
    save();
    refresh();
    at("next").focus();
  }

  function next() {
    if (!done(answer())) return;
    if (trial + 1 < count) open(trial + 1);
    else finish();
    save();
  }

  function back() {
    if (trial > 0) open(trial - 1);
  }

  // --- the end

  function unseal() {
    let x = parseInt(data.page.slice(0, 8), 16) | 1;
    const bytes = Uint8Array.from(atob(data.sealed), (letter) => {
      x ^= x << 13;
      x ^= x >>> 17;
      x ^= x << 5;
      return letter.charCodeAt(0) ^ (x & 255);
    });
    return JSON.parse(new TextDecoder().decode(bytes));
  }

  const cell = (value) => '"' + String(value).replace(/"/g, '""') + '"';

  function rows(truth) {
    const head = ["page", "listener", "trial", "clip", "prompt", "left", "right", "choice",
      "winner", "seconds", "plays_left", "plays_right"];
    const lines = state.answers.map((entry, i) => {
      const [left, right] = truth[i].systems;
      const side = { 0: "left", 1: "right", tie: "tie" }[entry.choice];
      const winner = { left, right, tie: "tie" }[side];
      return [data.page, state.listener, i + 1, truth[i].clip, data.trials[i].prompt, left, right,
        side, winner, entry.seconds.toFixed(1), ...entry.plays];
    });
    return [head, ...lines];
  }

  function finish() {
    keepTime();
    stop();
    trial = -1;
    const table = rows(unseal());
    const text = table.map((line) => line.map(cell).join(",")).join("\r\n") + "\r\n";
    const totals = {};
    table.slice(1).forEach((line) => {
      totals[line[8]] = (totals[line[8]] || 0) + 1;
    });
    const names = [...new Set(table.slice(1).flatMap((line) => [line[5], line[6]]))].sort();
    const told = names.map((name) => name + " " + (totals[name] || 0) + " times");
    at("outcome").textContent = "You preferred " + told.join(", ") + "; no difference " +
      (totals.tie || 0) + " times.";
    at("csv").value = text;
    at("download").href = "data:text/csv;charset=utf-8," + encodeURIComponent(text);
    at("download").download = "listen-" + data.page + "-" +
      (state.listener.replace(/[^\w-]+/g, "_") || "listener") + ".csv";
    show("end");
    at("status").textContent = "All pairs are answered.";
    at("end-title").focus();
  }

  // --- controls

  at("start-form").addEventListener("submit", (event) => {
    event.preventDefault();
    state.listener = at("listener").value.trim();
    if (!state.listener) return;
    save();
    open(0);
  });
  at("again").addEventListener("click", () => {
    forget();
    state.answers = [];
    show("start");
    at("status").textContent = "";
    at("listener").focus();
  });
  [0, 1].forEach((side) => at("play-" + side).addEventListener("click", () => play(side)));
  CHOICES.forEach((value) => at("choose-" + value).addEventListener("click", () => choose(value)));
  at("next").addEventListener("click", next);
  at("back").addEventListener("click", back);

  document.addEventListener("keydown", (event) => {
    if (trial < 0 || event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
    const onButton = event.target instanceof HTMLButtonElement && event.target.id !== "next";
    const actions = {
      1: () => play(0),
      2: () => play(1),
      ArrowLeft: () => choose("0"),
      ArrowRight: () => choose("1"),
      ArrowDown: () => choose("tie"),
      b: back,
      B: back,
    };
    if (event.key === " " && !onButton) actions[" "] = toggle;
    if (event.key === "Enter" && !onButton) actions.Enter = next;
    if (!actions[event.key]) return;
    event.preventDefault();
    actions[event.key]();
  });

  restore();
  at("listener").value = state.listener;
  const first = state.answers.findIndex((entry) => !done(entry));
  if (state.answers.length === count && first < 0) finish();
  else if (state.answers.length) open(first < 0 ? state.answers.length : first);
  else show("start");
})();
