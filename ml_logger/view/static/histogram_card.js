// @ts-check
/** The histograms of one key of one run on a canvas, asked for when seen; pointer and arrow keys read single bins. */

import { el, fill } from "./dom.js";
import { numberText } from "./format.js";
import { frameOf, Heat, Ridge } from "./histogram_plot.js";

/** @typedef {{steps: (number | null)[], edges: number[][], counts: number[][], total: number}} Answer */
/** @typedef {import("./bins.js").Histograms & {total: number, word: "step" | "number", without: number}} Placed  `without` a step so many are not shown */
/** @typedef {import("./histogram_plot.js").Mark} Mark */

const MOST_STEPS = 200;
const EVERY_MS = 4000; // a run that logs all the time is asked for no more often

export class HistogramCard {
  /** @param {import("./views.js").Context} ctx @param {string} key @param {() => void} loaded called when there is something new to draw */
  constructor(ctx, key, loaded) {
    this.ctx = ctx;
    this.key = key;
    this.loaded = loaded;
    /** @type {Placed | null} */
    this.histograms = null;
    /** @type {Heat | Ridge | null} */
    this.plot = null;
    /** @type {Mark | null} */
    this.mark = null;
    this.version = -1;
    this.askedVersion = -1;
    this.nextAskMs = 0;
    this.isNear = false;
    this.canvas = el("canvas", { class: "histogram-canvas moves-itself", tabindex: 0, role: "img", "aria-label": `Histograms of ${key}` });
    this.box = el("i", { class: "histogram-mark", hidden: true });
    this.said = el("p", { class: "histogram-said", "aria-live": "polite" });
    this.element = el("div", { class: "histogram" }, el("div", { class: "histogram-stage" }, this.canvas, this.box), this.said);
    this.#listen();
  }

  #listen() {
    const { canvas, ctx } = this;
    canvas.addEventListener("pointermove", (event) => this.#point(event));
    canvas.addEventListener("pointerleave", () => this.#show(null));
    canvas.addEventListener("keydown", (event) => this.#keyed(event));
    canvas.addEventListener("blur", () => this.#show(null));
    const resized = new ResizeObserver(() => this.#paint());
    resized.observe(canvas);
    ctx.signal.addEventListener("abort", () => resized.disconnect());
    ctx.whenSeen(this.element, () => ((this.isNear = true), void this.#ask()), () => (this.isNear = false));
  }

  /** @param {import("./media_grid.js").Cell<null>} cell */
  update({ run }) {
    this.run = run;
    this.version = run.version;
    if (this.isNear) void this.#ask();
  }

  async #ask() {
    const version = this.version;
    if (!this.run || this.askedVersion === version) return;
    const waitMs = this.nextAskMs - Date.now();
    if (waitMs > 0) return void this.#askLater(waitMs);
    this.askedVersion = version;
    this.nextAskMs = Date.now() + EVERY_MS;
    /** @type {import("./api.js").Result<Answer>} */
    const { value, trouble } = await this.ctx.api.getJson("view/api/histograms", { run: this.run.path, key: this.key, most: MOST_STEPS }, this.ctx.signal);
    if (this.ctx.signal.aborted) return;
    if (trouble) return void fill(this.said, `can't be read: ${trouble.message}`);
    this.histograms = placed(value);
    this.loaded();
  }

  /** @param {number} ms */
  #askLater(ms) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => !this.ctx.signal.aborted && this.isNear && void this.#ask(), ms);
  }

  /** @param {"heat" | "ridge"} form @param {{low: number, high: number}} range of values @param {{low: number, high: number}} steps */
  draw(form, range, steps) {
    if (!this.histograms) return;
    this.plot = form === "heat" ? new Heat(this.histograms, range, steps) : new Ridge(this.histograms, range);
    this.#paint();
    this.#show(null);
  }

  #paint() {
    const { canvas, plot } = this;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    const context = canvas.getContext("2d");
    if (!plot || !context || !width) return;
    const sharp = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * sharp);
    canvas.height = Math.round(height * sharp);
    context.scale(sharp, sharp);
    const ink = (/** @type {string} */ name) => this.ctx.resolve(`var(${name})`);
    context.font = `11px ${ink("--font")}`;
    plot.draw(context, frameOf(width, height), { text: ink("--text"), muted: ink("--muted"), line: ink("--line"), surface: ink("--ground") });
  }

  get frame() {
    return frameOf(this.canvas.clientWidth, this.canvas.clientHeight);
  }

  /** @param {PointerEvent} event */
  #point(event) {
    this.#show(this.plot?.at(event.offsetX, event.offsetY, this.frame) ?? null);
  }

  /** @param {KeyboardEvent} event */
  #keyed(event) {
    const { plot, histograms } = this;
    /** @type {Record<string, [number, number]>} steps on, and bins on */
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    const move = moves[event.key];
    if (!move || !plot || !histograms) return;
    event.preventDefault();
    const [byStep, byBin] = plot instanceof Heat ? move : [-move[1], move[0]]; // as the axes lie
    this.#show(moved(this.mark, byStep, byBin, plot.shown, histograms));
  }

