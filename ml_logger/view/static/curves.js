// @ts-check
/** Curves: what is drawn of a run, or of a group of runs, in one chart. Pure. */

import { firstFrom } from "./buckets.js";
import { bandOver } from "./seed_bands.js";
import { memoryBefore, smoothed, usualCount } from "./smoothing.js";

/** @typedef {import("./buckets.js").Buckets} Buckets */
/** @typedef {import("./buckets.js").Grid} Grid */
/** @typedef {import("./strands.js").Strand} Strand */
/** @typedef {Float32Array | Float64Array} Floats */
/** @typedef {{name: string, colour: string, dash: string}} Style */
/**
 * @typedef {object} Curve  All arrays are equally long, `x` ascends.
 * @property {string} name
 * @property {string} colour
 * @property {string} dash
 * @property {Int32Array} index  the same bucket has the same in every curve of a chart
 * @property {Float64Array} x  in the server's units
 * @property {Floats} y  the line: smoothed, or the mean over seeds; NaN is a gap
 * @property {Floats | null} low  the band around or behind it
 * @property {Floats | null} high
 * @property {Buckets | null} raw  what it was made from; null of a group
 * @property {Uint16Array | null} members  how many runs of a group are in each bucket
 */

/**
 * Return the curve of one run.
 * @param {Strand} strand
 * @param {Style} style
 * @param {number} weight  of the smoothing
 * @param {{buckets: Buckets, grid: Grid}} whole  the run from its beginning, where the strand may be finer, or begin later
 * @returns {Curve}
 */
export function runCurve({ slots, x, buckets }, style, weight, whole) {
  const isThin = weight <= 0 && buckets.count.every((count) => count <= 1);
  return {
    ...style, x, index: slots, y: weight > 0 ? smoothedOf(buckets, x[0] ?? 0, weight, whole) : buckets.mean, raw: buckets, members: null,
    low: isThin ? null : buckets.min, high: isThin ? null : buckets.max,
  };
}

/** @param {Buckets} buckets @param {number} firstX @param {number} weight @param {{buckets: Buckets, grid: Grid}} whole */
function smoothedOf(buckets, firstX, weight, { buckets: all, grid }) {
  const before = memoryBefore(all, Math.floor((firstX - grid.origin) / grid.width), weight);
  return smoothed(buckets, weight, { usual: usualCount(all.count), before });
}

/**
 * Return the curve of a group of runs that differ in their seeds: their mean, and what they span.
 * @param {Curve[]} members  on one grid
 * @param {Style} style
 * @param {"range" | "std"} kind
 * @returns {Curve}
 */
export function groupCurve(members, style, kind) {
  const { index, x, mean, low, high, members: counts } = bandOver(members, kind);
  return { ...style, index, x, y: mean, low, high, raw: null, members: counts };
}

/**
 * Return the first and the last x of all curves, a little apart; null if there is none. A bucket is drawn where its last point
 * is, so the very first point may lie before.
 * @param {Curve[]} curves @param {boolean} isLog then the first above 0 @param {number | null} first where the first point is
 * @returns {[number, number] | null}
 */
export function extentOf(curves, isLog, first) {
  const filled = curves.map(({ x }) => (isLog ? x.subarray(firstFrom(x, Number.MIN_VALUE)) : x)).filter((x) => x.length);
  if (!filled.length) return null;
  const [low, high] = [Math.min(...filled.map((x) => x[0]), isLog ? Infinity : (first ?? Infinity)), Math.max(...filled.map((x) => x[x.length - 1]))];
  return low < high ? [low, high] : isLog ? [low / 2, high * 2] : [low - 0.5, high + 0.5];
}
