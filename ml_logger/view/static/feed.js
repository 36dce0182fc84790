// @ts-check
/** The buckets of one chart: asked for once for a range, then only for what is new, on the same grid. */

import { decode, withTail } from "./buckets.js";

/** @typedef {import("./api.js").Api} Api */
/** @typedef {import("./api.js").Trouble} Trouble */
/** @typedef {import("./axes.js").Kind} Kind */
/** @typedef {import("./axes.js").Range} Range */
/** @typedef {import("./buckets.js").Answer} Answer */
/** @typedef {import("./buckets.js").Grid} Grid */
/** @typedef {import("./buckets.js").Series} Series */
/** @typedef {{runs: string[], keys: string[], x: Kind, buckets: number, range: Range | null}} Wanted  `range` null: all there is */

const MOST_GROWTH = 2; // as many times the buckets wanted may a growing run have before the grid is made anew

export class Feed {
  /** @param {Api} api @param {AbortSignal} signal */
  constructor(api, signal) {
    this.api = api;
    this.signal = signal;
    /** What was asked for that is here. @type {Wanted | null} */
    this.held = null;
    /** @type {Grid | null} */
    this.grid = null;
    /** Where the first point is. @type {number | null} */
    this.from = null;
    /** Where the last one was when all was asked for. @type {number | null} */
    this.to = null;
    /** By `nameOf` run and key. @type {Map<string, Series>} */
    this.series = new Map();
    /** @type {Record<string, string>} */
    this.cursors = {};
    /** Why there was no answer to the last call. @type {Trouble | null} */
    this.trouble = null;
    this.turn = 0;
  }

  /** Ask for all of it; returns whether this is still what is wanted, and there. @param {Wanted} wanted @returns {Promise<boolean>} */
  async load(wanted) {
    const turn = ++this.turn;
    const answer = await this.#ask(wanted, {});
    if (!answer || turn !== this.turn) return false;
    this.held = wanted;
    this.grid = answer.grid;
    this.from = answer.from;
    this.to = answer.to;
    this.cursors = answer.cursors;
    this.series = new Map(answer.series.map((one) => [nameOf(one), one]));
    return true;
  }

  /** Ask for what is new; returns whether there was any. @returns {Promise<boolean>} */
  async poll() {
    const { held, grid, turn } = this;
    if (!held || !grid) return false;
    const answer = await this.#ask(held, { ...grid, seen: this.cursors });
    if (!answer && turn === this.turn && this.trouble?.status === 413) return this.load(held); // too much on this grid
    if (!answer || turn !== this.turn) return false;
    this.cursors = { ...this.cursors, ...answer.cursors };
    for (const one of answer.series) this.series.set(nameOf(one), this.#grown(one));
    if (this.#isTooFine(held)) return this.load(held);
    return answer.series.length > 0;
  }

  /** @param {string} run @param {string} key */
  get(run, key) {
    return this.series.get(nameOf({ run, key }));
  }

  /** @param {Series & {isTail: boolean}} news @returns {Series} */
  #grown(news) {
    const old = this.series.get(nameOf(news));
    return news.isTail && old ? { ...news, buckets: withTail(old.buckets, news.buckets) } : news;
  }

  /** @param {Wanted} held */
  #isTooFine({ range, buckets }) {
    const most = MOST_GROWTH * buckets;
    return !range && [...this.series.values()].some(({ buckets: { index } }) => spanOf(index) > most);
  }

  /** @param {Wanted} wanted @param {object} more @returns {Promise<Answer | null>} */
  async #ask({ runs, keys, x, buckets, range }, more) {
    const [from, to] = range ?? [null, null];
    const question = { x, series: runs.flatMap((run) => keys.map((key) => [run, key])), buckets, from, to, ...more };
    const { value, trouble } = await this.api.postForBytes("view/api/curves", question, this.signal);
    this.trouble = trouble;
    return value && decode(value);
  }
}

/** @param {{run: string, key: string}} series */
const nameOf = ({ run, key }) => JSON.stringify([run, key]);

/** @param {Int32Array} index */
const spanOf = (index) => (index.length ? index[index.length - 1] - index[0] + 1 : 0);
