// @ts-check
/** What all curves have at one x, the highest first. Pure. */

import { nearest } from "./buckets.js";

/** @typedef {import("./curves.js").Curve} Curve */
/** @typedef {{nan: number, above: number, below: number}} Odd  how many of these are in the bucket */
/**
 * @typedef {object} Row
 * @property {Curve} curve
 * @property {number} at  the position in its arrays
 * @property {number} x  of its nearest point
 * @property {number} y  the line: smoothed, or the mean over seeds
 * @property {number} mean  of the raw points in its bucket
 * @property {number | null} low  their least and greatest, or a group's band; null where there is but one
 * @property {number | null} high
 * @property {number} count  points in the bucket, or runs of a group
 * @property {Odd | null} odd
 */

/**
 * Return the rows of all curves that have a point at `x` or on either side of it, sorted by value, and the x of the point
 * nearest to it; null where there is none.
 * @param {Curve[]} curves
 * @param {number} x
 * @param {number} reach  how far beyond its ends a curve still counts
 * @returns {{x: number, rows: Row[]} | null}
 */
export function readout(curves, x, reach) {
  const near = curves.filter((curve) => covers(curve, x, reach)).map((curve) => rowAt(curve, nearest(curve.x, x)));
  if (!near.length) return null;
  const closest = near.reduce((best, row) => (Math.abs(row.x - x) < Math.abs(best.x - x) ? row : best));
  return { x: closest.x, rows: near.sort(byValue) };
}

/** @param {Curve} curve @param {number} where @param {number} reach */
const covers = ({ x }, where, reach) => x.length > 0 && where >= x[0] - reach && where <= x[x.length - 1] + reach;

/** @param {Curve} curve @param {number} at @returns {Row} */
function rowAt(curve, at) {
  const { x, y, low, high, raw, members } = curve;
  const count = raw ? raw.count[at] : (members?.[at] ?? 1);
  const [least, most] = raw ? [raw.min, raw.max] : [low, high];
  const isSpread = count > 1 && least !== null && most !== null && Number.isFinite(least[at]);
  return {
    curve, at, count, x: x[at], y: y[at], mean: raw ? raw.mean[at] : y[at],
    low: isSpread ? least[at] : null, high: isSpread ? most[at] : null, odd: raw && oddAt(raw, at),
  };
}

/** @param {import("./buckets.js").Buckets} raw @param {number} at @returns {Odd | null} */
function oddAt({ nan, above, below }, at) {
  return nan[at] + above[at] + below[at] > 0 ? { nan: nan[at], above: above[at], below: below[at] } : null;
}

/** Greatest first, gaps last. @param {Row} a @param {Row} b */
function byValue(a, b) {
  if (Number.isNaN(a.y) || Number.isNaN(b.y)) return Number(Number.isNaN(a.y)) - Number(Number.isNaN(b.y));
  return b.y - a.y;
}
