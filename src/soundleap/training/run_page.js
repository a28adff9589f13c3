"use strict";
// One sound at a time; j and k go from sound to sound, p plays or pauses the one in focus.
const players = () => [...document.querySelectorAll("audio")].filter((a) => a.offsetParent);
document.addEventListener("play", (event) => {
  for (const other of document.querySelectorAll("audio")) {
    if (other !== event.target) other.pause();
  }
}, true);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const all = players();
  const at = all.indexOf(document.activeElement);
  const step = { j: 1, k: -1 }[event.key];
  if (step !== undefined && all.length) {
    const next = all[at < 0 ? 0 : Math.min(all.length - 1, Math.max(0, at + step))];
    next.focus();
    next.scrollIntoView({ block: "nearest", inline: "nearest" });
    event.preventDefault();
  } else if (event.key === "p" && at >= 0) {
    if (all[at].paused) all[at].play(); else all[at].pause();
    event.preventDefault();
  }
});
