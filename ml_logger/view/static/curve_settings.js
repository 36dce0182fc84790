// @ts-check
/** How curves are drawn, as the URL has it. */

import { choiceKey, flagKey, key, listKey, numberKey, textKey } from "./state.js";

/** @typedef {import("./axes.js").Range} Range */
/** @typedef {{x: Range | null, y: Range | null}} Zoom  in the server's units; null: all there is */
/** @typedef {{x: "step" | "time" | "relative", weight: number, isLogX: boolean, isLogY: boolean, isClipped: boolean, seeds: "off" | "range" | "std"}} Settings */

export const MOST_WEIGHT = 0.999;

const NO_NAME = '""';
const WHOLE = /** @type {Zoom} */ (Object.freeze({ x: null, y: null }));

export const X = choiceKey("x", /** @type {const} */ (["step", "time", "relative"]));
export const SMOOTHING = numberKey("smooth", 0);
export const LOG_X = flagKey("logx");
export const LOG_Y = flagKey("logy");
export const CLIP = flagKey("clip");
export const SEEDS = choiceKey("seeds", /** @type {const} */ (["off", "range", "std"]));
export const METRICS = textKey("metrics");
export const FOLDED = listKey("folded");
/** The chart that is enlarged, by its id, which is "" where a metric is called so; null: none. */
export const WIDE = key("wide", /** @type {string | null} */ (null), (text) => (text === NO_NAME ? "" : text), (value) => (value === "" ? NO_NAME : (value ?? "")));
export const ALL_RUNS = flagKey("allruns");
export const ZOOMS = key("zoom", /** @type {ReadonlyMap<string, Zoom>} */ (new Map()), readZooms, writeZooms);

/** The names of what changes how every chart looks. */
export const LOOKS = [SMOOTHING, LOG_X, LOG_Y, CLIP, SEEDS].map(({ name }) => name);

/** @param {import("./state.js").ViewState} state @returns {Settings} */
export function settingsIn(state) {
  const x = state.get(X);
  return {
    x,
    weight: Math.min(MOST_WEIGHT, Math.max(0, state.get(SMOOTHING))),
    isLogX: state.get(LOG_X) && x !== "time",
    isLogY: state.get(LOG_Y),
    isClipped: state.get(CLIP),
    seeds: state.get(SEEDS),
  };
}

/** @param {import("./state.js").ViewState} state @param {string} chart @returns {Zoom} */
export const zoomIn = (state, chart) => state.get(ZOOMS).get(chart) ?? WHOLE;

/** @param {import("./state.js").ViewState} state @param {string} chart @param {Zoom} zoom */
export function setZoom(state, chart, zoom) {
  const zooms = new Map(state.get(ZOOMS));
  if (zoom.x || zoom.y) zooms.set(chart, zoom);
  else zooms.delete(chart);
  state.set(ZOOMS, zooms);
}

/** Read `chart@from~to~low~high,…`, where two of the numbers may be missing. @param {string} text @returns {ReadonlyMap<string, Zoom> | undefined} */
function readZooms(text) {
  try {
    return new Map(text.split(",").flatMap(readZoom));
  } catch {
    return undefined;
  }
}

/** @param {string} text @returns {[string, Zoom][]} */
function readZoom(text) {
  const found = /^(.*)@([^@~]*)~([^~]*)(?:~([^~]*)~([^~]*))?$/.exec(text);
  if (!found) return [];
  const [x, y] = [rangeOf(found[2], found[3]), rangeOf(found[4], found[5])];
  return x || y ? [[decodeURIComponent(found[1]), { x, y }]] : [];
}

/** @param {string | undefined} low @param {string | undefined} high @returns {Range | null} */
function rangeOf(low, high) {
  const range = /** @type {Range} */ ([low, high].map((end) => (end ? Number(end) : NaN)));
  return range[0] < range[1] ? range : null;
}

/** @param {ReadonlyMap<string, Zoom>} zooms */
function writeZooms(zooms) {
  return [...zooms].map(([chart, { x, y }]) => `${chart.replace(/[%,]/g, encodeURIComponent)}@${ends(x)}${y ? `~${ends(y)}` : ""}`).join(",");
}

/** With as many digits as tell places in the range apart, however far from 0 it is. @param {Range | null} range */
function ends(range) {
  if (!range) return "~";
  const distance = Math.max(...range.map(Math.abs)) / (range[1] - range[0]);
  const digits = Math.min(17, Math.max(9, Math.ceil(Math.log10(distance)) + 6)); // 17 tell any two numbers apart
  return range.map((end) => Number(end.toPrecision(digits))).join("~");
}
