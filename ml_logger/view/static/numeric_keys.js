// @ts-check
/**
 * Which keys of a run have numbers. Most say so by their last value; where that is none (a word, nothing), the server is asked
 * whether there are numbers before it, and again once the run has twice as many records.
 */

import { decode } from "./buckets.js";
import { asNumber } from "./format.js";

/** @typedef {import("./runs.js").Run} Run */

const MOST_PAIRS = 2000; // in one call

export class NumericKeys {
  /** @param {import("./views.js").Context} ctx @param {() => void} changed called when more is known */
  constructor(ctx, changed) {
    this.ctx = ctx;
    this.changed = changed;
    /** By run and key, how many records the run had when its last value was none. @type {Map<string, {records: number, isNumeric: boolean}>} */
    this.answers = new Map();
  }

  /** @param {Run} run @param {string} key */
  has(run, key) {
    if (!Object.hasOwn(run.last, key)) return false;
    return asNumber(run.last[key]) !== null || Boolean(this.answers.get(nameOf(run.path, key))?.isNumeric);
  }

  /** Ask about the keys of these runs of which nobody knows. @param {Run[]} runs */
  async ask(runs) {
    const pairs = runs.flatMap((run) => Object.keys(run.last).filter((key) => this.#isUnknown(run, key)).map((key) => /** @type {[string, string]} */ ([run.path, key]))).slice(0, MOST_PAIRS);
    if (!pairs.length) return;
    const records = new Map(runs.map((run) => [run.path, run.records]));
    for (const [path, key] of pairs) this.answers.set(nameOf(path, key), { records: records.get(path) ?? 0, isNumeric: false });
    const { value } = await this.ctx.api.postForBytes("view/api/curves", { series: pairs, buckets: 1 }, this.ctx.signal);
    if (!value) return void pairs.forEach(([path, key]) => this.answers.delete(nameOf(path, key)));
    const found = decode(value).series.filter(({ points }) => points);
    for (const { run, key } of found) this.answers.set(nameOf(run, key), { records: Infinity, isNumeric: true });
    if (found.length) this.changed();
  }

  /** @param {Run} run @param {string} key */
  #isUnknown(run, key) {
    const name = nameOf(run.path, key);
    if (asNumber(run.last[key]) !== null) return void this.answers.set(name, { records: Infinity, isNumeric: true });
    const answer = this.answers.get(name);
    return !answer || run.records >= 2 * answer.records;
  }
}

/** @param {string} path @param {string} key */
const nameOf = (path, key) => JSON.stringify([path, key]);
