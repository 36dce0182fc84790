// @ts-check
/**
 * Axes: from what the server calls x (steps, or seconds) to what is drawn, and back. Pure, but for the time zone of the browser.
 *
 * plotly.js knows no time zones: it shows every date as UTC. So wall times are shifted by the browser's offset on their way to it.
 */

import { dateText, durationText, numberText } from "./format.js";

/** @typedef {"step" | "time" | "relative"} Kind */
/** @typedef {[number, number]} Range  Lower and upper end. */
/**
 * @typedef {object} Scale
 * @property {Kind} kind
 * @property {string} unit  behind each tick; "" where it needs none
 * @property {"linear" | "log" | "date"} type  as plotly.js calls it
 * @property {(x: number) => number} draw  to a place on plotly's axis (on a log axis the value, not its logarithm)
 * @property {(place: number) => number} undraw
 * @property {(x: number) => string} say  for people
 */

/** @type {readonly {name: string, seconds: number, upTo: number}[]} */
const UNITS = [
  { name: "s", seconds: 1, upTo: 180 },
  { name: "min", seconds: 60, upTo: 3 * 3600 },
  { name: "h", seconds: 3600, upTo: 3 * 86_400 },
  { name: "d", seconds: 86_400, upTo: Infinity },
];

/**
 * Return the scale of an x-axis on which all of `range` lies.
 * @param {Kind} kind
 * @param {Range} range  in the server's units
 * @param {boolean} isLog  has no meaning for wall time
 * @returns {Scale}
 */
export function xScale(kind, range, isLog) {
  if (kind === "time") return timeScale(range);
  const unit = kind === "relative" ? unitFor(range[1]) : { name: "", seconds: 1 };
  return {
    kind,
    unit: unit.name && ` ${unit.name}`,
    type: isLog ? "log" : "linear",
    draw: (x) => x / unit.seconds,
    undraw: (place) => place * unit.seconds,
    say: kind === "step" ? (x) => `step ${stepText(x)}` : spell,
  };
}

/** @param {Range} range */
function timeScale(range) {
  const shift_s = -60 * new Date(range[1] * 1000).getTimezoneOffset();
  return {
    kind: /** @type {Kind} */ ("time"),
    unit: "",
    type: /** @type {const} */ ("date"),
    draw: (/** @type {number} */ x) => (x + shift_s) * 1000,
    undraw: (/** @type {number} */ place) => place / 1000 - shift_s,
    say: dateText,
  };
}

/** @param {number} longest_s */
const unitFor = (longest_s) => UNITS.find((unit) => longest_s <= unit.upTo) ?? UNITS[UNITS.length - 1];

/** Where a step is in its bucket is known to seven digits. @param {number} x */
const stepText = (x) => (Math.round(x * 1e4) / 1e4).toLocaleString("en", { maximumFractionDigits: 4 });

/** @param {number} seconds */
const spell = (seconds) => (seconds < 60 ? `${numberText(seconds, 4)} s` : durationText(seconds));

/**
 * Return what plotly calls a range: on a log axis it means the logarithms.
 * @param {Scale} scale
 * @param {Range} range  in the server's units
 * @returns {Range}
 */
export function drawnRange(scale, range) {
  const [low, high] = range.map(scale.draw);
  return scale.type === "log" ? [Math.log10(low), Math.log10(high)] : [low, high];
}

/**
 * Return the range in the server's units that plotly shows. plotly says dates as text.
 * @param {Scale} scale
 * @param {[number | string, number | string]} drawn
 * @returns {Range}
 */
export function shownRange(scale, drawn) {
  const [low, high] = drawn.map((end) => scale.undraw(placeOf(scale, end)));
  return low <= high ? [low, high] : [high, low];
}

/**
 * @param {Scale} scale
 * @param {number | string} end
 */
function placeOf(scale, end) {
  if (scale.type === "date") return typeof end === "string" ? millisecondsOf(end) : end;
  return scale.type === "log" ? 10 ** Number(end) : Number(end);
}

/** Read plotly's `2026-11-25`, `2026-11-25 16:04` or `2026-11-25 16:04:05.1234`, which are UTC to it. @param {string} date */
function millisecondsOf(date) {
  const [day, time = "00:00"] = date.split(" ");
  const [hours, minutes, seconds = 0] = time.split(":").map(Number);
  return Date.parse(`${day}T00:00Z`) + ((hours * 60 + minutes) * 60 + seconds) * 1000;
}
