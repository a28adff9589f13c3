// A zip of files as they are (stored, not packed): sounds hardly get smaller.

const CRCS = new Uint32Array(256).map((_, i) => {
  let c = i;
  for (let bit = 0; bit < 8; bit++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c >>> 0;
});

export function crc32(bytes) {
  let c = 0xffffffff;
  for (const byte of bytes) c = CRCS[(c ^ byte) & 255] ^ (c >>> 8);
  return (c ^ 0xffffffff) >>> 0;
}

/** Give names that differ, also where letters' case is not told apart. */
export function distinct(names) {
  const seen = new Set();
  return names.map((name) => {
    const dot = name.lastIndexOf(".");
    let found = name;
    for (let i = 2; seen.has(found.toLowerCase()); i++) found = `${name.slice(0, dot)} (${i})${name.slice(dot)}`;
    seen.add(found.toLowerCase());
    return found;
  });
}

const DAY_ONE = (1 << 5) | 1; // 1 January 1980: no clock in it
const UTF8_NAMES = 0x800;

function header(signature, size, name, bytes, crc) {
  const view = new DataView(new ArrayBuffer(size));
  view.setUint32(0, signature, true);
  const at = size === 46 ? 6 : 4;
  if (size === 46) view.setUint16(4, 20, true);
  view.setUint16(at, 20, true);
  view.setUint16(at + 2, UTF8_NAMES, true);
  view.setUint16(at + 8, DAY_ONE, true);
  view.setUint32(at + 10, crc, true);
  view.setUint32(at + 14, bytes.length, true);
  view.setUint32(at + 18, bytes.length, true);
  view.setUint16(at + 22, name.length, true);
  return view;
}

/** Pack [{name, bytes: Uint8Array}] into a Blob. */
export function zip(files) {
  const names = distinct(files.map((file) => file.name)).map((name) => new TextEncoder().encode(name));
  const parts = [];
  const directory = [];
  let offset = 0;
  let directorySize = 0;
  files.forEach(({ bytes }, i) => {
    const crc = crc32(bytes);
    const entry = header(0x02014b50, 46, names[i], bytes, crc);
    entry.setUint32(42, offset, true);
    parts.push(header(0x04034b50, 30, names[i], bytes, crc), names[i], bytes);
    directory.push(entry, names[i]);
    offset += 30 + names[i].length + bytes.length;
    directorySize += 46 + names[i].length;
  });
  const end = new DataView(new ArrayBuffer(22));
  end.setUint32(0, 0x06054b50, true);
  end.setUint16(8, files.length, true);
  end.setUint16(10, files.length, true);
  end.setUint32(12, directorySize, true);
  end.setUint32(16, offset, true);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}
