// @ts-check
/**
 * The whole view in the URL's hash: `#curves?sm=0.6&x=time`. A view makes its keys once, at the top of its module, and reads
 * and sets them; what is at its fallback is not written. Keys that nobody here knows are kept as they are.
 */

/**
 * @template T
 * @typedef {{name: string, fallback: T, read: (text: string) => T | undefined, write: (value: T) => string}} Key
 * `read` returns undefined for what it can't read, and the fallback holds.
 */

const WRITE_EVERY_MS = 150;

const names = new Set();

/**
 * Make a key; its name must be no other's, and short.
 * @template T
 * @param {string} name @param {T} fallback @param {(text: string) => T | undefined} read @param {(value: T) => string} write
 * @returns {Key<T>}
 */
export function key(name, fallback, read, write) {
  if (names.has(name)) throw new Error(`two keys of the state are called ${name}`);
  names.add(name);
  return { name, fallback, read, write };
}

/** @param {string} name @param {string} [fallback] @returns {Key<string>} */
export const textKey = (name, fallback = "") => key(name, fallback, (text) => text, (value) => value);

/** @param {string} name @param {number} fallback @returns {Key<number>} */
export const numberKey = (name, fallback) => key(name, fallback, readNumber, String);

/** A number or nothing. @param {string} name @returns {Key<number | null>} */
export const maybeNumberKey = (name) =>
  key(name, /** @type {number | null} */ (null), readNumber, (value) => (value === null ? "" : String(value)));

/** @param {string} name @param {boolean} [fallback] @returns {Key<boolean>} */
export const flagKey = (name, fallback = false) =>
  key(name, fallback, (text) => (text === "1" ? true : text === "0" ? false : undefined), (value) => (value ? "1" : "0"));

/** One of a few words, the first of which is the fallback. @template {string} W @param {string} name @param {readonly W[]} words @returns {Key<W>} */
export const choiceKey = (name, words) =>
  key(name, words[0], (text) => words.find((word) => word === text), (value) => value);

/** Texts in their order. @param {string} name @param {readonly string[]} [fallback] @returns {Key<readonly string[]>} */
export const listKey = (name, fallback = []) => key(name, fallback, readList, writeList);

/** @param {string} text */
function readNumber(text) {
  const value = Number(text);
  return text.trim() !== "" && Number.isFinite(value) ? value : undefined;
}

/** @param {string} text @returns {readonly string[] | undefined} */
function readList(text) {
  try {
    return text === "" ? [] : text.split(",").map(decodeURIComponent);
  } catch {
    return undefined;
  }
}

/** @param {readonly string[]} items */
const writeList = (items) => items.map((item) => item.replace(/[%,]/g, encodeURIComponent)).join(",");

/** Split a hash into the tab and its values. @param {string} hash @returns {{tab: string, values: Map<string, string>}} */
export function readHash(hash) {
  const [tab, query = ""] = splitOnce(hash.replace(/^#/, ""), "?");
  const values = new Map();
  for (const part of query.split("&").filter(Boolean)) {
    const [name, value = ""] = splitOnce(part, "=");
    values.set(decode(name), decode(value));
  }
  return { tab: decode(tab), values };
}

/** @param {string} tab @param {Map<string, string>} values */
export function writeHash(tab, values) {
  const query = [...values].map(([name, value]) => `${encode(name)}=${encode(value)}`).join("&");
  return `#${encode(tab)}${query && "?"}${query}`;
}

/** @param {string} text @param {string} mark @returns {string[]} */
function splitOnce(text, mark) {
  const at = text.indexOf(mark);
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + mark.length)];
}

/** Escape what a hash needs escaped, and leave the rest to be read by people. @param {string} text */
const encode = (text) => encodeURIComponent(text).replace(/%(2F|2C|3A|40|24|3B|3C|3E)/g, (escaped) => decodeURIComponent(escaped));

/** @param {string} text */
function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** What the hash says, and the way to change it. Sends `change` with the `Set` of the names that changed as its detail; the tab's is `tab`. */
export class ViewState extends EventTarget {
  /** @param {Window} page */
  constructor(page) {
    super();
    this.page = page;
    /** What the address bar is to say soon. @type {string | null} */
    this.pending = null;
    this.late = 0;
    this.writtenMs = -Infinity;
    const { tab, values } = readHash(page.location.hash);
    this.tab = tab;
    this.values = values;
    page.addEventListener("hashchange", () => this.#take());
    page.addEventListener("popstate", () => this.#take());
  }

  /** @template T @param {Key<T>} key @returns {T} */
  get(key) {
    const text = this.values.get(key.name);
    const value = text === undefined ? undefined : key.read(text);
    return value === undefined ? key.fallback : value;
  }

  /** Whether the hash says anything of it. @param {Key<any>} key */
  has(key) {
    return this.values.has(key.name);
  }

  /**
   * Set one value. A new entry of the history each time, unless `replace`: for what changes while one drags or types.
   * @template T @param {Key<T>} key @param {T} value @param {{replace?: boolean}} [how]
   */
  set(key, value, how) {
    this.setAll([[key, value]], how);
  }

  /** Set several values as one change. @param {[Key<any>, any][]} changes @param {{replace?: boolean, tab?: string}} [how] */
  setAll(changes, { replace = false, tab = this.tab } = {}) {
    const values = new Map(this.values);
    for (const [key, value] of changes) {
      const text = key.write(value);
      if (text === key.write(key.fallback)) values.delete(key.name);
      else values.set(key.name, text);
    }
    this.#go(tab, values, replace);
  }

  /** Open another tab. @param {string} tab @param {{replace?: boolean}} [how] */
  open(tab, how) {
    this.setAll([], { ...how, tab });
  }

  /** Go to where a saved view or a link leads. @param {string} hash */
  goTo(hash) {
    const { tab, values } = readHash(hash);
    this.#go(tab, values, false);
  }

  /** @param {string} tab @param {Map<string, string>} values @param {boolean} replace */
  #go(tab, values, replace) {
    const hash = writeHash(tab, values);
    if (hash === writeHash(this.tab, this.values)) return;
    if (replace) {
      this.#replaceSoon(hash);
    } else {
      this.#replaceNow();
      this.page.history.pushState(null, "", hash);
    }
    this.#adopt(tab, values);
  }

  /** Put `hash` in the place of the present one; not at once for each step of a slider, since browsers bear few changes a second. @param {string} hash */
  #replaceSoon(hash) {
    this.pending = hash;
    const waitMs = this.writtenMs + WRITE_EVERY_MS - performance.now();
    if (waitMs <= 0) this.#replaceNow();
    else this.late ||= setTimeout(() => this.#replaceNow(), waitMs);
  }

  #replaceNow() {
    if (this.pending === null) return;
    this.page.history.replaceState(null, "", this.pending);
    this.writtenMs = performance.now();
    this.#forgetPending();
  }

  #forgetPending() {
    clearTimeout(this.late);
    this.late = 0;
    this.pending = null;
  }

  #take() {
    this.#forgetPending();
    const { tab, values } = readHash(this.page.location.hash);
    this.#adopt(tab, values);
  }

  /** @param {string} tab @param {Map<string, string>} values */
  #adopt(tab, values) {
    const changed = new Set([...values.keys(), ...this.values.keys()].filter((name) => values.get(name) !== this.values.get(name)));
    if (tab !== this.tab) changed.add("tab");
    this.tab = tab;
    this.values = values;
    if (changed.size) this.dispatchEvent(new CustomEvent("change", { detail: changed }));
  }
}
