// Small helpers. Text of users and servers is only ever set as textContent or value.

export const byId = (id) => document.getElementById(id);

/** Make an element; `props` are properties, or attributes where a name has a hyphen or is `role`. */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name.includes("-") || name === "role" || name === "for") node.setAttribute(name, value);
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node[name] = value;
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

/** Say something to screen readers. */
export function announce(text) {
  byId("announce").textContent = "";
  requestAnimationFrame(() => { byId("announce").textContent = text; });
}

export function pressed(button, value) {
  if (value !== undefined) button.setAttribute("aria-pressed", String(value));
  return button.getAttribute("aria-pressed") === "true";
}

let undoing = null;
let toastTimer = 0;

/** Show a line at the bottom; with `undo` it has a button that calls it. */
export function toast(text, undo = null) {
  undoing = undo;
  byId("toast-text").textContent = text;
  byId("toast-undo").hidden = undo === null;
  byId("toast").hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(hideToast, undo ? 12000 : 6000);
}

function hideToast() {
  byId("toast").hidden = true;
  undoing = null;
}

export function undoLast() {
  const undo = undoing;
  hideToast();
  undo?.();
}

export function seconds(value) {
  return `${Number(value).toLocaleString("en", { maximumFractionDigits: 2 })} s`;
}

export function plural(count, word) {
  return `${count} ${word}${count === 1 ? "" : "s"}`;
}

/** A file name without what file systems dislike. */
export function fileName(name, seed, format) {
  const plain = name.normalize("NFC").replace(/[\u0000-\u001f\u007f<>:"/\\|?*\u202a-\u202e\u2066-\u2069]+/g, " ")
    .replace(/\s+/g, " ").trim().replace(/^\.+|[. ]+$/g, "").slice(0, 80).trim();
  return `${plain || "sound"} ${seed}.${format}`;
}

export function save(blob, name) {
  const link = el("a", { href: URL.createObjectURL(blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}
