// @ts-check
/**
 * Which runs are picked, and each one's colour. A picked run has a slot, which is its colour and its dash, everywhere in the
 * page, for as long as it is picked; the slot that a run would like follows from its path, so it is mostly the same tomorrow.
 * Until somebody picks, the newest runs and the pinned ones are picked, and new ones join while there is room. What
 * somebody picked is in the URL, slots and all: six letters a run and one for its slot.
 */

import { textKey } from "./state.js";
import { scatter } from "./short_id.js";

/** @typedef {import("./runs.js").Run} Run */
/** @typedef {{colour: string, dash: "solid" | "dash" | "dot" | "dashdot", slot: number}} Style  `colour` is a CSS variable's use */

export const FIRST_PICKS = 10;
export const MOST_PICKS_BY_ITSELF = 20;
export const MOST_PICKS = 200;
export const COLOURS = 10;
/** @type {Style["dash"][]} */
const DASHES = ["solid", "dash", "dot", "dashdot"];
const SLOT_LETTERS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
const ID_LENGTH = 6;
const NOBODY = "-";

const PICKED = textKey("r");

/** Sends `change` when other runs are picked, or a picked one has changed. */
export class Picks extends EventTarget {
  /** @param {import("./runs.js").Runs} runs @param {import("./state.js").ViewState} state */
  constructor(runs, state) {
    super();
    this.runs = runs;
    this.state = state;
    /** Slots by path, of the picked ones in their order. @type {Map<string, number>} */
    this.slots = new Map();
    /** What the link names and nobody here knows. @type {string[]} */
    this.unknown = [];
    /** Whether what the page picked by itself stays picked; not while the runs are still being found. */
    this.isSettled = false;
    runs.addEventListener("change", (event) => this.#follow(/** @type {CustomEvent<Set<string>>} */ (event).detail));
    state.addEventListener("change", (event) => {
      if (/** @type {CustomEvent<Set<string>>} */ (event).detail.has(PICKED.name)) this.#read();
    });
  }

  /** Whether the page picks by itself. */
  get isAutomatic() {
    return !this.state.has(PICKED);
  }

  /** The picked runs that are there, in their order. @returns {Run[]} */
  list() {
    return [...this.slots.keys()].flatMap((path) => this.runs.get(path) ?? []);
  }

  /** The picked ones that were deleted while the page was open. @returns {Run[]} */
  deleted() {
    return [...this.slots.keys()].flatMap((path) => (this.runs.get(path) ? [] : (this.runs.deleted.get(path) ?? [])));
  }

  /** @param {string} path */
  has(path) {
    return this.slots.has(path);
  }

  /** How to draw a run. @param {string} path @returns {Style} */
  style(path) {
    const slot = this.slots.get(path) ?? scatter(path) % COLOURS;
    return { colour: `var(--run-${slot % COLOURS})`, dash: DASHES[Math.floor(slot / COLOURS) % DASHES.length], slot };
  }

  /** @param {Iterable<string>} paths @param {boolean} on */
  pick(paths, on) {
    const before = [...this.slots.keys()];
    const given = new Set(paths);
    this.set(on ? [...before, ...given] : before.filter((path) => !given.has(path)));
  }

  /** @param {string} path */
  toggle(path) {
    this.pick([path], !this.has(path));
  }

  /** Pick just these, as somebody's choice; no more than MOST_PICKS. @param {Iterable<string>} paths */
  set(paths) {
    this.#assign([...new Set(paths)].slice(0, MOST_PICKS));
    this.unknown = [];
    this.state.set(PICKED, this.link());
  }

  /** Let the page pick again. */
  reset() {
    this.isSettled = false;
    this.state.set(PICKED, "");
  }

  /** What a link says of the picked ones. */
  link() {
    const words = [...this.slots].flatMap(([path, slot]) => {
      const run = this.runs.get(path) ?? this.runs.deleted.get(path);
      return run ? [run.id + SLOT_LETTERS[slot % SLOT_LETTERS.length]] : [];
    });
    return words.join("") || NOBODY;
  }

  /** The hash of the present view with its picks written out, for somebody else. */
  linkOfAll() {
    const values = new Map(this.state.values).set(PICKED.name, this.link());
    return { tab: this.state.tab, values };
  }

  #read() {
    if (this.isAutomatic) this.#fill();
    else this.#readLink();
    this.dispatchEvent(new Event("change"));
  }

