// @ts-check
/**
 * Draws histograms over steps on a canvas: as a heat map (steps to the right, values up) or as a ridge (values to the right, a
 * curve for each of some steps, the newest in front).
 *
 * Both kinds draw, find what is under a point, and say where a bin is, so that pointer and keyboard can share one mark.
 */

import { binAt, columnEdges, rebinned, thinned, ticks } from "./bins.js";
import { colourAt, cssColour } from "./colormap.js";

/** @typedef {import("./bins.js").Histograms} Histograms */
/** @typedef {{low: number, high: number}} Range */
/** @typedef {{left: number, top: number, width: number, height: number}} Frame */
/** @typedef {{text: string, muted: string, line: string, surface: string}} Inks  CSS colours of the theme */
/** @typedef {{index: number, bin: number}} Mark  which histogram, and which of its bins */
/** @typedef {CanvasRenderingContext2D} Context */

const MOST_RIDGES = 24;
const RIDGE_ROWS = 4; // so many rows high is the highest curve: they overlap, and stay apart
const HEAT_CELL_PX = 3;
const GAP = { left: 58, top: 10, right: 14, bottom: 24 };

/** @param {number} width @param {number} height of the canvas, in CSS pixels @returns {Frame} */
export function frameOf(width, height) {
  return {
    left: GAP.left, top: GAP.top,
    width: Math.max(10, width - GAP.left - GAP.right), height: Math.max(10, height - GAP.top - GAP.bottom),
  };
}

/** @param {number} value @param {number} low @param {number} high @returns {number} */
function part(value, low, high) {
  return high > low ? (value - low) / (high - low) : 0.5;
}

/** Steps to the right, values up, the colour is the share of the step's counts. */
export class Heat {
  /** @param {Histograms} histograms @param {Range} range of the values @param {Range} [steps] the axis, where it is longer than the run */
  constructor(histograms, range, steps) {
    this.histograms = histograms;
    this.range = range;
    this.borders = columnEdges(histograms.steps);
    const ends = [...this.borders, ...(steps ? [steps.low, steps.high] : [])];
    this.steps = { low: Math.min(...ends), high: Math.max(...ends) };
  }

  /** @param {Context} context @param {Frame} frame @param {Inks} inks */
  draw(context, frame, inks) {
    const cells = Math.max(8, Math.floor(frame.height / HEAT_CELL_PX));
    const columns = this.#pixels(cells);
    context.imageSmoothingEnabled = false;
    this.histograms.steps.forEach((_, i) => {
      const { left, width } = this.#column(i, frame);
      context.drawImage(columns, i, 0, 1, cells, left, frame.top, width, frame.height);
    });
    drawAxes(context, frame, inks, { ...this.steps, isWhole: true }, this.range);
  }

  /** @param {number} cells */
  #pixels(cells) {
    const { steps, edges, counts } = this.histograms;
    const image = new ImageData(Math.max(1, steps.length), cells);
    const shares = edges.map((one, i) => sharesOf(rebinned(one, counts[i], { ...this.range, cells }), counts[i]));
    const most = Math.max(...shares.map((one) => one.reduce((a, b) => Math.max(a, b), 0)), Number.MIN_VALUE);
    shares.forEach((column, i) => column.forEach((share, cell) => {
      if (share <= 0) return;
      const at = ((cells - 1 - cell) * steps.length + i) * 4;
      // The root lets thin tails be seen beside a peak.
      image.data.set([...colourAt("viridis", Math.sqrt(share / most)), 255], at);
    }));
    const canvas = document.createElement("canvas");
    canvas.width = image.width;
    canvas.height = cells;
    canvas.getContext("2d")?.putImageData(image, 0, 0);
    return canvas;
  }

  /** @param {number} i @param {Frame} frame */
  #column(i, frame) {
    const { low, high } = this.steps;
    const x = (/** @type {number} */ step) => frame.left + Math.round(part(step, low, high) * frame.width);
    return { left: x(this.borders[i]), width: Math.max(1, x(this.borders[i + 1]) - x(this.borders[i])) };
  }

  /** @param {number} x @param {number} y @param {Frame} frame @returns {Mark | null} */
  at(x, y, frame) {
    const { low, high } = this.steps;
    const index = binAt(this.borders, low + ((x - frame.left) / frame.width) * (high - low));
    const value = this.range.high - ((y - frame.top) / frame.height) * (this.range.high - this.range.low);
    return index < 0 || y < frame.top || y > frame.top + frame.height ? null : { index, bin: binAt(this.histograms.edges[index], value) };
  }

  /** @param {Mark} mark @param {Frame} frame the bin's box on the canvas */
  boxOf(mark, frame) {
    const edges = this.histograms.edges[mark.index];
    const y = (/** @type {number} */ value) => frame.top + (1 - clamped(part(value, this.range.low, this.range.high))) * frame.height;
    const [top, bottom] = mark.bin < 0 ? [frame.top, frame.top + frame.height] : [y(edges[mark.bin + 1]), y(edges[mark.bin])];
    return { ...this.#column(mark.index, frame), top, height: Math.max(2, bottom - top) };
  }

  /** Which histograms can be marked. */
  get shown() {
    return this.histograms.steps.map((_, i) => i);
  }
}

/** Values to the right, one curve a step, the newest in front. */
export class Ridge {
  /** @param {Histograms} histograms @param {Range} range of the values */
  constructor(histograms, range) {
    this.histograms = histograms;
    this.range = range;
    this.shown = thinned(histograms.steps.length, MOST_RIDGES);
  }

