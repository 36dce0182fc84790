// @ts-check
/** The y-range of a chart: all that is in sight, or without outliers. Pure; on a log axis ranges are logarithms, as plotly.js has them. */

import { firstFrom } from "./buckets.js";

/** @typedef {import("./axes.js").Range} Range */
/** @typedef {import("./curves.js").Curve} Curve */

const MARGIN = 0.05;
const EMPTY = /** @type {Range} */ ([0, 1]);

/**
 * Return the range that shows all curves between the ends of `xRange`, bands included.
 * With `isClipped` outliers are left out: it shows the middle nine tenths of the curves' values and as much as half of that
 * on either side, but never more than there is.
 * @param {Curve[]} curves
 * @param {Range} xRange
 * @param {{isLog: boolean, isClipped: boolean}} how
 * @returns {Range}
 */
export function yRange(curves, xRange, { isLog, isClipped }) {
  const seen = curves.map((curve) => inSight(curve, xRange));
  const columns = seen.flatMap(({ curve, from, to }) => columnsOf(curve, isLog, isClipped).map((column) => column.subarray(from, to)));
  const range = isClipped ? withoutOutliers(columns, isLog) : extentOf(columns, isLog);
  return range ? withMargin(range) : EMPTY;
}

/** @param {Curve} curve @param {Range} xRange */
function inSight(curve, [low, high]) {
  const from = firstFrom(curve.x, low);
  const to = firstFrom(curve.x, high);
  return { curve, from, to: curve.x[to] === high ? to + 1 : to };
}

/** How many points between the ends of `xRange` a log axis has no place for: those at 0 and below. @param {Curve[]} curves @param {Range} xRange */
export function countWithoutLogarithm(curves, xRange) {
  const seen = curves.map((curve) => inSight(curve, xRange));
  return seen.reduce((count, { curve, from, to }) => count + curve.y.subarray(from, to).filter((value) => Number.isFinite(value) && value <= 0).length, 0);
}

/** On a log axis the lower edge of a band may come near to 0, decades below all else: it doesn't count. @param {Curve} curve @param {boolean} isLog @param {boolean} isClipped */
const columnsOf = ({ y, low, high }, isLog, isClipped) => (isClipped || !low || !high ? [y] : isLog ? [y, high] : [y, low, high]);

/** @param {(Float32Array | Float64Array)[]} columns @param {boolean} isLog @returns {Range | null} */
function extentOf(columns, isLog) {
  let [low, high] = [Infinity, -Infinity];
  for (const column of columns)
    for (const value of column) {
      if (!Number.isFinite(value) || (isLog && value <= 0)) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
  if (low > high) return null;
  return isLog ? [Math.log10(low), Math.log10(high)] : [low, high];
}

/** @param {(Float32Array | Float64Array)[]} columns @param {boolean} isLog @returns {Range | null} */
function withoutOutliers(columns, isLog) {
  const values = Float64Array.from(columns.flatMap((column) => drawable(column, isLog))).sort();
  if (!values.length) return null;
  const [low, high] = [quantile(values, 0.05), quantile(values, 0.95)];
  const more = (high - low) / 2;
  return [Math.max(values[0], low - more), Math.min(values[values.length - 1], high + more)];
}

/** @param {Float32Array | Float64Array} column @param {boolean} isLog */
function drawable(column, isLog) {
  const finite = Array.from(column).filter(Number.isFinite);
  return isLog ? finite.filter((value) => value > 0).map(Math.log10) : finite;
}

/** @param {Float64Array} sorted @param {number} share */
const quantile = (sorted, share) => sorted[Math.round(share * (sorted.length - 1))];

/** @param {Range} range @returns {Range} */
function withMargin([low, high]) {
  const margin = (high - low) * MARGIN || Math.abs(low) * MARGIN || 1;
  return [low - margin, high + margin];
}