  /** @param {Set<string>} touched */
  #follow(touched) {
    const before = this.#summary();
    if (this.isAutomatic) this.#fill();
    else if (this.unknown.length || !this.slots.size) this.#readLink();
    if (before !== this.#summary() || [...touched].some((path) => this.slots.has(path))) this.dispatchEvent(new Event("change"));
  }

  #summary() {
    return JSON.stringify([[...this.slots], this.unknown]);
  }

  #readLink() {
    const words = this.state.get(PICKED).match(/[\w-]{7}/g) ?? [];
    const found = words.flatMap((word) => {
      const run = this.runs.byId.get(word.slice(0, ID_LENGTH));
      return run ? [/** @type {[string, number]} */ ([run.path, Math.max(0, SLOT_LETTERS.indexOf(word[ID_LENGTH]))])] : [];
    });
    const known = new Map(found);
    // a picked run that was deleted while we look keeps its place, to be told of
    for (const [path, slot] of this.slots) {
      const run = this.runs.deleted.get(path);
      if (run && words.some((word) => word.startsWith(run.id))) known.set(path, slot);
    }
    const ids = new Set([...known.keys()].map((path) => (this.runs.get(path) ?? this.runs.deleted.get(path))?.id));
    this.slots = known;
    this.unknown = this.runs.isKnown ? words.map((word) => word.slice(0, ID_LENGTH)).filter((id) => !ids.has(id)) : [];
  }

  /** Once all is read, keep what is picked; let the pinned and the newest join while there is room. */
  #fill() {
    if (!this.isSettled) this.slots = new Map();
    this.isSettled = this.runs.isKnown && !this.runs.isScanning;
    const kept = [...this.slots.keys()].filter((path) => this.runs.get(path) || this.runs.deleted.has(path));
    const isFew = kept.length < FIRST_PICKS;
    const newest = Math.max(0, ...kept.map((path) => this.runs.get(path)?.started ?? 0));
    const joining = this.runs.all()
      .filter((run) => !this.slots.has(run.path) && (isFew || (run.started ?? 0) > newest))
      .sort(byPinAndStart)
      .slice(0, Math.max(0, (isFew ? FIRST_PICKS : MOST_PICKS_BY_ITSELF) - kept.length));
    this.#assign([...kept, ...joining.map((run) => run.path)]);
  }

  /** Give each path a slot: the one it has, the one it would like, or the next free one. @param {string[]} paths */
  #assign(paths) {
    const kept = paths.flatMap((path) => this.slots.get(path) ?? []);
    const taken = new Set(kept);
    this.slots = new Map(paths.map((path) => {
      const slot = this.slots.get(path) ?? freeSlot(scatter(path) % COLOURS, taken);
      taken.add(slot);
      return [path, slot];
    }));
  }
}

/** @param {Run} a @param {Run} b */
const byPinAndStart = (a, b) =>
  Number(b.notes.pinned) - Number(a.notes.pinned) || (b.started ?? 0) - (a.started ?? 0) || (a.path < b.path ? -1 : 1);

/** The first free slot from `wish` on within the colours without dashes, then with dashes. @param {number} wish @param {Set<number>} taken */
function freeSlot(wish, taken) {
  for (let row = 0; row < SLOT_LETTERS.length / COLOURS; row++)
    for (let i = 0; i < COLOURS; i++) {
      const slot = row * COLOURS + ((wish + i) % COLOURS);
      if (slot < SLOT_LETTERS.length && !taken.has(slot)) return slot;
    }
  return wish;
}