  /** @param {Mark | null} mark */
  #show(mark) {
    this.mark = mark;
    this.box.hidden = !mark || mark.bin < 0;
    if (mark && this.plot) {
      const { left, top, width, height } = this.plot.boxOf(mark, this.frame);
      Object.assign(this.box.style, { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` });
    }
    fill(this.said, mark ? this.#markText(mark) : this.#summary());
  }

  /** @param {Mark} mark */
  #markText({ index, bin }) {
    const { steps, edges, counts, word } = /** @type {Placed} */ (this.histograms);
    const total = counts[index].reduce((a, b) => a + b, 0);
    if (bin < 0) return `${word} ${steps[index]} · no bin here · ${numberText(total)} in all`;
    const share = total ? ` (${numberText((100 * counts[index][bin]) / total, 3)} %)` : "";
    return `${word} ${steps[index]} · ${numberText(edges[index][bin], 4)} to ${numberText(edges[index][bin + 1], 4)} · count ${numberText(counts[index][bin])} of ${numberText(total)}${share}`;
  }

  #summary() {
    const { steps, total, word, without } = /** @type {Placed} */ (this.histograms);
    if (!steps.length) return "none yet";
    const thinned = total > steps.length + without ? `${steps.length} of ${total}` : String(steps.length);
    const several = steps.length > 1;
    const span = `${thinned} ${total === 1 ? "histogram" : "histograms"}, ${word}${several ? "s" : ""} ${steps[0]}${several ? ` to ${steps[steps.length - 1]}` : ""}`;
    return without ? `${span}; ${without} more without a step` : span;
  }
}

/** Those that have a step, or all by their number where none has one. @param {Answer} answer @returns {Placed} */
function placed({ steps, edges, counts, total }) {
  const kept = steps.flatMap((step, i) => (step === null ? [] : [i]));
  if (!kept.length) return { steps: steps.map((_, i) => i + 1), edges, counts, total, word: "number", without: 0 };
  const of = (/** @type {any[]} */ all) => kept.map((i) => all[i]);
  return { steps: of(steps), edges: of(edges), counts: of(counts), total, word: "step", without: steps.length - kept.length };
}

/**
 * @param {Mark | null} mark @param {number} byStep @param {number} byBin @param {number[]} shown which histograms can be marked
 * @param {import("./bins.js").Histograms} histograms @returns {Mark | null}
 */
function moved(mark, byStep, byBin, shown, { counts }) {
  if (!shown.length) return null;
  const at = mark ? shown.indexOf(mark.index) + byStep : shown.length - 1;
  const index = shown[Math.min(Math.max(0, at), shown.length - 1)];
  const bin = mark ? mark.bin + byBin : counts[index].indexOf(Math.max(...counts[index]));
  return { index, bin: Math.min(Math.max(0, bin), counts[index].length - 1) };
}
