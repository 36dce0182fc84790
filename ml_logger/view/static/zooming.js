// @ts-check
/** Zooms, from what plotly.js tells and from the keyboard. Pure. */

import { shownRange } from "./axes.js";

/** @typedef {import("./axes.js").Range} Range */
/** @typedef {import("./curve_settings.js").Zoom} Zoom */
/** @typedef {import("./figure.js").Picture} Picture */

/**
 * Return the zoom after a change that plotly told of; null if nothing was zoomed. An axis that it doesn't name stays as it was.
 * @param {Record<string, any>} change @param {Picture} picture @param {Zoom} before
 * @returns {Zoom | null}
 */
export function zoomAfter(change, picture, before) {
  const x = rangeIn(change, "xaxis");
  const y = rangeIn(change, "yaxis");
  if (!x && !y) return null;
  return {
    x: x ? shownRange(picture.scale, x) : before.x,
    y: y ? /** @type {Range} */ (y.map((end) => (picture.isLogY ? 10 ** Number(end) : Number(end)))) : before.y,
  };
}

/** @param {Record<string, any>} change @param {string} axis @returns {[number | string, number | string] | null} */
function rangeIn(change, axis) {
  const ends = change[`${axis}.range`] ?? [change[`${axis}.range[0]`], change[`${axis}.range[1]`]];
  return ends[0] === undefined || ends[1] === undefined ? null : ends;
}

/**
 * Return the x-range that is `factor` times as wide around `x` (null: the middle); null, all there is, where it shows all.
 * @param {Picture} picture @param {number | null} x @param {number} factor
 * @returns {Range | null}
 */
export function zoomedAround({ xRange: [low, high], scale, curves }, x, factor) {
  const [flat, round] = scale.type === "log" ? [Math.log, Math.exp] : [Number, Number];
  const centre = x === null ? (flat(low) + flat(high)) / 2 : flat(x);
  const range = /** @type {Range} */ ([low, high].map((end) => round(centre + (flat(end) - centre) * factor)));
  const isAll = curves.every((curve) => !curve.x.length || (range[0] <= curve.x[0] && range[1] >= curve.x[curve.x.length - 1]));
  return isAll ? null : range;
}
