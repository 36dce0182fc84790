// @ts-check
/**
 * What one chart knows of its runs: all of it, and, where somebody zoomed, that range once more and finer; on a logarithmic x
 * the beginning once more and finer.
 */

import { groupCurve, runCurve } from "./curves.js";
import { Feed } from "./feed.js";
import { groupedBySeed } from "./seed_bands.js";
import { earlyEnds, joined, strandOf } from "./strands.js";

/** @typedef {import("./axes.js").Range} Range */
/** @typedef {import("./buckets.js").Grid} Grid */
/** @typedef {import("./curves.js").Curve} Curve */
/** @typedef {import("./curve_settings.js").Settings} Settings */
/** @typedef {import("./feed.js").Wanted} Wanted */
/** @typedef {import("./strands.js").Piece} Piece */
/** @typedef {import("./strands.js").Strand} Strand */
/** @typedef {{path: string, name: string, colour: string, dash: string, params: Record<string, unknown>}} DrawnRun */

const FINEST = { step: 1, relative: 1 / 64, time: Infinity };
const KEY_DASHES = ["solid", "dot", "dash", "dashdot"];

export class ChartData {
  /** @param {import("./api.js").Api} api @param {AbortSignal} signal */
  constructor(api, signal) {
    this.whole = new Feed(api, signal);
    this.part = new Feed(api, signal);
    this.makeFeed = () => new Feed(api, signal);
    /** Pieces of the beginning, coarse to fine, up to `ends`, for the grid `cutFrom`. @type {{feeds: Feed[], ends: number[], cutFrom: Grid | null}} */
    this.early = { feeds: [], ends: [], cutFrom: null };
    /** @type {Range | null} */
    this.zoom = null;
  }

  get isThere() {
    return this.whole.grid !== null;
  }

  /** Why there was no answer. */
  get trouble() {
    return this.whole.trouble ?? (this.zoom && this.part.trouble);
  }

  /** Ask for all of it; returns whether it came, and is still wanted. @param {Wanted} wanted `range` is the zoom @returns {Promise<boolean>} */
  async load(wanted) {
    this.zoom = wanted.range;
    const both = await Promise.all([this.whole.load({ ...wanted, range: null }), wanted.range ? this.part.load(wanted) : true]);
    return both[0];
  }

  /** Ask for another range of the same runs. @param {Range | null} range @returns {Promise<boolean>} */
  async zoomTo(range) {
    this.zoom = range;
    if (!this.whole.held) return false;
    return range ? this.part.load({ ...this.whole.held, range }) : this.whole.poll();
  }

  /** Ask for what is new in sight. @returns {Promise<boolean>} whether there was any */
  async poll() {
    const feeds = this.zoom ? [this.part] : [this.whole, ...this.early.feeds];
    return (await Promise.all(feeds.map((feed) => feed.poll()))).some(Boolean);
  }

  /** Have the beginning as fine as a logarithmic axis shows it. @param {boolean} isLogX @returns {Promise<boolean>} whether more is known now */
  async refine(isLogX) {
    const { held, grid, to } = this.whole;
    if (!isLogX) this.early = { feeds: [], ends: [], cutFrom: null };
    if (!isLogX || !held || !grid || to === null || this.early.cutFrom === grid) return false;
    const ends = earlyEnds(grid, to, FINEST[held.x]);
    const feeds = ends.map(this.makeFeed);
    await Promise.all(feeds.map((feed, i) => feed.load({ ...held, range: [grid.origin, ends[i]] })));
    if (!feeds.every((feed) => feed.grid) || grid !== this.whole.grid) return false;
    this.early = { feeds, ends, cutFrom: grid };
    return feeds.length > 0;
  }

  /** How many of the runs have points but none with a place on this x: logged without steps, or without times. @param {DrawnRun[]} runs @param {string[]} keys */
  countWithoutX(runs, keys) {
    return runs.filter(({ path }) => {
      const found = keys.flatMap((key) => this.whole.get(path, key) ?? []);
      return found.length > 0 && found.every(({ buckets }) => !buckets.index.length);
    }).length;
  }

  /** Whether what is there of the zoom is of this one, and not of the one before. */
  get #isFine() {
    return this.zoom !== null && String(this.part.held?.range) === String(this.zoom);
  }

  /** @param {DrawnRun[]} runs @param {string[]} keys @param {Settings} settings @returns {Curve[]} */
  curves(runs, keys, settings) {
    if (!this.whole.grid) return [];
    return keys.flatMap((key, i) => {
      const shown = keys.length > 1 ? runs.map((run) => ({ ...run, name: `${run.name} · ${key}`, dash: KEY_DASHES[i % KEY_DASHES.length] })) : runs;
      return settings.seeds === "off" ? this.#ofRuns(shown, key, settings.weight) : this.#ofGroups(shown, key, settings.weight, settings.seeds);
    });
  }

  /** @param {DrawnRun[]} runs @param {string} key @param {number} weight */
  #ofRuns(runs, key, weight) {
    return runs.flatMap((run) => this.#maybeCurve(run, key, weight) ?? []);
  }

  /** @param {DrawnRun[]} runs @param {string} key @param {number} weight @param {"range" | "std"} kind */
  #ofGroups(runs, key, weight, kind) {
    const byPath = new Map(runs.map((run) => [run.path, run]));
    return groupedBySeed(runs).flatMap((group) => {
      const members = group.members.map((path) => /** @type {DrawnRun} */ (byPath.get(path)));
      const curves = this.#ofRuns(members, key, weight);
      return curves.length > 1 ? [groupCurve(curves, { ...styleOf(members[0]), name: group.name }, kind)] : curves;
    });
  }

  /** @param {DrawnRun} run @param {string} key @param {number} weight @returns {Curve | null} */
  #maybeCurve(run, key, weight) {
    const whole = pieceOf(this.whole, run.path, key);
    return whole && runCurve(this.#strand(whole, run.path, key), styleOf(run), weight, whole);
  }

  /** @param {Piece} whole @param {string} run @param {string} key @returns {Strand} */
  #strand(whole, run, key) {
    if (this.#isFine) return strandOf(pieceOf(this.part, run, key) ?? emptied(whole));
    if (this.zoom || this.early.cutFrom !== whole.grid) return strandOf(whole);
    return joined(whole, this.early.feeds.map((feed) => pieceOf(feed, run, key) ?? emptied(whole)), this.early.ends);
  }
}

/** @param {Feed} feed @param {string} run @param {string} key @returns {Piece | null} */
function pieceOf(feed, run, key) {
  const buckets = feed.get(run, key)?.buckets;
  return buckets && buckets.index.length && feed.grid ? { buckets, grid: feed.grid } : null;
}

/** @param {Piece} piece @returns {Piece} */
function emptied({ buckets, grid }) {
  const none = Object.entries(buckets).map(([name, column]) => [name, column.subarray(0, 0)]);
  return { buckets: Object.fromEntries(none), grid };
}

/** @param {DrawnRun} run */
const styleOf = ({ name, colour, dash }) => ({ name, colour, dash });
