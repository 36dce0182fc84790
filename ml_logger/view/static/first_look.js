// @ts-check
/** Curves drawn by hand on a canvas, where plotly.js will draw them when it is there: the first look need not wait for it. */

import { drawnRange } from "./axes.js";
import { BAND_OPACITY, LINE_PX, MARGINS, stretches } from "./figure.js";

/** @typedef {import("./figure.js").Picture} Picture */
/** @typedef {(value: number) => number} ToPx */


/** Draw a picture, its colours resolved, without axes. @param {HTMLCanvasElement} canvas @param {Picture} picture */
export function drawFirstLook(canvas, picture) {
  const { width, height } = picture.size;
  const scale = devicePixelRatio || 1;
  [canvas.width, canvas.height] = [width * scale, height * scale];
  const context = canvas.getContext("2d");
  if (!context) return;
  context.scale(scale, scale);
  context.beginPath();
  context.rect(MARGINS.l, MARGINS.t, width - MARGINS.l - MARGINS.r, height - MARGINS.t - MARGINS.b);
  context.clip();
  const [toX, toY] = [xToPx(picture), yToPx(picture)];
  for (const { x, low, high, colour } of picture.curves) if (low && high) fillBand(context, x.map(toX), low, high, toY, colour);
  for (const { x, y, colour } of picture.curves) drawLine(context, x.map(toX), y, toY, colour);
}

/** @param {Picture} picture @returns {ToPx} */
function xToPx({ scale, xRange, size }) {
  const to = linear(drawnRange(scale, xRange), MARGINS.l, size.width - MARGINS.r);
  return scale.type === "log" ? (x) => to(Math.log10(scale.draw(x))) : (x) => to(scale.draw(x));
}

/** @param {Picture} picture @returns {ToPx} */
function yToPx({ yRange, isLogY, size }) {
  const to = linear(yRange, size.height - MARGINS.b, MARGINS.t);
  return isLogY ? (y) => to(Math.log10(y)) : to;
}

/** @param {import("./axes.js").Range} range @param {number} from @param {number} to @returns {ToPx} */
const linear = ([low, high], from, to) => (value) => from + ((value - low) / (high - low)) * (to - from);

/** @param {CanvasRenderingContext2D} context @param {Float64Array} xs @param {ArrayLike<number>} low @param {ArrayLike<number>} high @param {ToPx} toY @param {string} colour */
function fillBand(context, xs, low, high, toY, colour) {
  context.globalAlpha = BAND_OPACITY;
  context.fillStyle = colour;
  for (const [from, to] of stretches(low)) {
    context.beginPath();
    for (let i = from; i < to; i++) context.lineTo(xs[i], toY(high[i]));
    for (let i = to - 1; i >= from; i--) context.lineTo(xs[i], toY(low[i]));
    context.fill();
  }
  context.globalAlpha = 1;
}

/** @param {CanvasRenderingContext2D} context @param {Float64Array} xs @param {ArrayLike<number>} ys @param {ToPx} toY @param {string} colour */
function drawLine(context, xs, ys, toY, colour) {
  context.strokeStyle = colour;
  context.lineWidth = LINE_PX;
  context.beginPath();
  for (const [from, to] of stretches(ys)) {
    context.moveTo(xs[from], toY(ys[from]));
    for (let i = from + 1; i < to; i++) context.lineTo(xs[i], toY(ys[i]));
  }
  context.stroke();
}
