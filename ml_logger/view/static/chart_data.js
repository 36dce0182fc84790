// @ts-check
/** What one chart knows of its runs: all of it, and, where somebody zoomed, that range once more and finer. */

import { groupCurve, runCurve } from "./curves.js";
import { Feed } from "./feed.js";
import { groupedBySeed } from "./seed_bands.js";

/** @typedef {import("./axes.js").Range} Range */
/** @typedef {import("./buckets.js").Grid} Grid */
/** @typedef {import("./curves.js").Curve} Curve */
/** @typedef {import("./curve_settings.js").Settings} Settings */
/** @typedef {import("./feed.js").Wanted} Wanted */
/** @typedef {{path: string, name: string, colour: string, dash: string, params: Record<string, unknown>}} DrawnRun */

const KEY_DASHES = ["solid", "dot", "dash", "dashdot"];

export class ChartData {
  /** @param {import("./api.js").Api} api @param {AbortSignal} signal */
  constructor(api, signal) {
    this.whole = new Feed(api, signal);
    this.part = new Feed(api, signal);
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
  poll() {
    return (this.zoom ? this.part : this.whole).poll();
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
    const all = this.whole.get(run.path, key);
    const { grid } = this.whole;
    if (!all || !grid) return null;
    const fine = this.#isFine ? this.part.get(run.path, key) : undefined;
    if (!fine || !this.part.grid) return runCurve(all.buckets, grid, styleOf(run), weight);
    return runCurve(fine.buckets, this.part.grid, styleOf(run), weight, { buckets: all.buckets, grid });
  }
}

/** @param {DrawnRun} run */
const styleOf = ({ name, colour, dash }) => ({ name, colour, dash });
