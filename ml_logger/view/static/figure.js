// @ts-check
/**
 * From curves to what plotly.js draws. Pure.
 *
 * plotly reads some HTML in its texts, so whatever a run is called goes through `plain`. It is given a range for each axis,
 * always: then everybody here knows where on the screen a value is, and no new point moves what somebody zoomed to.
 */

import { drawnRange } from "./axes.js";
import { visible } from "./dom.js";

/** @typedef {import("./axes.js").Range} Range */
/** @typedef {import("./axes.js").Scale} Scale */
/** @typedef {import("./curves.js").Curve} Curve */
/** @typedef {{text: string, grid: string, line: string, font: string}} Inks  CSS colours, and the family of the font */
/**
 * @typedef {object} Picture
 * @property {Curve[]} curves
 * @property {Scale} scale
 * @property {Range} xRange  in the server's units
 * @property {Range} yRange  as plotly has it: logarithms on a log axis
 * @property {boolean} isLogY
 * @property {Inks} inks
 * @property {{width: number, height: number}} size  in CSS pixels
 */

/** Where the plot's area lies in the chart, in CSS pixels. */
export const MARGINS = Object.freeze({ l: 54, r: 12, t: 8, b: 42 });

export const BAND_OPACITY = 0.18;
export const LINE_PX = 1.6;
const DOT_PX = 5;
const MARK_PX = 8;
/** Where the marks of what can't be drawn stand, as shares of the height. @type {readonly {column: "nan" | "above" | "below", symbol: string, height: number}[]} */
const MARKS = [
  { column: "nan", symbol: "x-thin-open", height: 0.03 },
  { column: "above", symbol: "triangle-up", height: 0.97 },
  { column: "below", symbol: "triangle-down", height: 0.03 },
];

/** Return a text as plotly shows it letter by letter. @param {string} text */
export const plain = (text) => visible(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

/** @param {Picture} picture @returns {{data: object[], layout: object}} */
export function figure(picture) {
  const { curves, scale } = picture;
  const data = [
    ...curves.flatMap((curve) => bandTrace(curve, scale)),
    ...curves.map((curve) => lineTrace(curve, scale)),
    ...curves.flatMap((curve) => [...dotsTrace(curve, scale), ...markTraces(curve, scale)]),
  ];
  return { data, layout: layoutOf(picture) };
}

/** @param {Curve} curve @param {Scale} scale @returns {object[]} */
function bandTrace(curve, scale) {
  const { low, high, colour } = curve;
  if (!low || !high) return [];
  const { x, y } = outline(curve.x.map(scale.draw), low, high);
  return [{ ...QUIET, x, y, mode: "lines", fill: "toself", fillcolor: colour, opacity: BAND_OPACITY, line: { color: colour, width: 1 } }];
}

const QUIET = { type: "scatter", hoverinfo: "skip", showlegend: false };

/**
 * Return the outline of the area between `low` and `high`: one polygon for each stretch without a gap, NaN between them.
 * @param {Float64Array} x @param {ArrayLike<number>} low @param {ArrayLike<number>} high
 */
export function outline(x, low, high) {
  /** @type {number[]} */ const xs = [];
  /** @type {number[]} */ const ys = [];
  for (const [from, to] of stretches(low)) {
    for (let i = from; i < to; i++) xs.push(x[i]), ys.push(high[i]);
    for (let i = to - 1; i >= from; i--) xs.push(x[i]), ys.push(low[i]);
    xs.push(x[from], NaN);
    ys.push(high[from], NaN);
  }
  return { x: Float64Array.from(xs), y: Float64Array.from(ys) };
}

/** Return where finite values stand together: [from, to), again and again. @param {ArrayLike<number>} values */
export function stretches(values) {
  /** @type {[number, number][]} */
  const found = [];
  for (let from = 0; from < values.length; from++) {
    if (!Number.isFinite(values[from])) continue;
    let to = from;
    while (to < values.length && Number.isFinite(values[to])) to++;
    found.push([from, to]);
    from = to;
  }
  return found;
}

/** @param {Curve} curve @param {Scale} scale */
function lineTrace({ name, x, y, colour, dash }, scale) {
  return { type: "scatter", hoverinfo: "skip", mode: "lines", name: plain(name), x: x.map(scale.draw), y, line: { color: colour, width: LINE_PX, dash } };
}

/** What stands alone is no line: it is drawn as a dot. @param {Curve} curve @param {Scale} scale @returns {object[]} */
function dotsTrace({ x, y, colour }, scale) {
  const alone = stretches(y).filter(([from, to]) => to - from === 1).map(([from]) => from);
  if (!alone.length) return [];
  return [{ ...QUIET, mode: "markers", x: alone.map((i) => scale.draw(x[i])), y: alone.map((i) => y[i]), marker: { color: colour, size: DOT_PX } }];
}

/** @param {Curve} curve @param {Scale} scale @returns {object[]} */
function markTraces({ x, raw, colour }, scale) {
  if (!raw) return [];
  return MARKS.flatMap(({ column, symbol, height }) => {
    const places = Array.from(x.keys()).filter((i) => raw[column][i] > 0);
    if (!places.length) return [];
    const marker = { color: colour, size: MARK_PX, symbol, line: { color: colour, width: LINE_PX } };
    return [{ ...QUIET, mode: "markers", yaxis: "y2", x: places.map((i) => scale.draw(x[i])), y: places.map(() => height), marker }];
  });
}

/** @param {Picture} picture */
function layoutOf({ scale, xRange, yRange, isLogY, inks, size }) {
  const axis = { gridcolor: inks.grid, linecolor: inks.line, tickcolor: inks.line, zeroline: false, showline: false, exponentformat: "e", minexponent: 5 };
  const xDrawn = drawnRange(scale, xRange);
  return {
    ...size,
    margin: MARGINS,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: inks.font, size: 11, color: inks.text },
    xaxis: { ...axis, exponentformat: "SI", minexponent: 3, type: scale.type, range: xDrawn, ...ticks(scale.type, xDrawn, size.width / 90), ticksuffix: scale.unit },
    yaxis: { ...axis, type: isLogY ? "log" : "linear", range: yRange, ...ticks(isLogY ? "log" : "linear", yRange, size.height / 40) },
    yaxis2: { overlaying: "y", range: [0, 1], fixedrange: true, visible: false },
    showlegend: false,
    hovermode: false,
    dragmode: "zoom",
  };
}

/** About so many ticks; within two decades of a log axis at 1, 2 and 5. @param {string} type @param {Range} range @param {number} about */
function ticks(type, [low, high], about) {
  if (type === "log" && high - low <= 2 && high - low >= 1) return { dtick: "D2" };
  return { nticks: Math.max(3, Math.round(about)) };
}
