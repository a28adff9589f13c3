// Takes in the browser's own database: settings, name, whether kept, and the sound as wav.

const NAME = "soundleap";
const MOST_UNKEPT = 200;
const MOST_UNKEPT_BYTES = 200e6;

let database = null;

/** Open the database; false where the browser has none, and takes then live as long as the page. */
export async function open() {
  try {
    database = await new Promise((resolve, reject) => {
      const request = indexedDB.open(NAME, 1);
      request.onupgradeneeded = () => request.result.createObjectStore("takes", { keyPath: "id" });
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
      request.onblocked = () => reject(new Error("blocked"));
    });
  } catch {
    database = null;
  }
  return database !== null;
}

function run(mode, work) {
  if (!database) return Promise.resolve(undefined);
  return new Promise((resolve, reject) => {
    const transaction = database.transaction("takes", mode);
    const request = work(transaction.objectStore("takes"));
    transaction.oncomplete = () => resolve(request?.result);
    transaction.onerror = transaction.onabort = () => reject(transaction.error);
  });
}

/** All takes, newest first. */
export async function all() {
  const takes = (await run("readonly", (store) => store.getAll())) ?? [];
  return takes.sort((a, b) => b.created - a.created || a.number - b.number);
}

export const put = (take) => run("readwrite", (store) => store.put(take));
export const remove = (id) => run("readwrite", (store) => store.delete(id));

/** Which takes have to go so that the history stays within its bounds; kept ones never do. */
export function tooMany(takes) {
  let count = 0;
  let bytes = 0;
  return takes.filter((take) => {
    if (take.kept) return false;
    count += 1;
    bytes += take.wav.byteLength;
    return count > MOST_UNKEPT || bytes > MOST_UNKEPT_BYTES;
  });
}

/** Small choices: a JSON value in localStorage. */
export function choice(name, value) {
  const key = `soundleap-${name}`;
  try {
    if (value !== undefined) localStorage.setItem(key, JSON.stringify(value));
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return value ?? null;
  }
}