  /** @param {Context} context @param {Frame} frame @param {Inks} inks */
  draw(context, frame, inks) {
    const cells = Math.min(160, Math.max(24, Math.floor(frame.width / 4)));
    const { edges, counts } = this.histograms;
    const curves = this.shown.map((i) => sharesOf(rebinned(edges[i], counts[i], { ...this.range, cells }), counts[i]));
    const most = Math.max(...curves.map((one) => one.reduce((a, b) => Math.max(a, b), 0)), Number.MIN_VALUE);
    drawAxes(context, frame, inks, { ...this.range, isWhole: false }, null);
    const rows = this.#rows(frame);
    curves.forEach((curve, row) => {
      const colour = cssColour(colourAt("viridis", 0.1 + (0.75 * row) / Math.max(1, curves.length - 1)));
      drawRidge(context, frame, curve, { base: rows.base(row), height: rows.high / most, fill: colour, edge: inks.surface });
    });
    this.#nameRows(context, frame, inks, rows);
  }

  /** @param {Frame} frame */
  #rows(frame) {
    const count = this.shown.length;
    const gap = frame.height / (count - 1 + Math.min(RIDGE_ROWS, count));
    const high = gap * Math.min(RIDGE_ROWS, count);
    return { gap, high, base: (/** @type {number} */ row) => frame.top + high + row * gap };
  }

  /** @param {Context} context @param {Frame} frame @param {Inks} inks @param {{gap: number, base: (row: number) => number}} rows */
  #nameRows(context, frame, inks, rows) {
    const every = Math.max(1, Math.ceil(14 / rows.gap));
    context.fillStyle = inks.muted;
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (let row = this.shown.length - 1; row >= 0; row -= every) {
      context.fillText(String(this.histograms.steps[this.shown[row]]), frame.left - 6, rows.base(row) - 3);
    }
  }

  /** @param {number} x @param {number} y @param {Frame} frame @returns {Mark | null} */
  at(x, y, frame) {
    if (x < frame.left || x > frame.left + frame.width) return null;
    const { gap, base } = this.#rows(frame);
    const row = Math.min(Math.max(0, Math.ceil((y - base(0)) / gap)), this.shown.length - 1);
    const value = this.range.low + ((x - frame.left) / frame.width) * (this.range.high - this.range.low);
    const index = this.shown[row];
    return { index, bin: binAt(this.histograms.edges[index], value) };
  }

  /** @param {Mark} mark @param {Frame} frame the bin's box on the canvas */
  boxOf(mark, frame) {
    const { base } = this.#rows(frame);
    const bottom = base(Math.max(0, this.shown.indexOf(mark.index)));
    const edges = this.histograms.edges[mark.index];
    const x = (/** @type {number} */ value) => frame.left + clamped(part(value, this.range.low, this.range.high)) * frame.width;
    const [left, right] = mark.bin < 0 ? [frame.left, frame.left + frame.width] : [x(edges[mark.bin]), x(edges[mark.bin + 1])];
    return { left, width: Math.max(2, right - left), top: bottom - 3, height: 3 };
  }
}

/** @param {number} t @returns {number} */
function clamped(t) {
  return Math.min(Math.max(t, 0), 1);
}

/** @param {Float64Array} masses @param {number[]} counts @returns {Float64Array} */
function sharesOf(masses, counts) {
  const total = counts.reduce((a, b) => a + b, 0);
  return total > 0 ? masses.map((mass) => mass / total) : masses;
}

/** @param {Context} context @param {Frame} frame @param {Float64Array} curve @param {{base: number, height: number, fill: string, edge: string}} how */
function drawRidge(context, frame, curve, { base, height, fill, edge }) {
  const x = (/** @type {number} */ cell) => frame.left + clamped((cell + 0.5) / curve.length) * frame.width;
  const [first, last] = [curve.findIndex((share) => share > 0), curve.findLastIndex((share) => share > 0)];
  context.fillStyle = fill;
  context.fillRect(frame.left, base - 0.5, frame.width, 1);
  if (first < 0) return;
  context.beginPath();
  context.moveTo(x(first - 1), base);
  for (let cell = first; cell <= last; cell++) context.lineTo(x(cell), base - curve[cell] * height);
  context.lineTo(x(last + 1), base);
  context.fill();
  context.strokeStyle = edge;
  context.lineWidth = 1;
  context.stroke();
}

/** @param {Context} context @param {Frame} frame @param {Inks} inks @param {Range & {isWhole: boolean}} x @param {Range | null} y */
function drawAxes(context, frame, inks, x, y) {
  context.strokeStyle = inks.line;
  context.fillStyle = inks.muted;
  context.lineWidth = 1;
  context.strokeRect(frame.left - 0.5, frame.top - 0.5, frame.width + 1, frame.height + 1);
  context.textAlign = "center";
  context.textBaseline = "top";
  for (const tick of ticks(x.low, x.high, frame.width / 90)) {
    if (x.isWhole && !Number.isInteger(tick)) continue;
    context.fillText(shortNumber(tick), frame.left + part(tick, x.low, x.high) * frame.width, frame.top + frame.height + 6);
  }
  context.textAlign = "right";
  context.textBaseline = "middle";
  if (!y) return;
  for (const tick of ticks(y.low, y.high, frame.height / 40)) {
    context.fillText(shortNumber(tick), frame.left - 6, frame.top + (1 - part(tick, y.low, y.high)) * frame.height);
  }
}

/** @param {number} value @returns {string} */
export function shortNumber(value) {
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e6 || size < 1e-4)) return value.toExponential(2).replace(/\.?0+e/, "e").replace("e+", "e");
  return String(Number(value.toPrecision(5)));
}
