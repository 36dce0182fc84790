// @ts-check
/**
 * Axes: from what the server calls x (steps, or seconds) to what is drawn, and back. Pure, but for the time zone of the browser.
 *
 * plotly.js knows no time zones: it shows every date as UTC. So wall times are shifted by the browser's offset on their way to it.
 */

/** @typedef {"step" | "time" | "relative"} Kind */
/** @typedef {[number, number]} Range  Lower and upper end. */
/**
 * @typedef {object} Scale
 * @property {Kind} kind
 * @property {string} title
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
    title: kind === "step" ? "step" : `time since the start (${unit.name})`,
    type: isLog ? "log" : "linear",
    draw: (x) => x / unit.seconds,
    undraw: (place) => place * unit.seconds,
    say: kind === "step" ? (x) => `step ${sayNumber(Math.round(x * 1e6) / 1e6)}` : (x) => sayDuration(x),
  };
}

/** @param {Range} range */
function timeScale(range) {
  const shift_s = -60 * new Date(range[1] * 1000).getTimezoneOffset();
  return {
    kind: /** @type {Kind} */ ("time"),
    title: "time",
    type: /** @type {const} */ ("date"),
    draw: (/** @type {number} */ x) => (x + shift_s) * 1000,
    undraw: (/** @type {number} */ place) => place / 1000 - shift_s,
    say: (/** @type {number} */ x) => new Date(x * 1000).toLocaleString(),
  };
}

/** @param {number} longest_s */
const unitFor = (longest_s) => UNITS.find((unit) => longest_s <= unit.upTo) ?? UNITS[UNITS.length - 1];

/**
 * Return seconds as `2 d 3 h`, `4 min 5 s`, `6.5 s`: the two largest units.
 * @param {number} seconds
 */
export function sayDuration(seconds) {
  if (!(seconds >= 60)) return `${Number(seconds.toFixed(2))} s`;
  const parts = [];
  let left = Math.round(seconds);
  for (const unit of [...UNITS].reverse()) {
    const whole = Math.floor(left / unit.seconds);
    left -= whole * unit.seconds;
    if (whole || parts.length) parts.push([whole, unit.name]);
  }
  return parts.slice(0, 2).filter(([whole]) => whole).map((part) => part.join(" ")).join(" ");
}

/**
 * Return a number as short as it can be read: six digits, thousands apart.
 * @param {number} value
 */
export function sayNumber(value) {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value > 0 ? "+Inf" : "−Inf";
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return value.toLocaleString("en");
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-4) return value.toExponential(4).replace(/\.?0+e/, "e");
  return String(Number(value.toPrecision(6)));
}

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
