// @ts-check
/**
 * One chart: a card with its title, its tools and its plot. It is drawn when it comes near to what is seen and let go when it
 * is far again; its data is asked for anew then. What it looks like follows from the URL and from what the server answered.
 */

import { xScale } from "./axes.js";
import { ChartData } from "./chart_data.js";
import { csvOf, csvUrl, pngOf, save, saveBlob } from "./chart_export.js";
import { Crosshair } from "./crosshair.js";
import { WIDE, X, setZoom, settingsIn, zoomIn } from "./curve_settings.js";
import { extentOf } from "./curves.js";
import { el, fill } from "./dom.js";
import { drawSoon } from "./draw_queue.js";
import { drawFirstLook } from "./first_look.js";
import { figure } from "./figure.js";
import { countText } from "./format.js";
import { icon } from "./icons.js";
import { isPlotlyThere, loadPlotly } from "./plotly_loader.js";
import { countWithoutLogarithm, yRange } from "./y_range.js";
import { zoomAfter, zoomedAround } from "./zooming.js";

/** @typedef {import("./axes.js").Range} Range */
/** @typedef {import("./chart_data.js").DrawnRun} DrawnRun */
/** @typedef {import("./figure.js").Picture} Picture */
/** @typedef {import("./metric_groups.js").ChartSpec} ChartSpec */
/** @typedef {import("./views.js").Context} Context */

const BUCKET_STEP = 200; // buckets wanted are a multiple of it, so that a resized window doesn't ask again for each pixel
const MOST_BUCKETS = 1600;
const CONFIG = { displayModeBar: false, doubleClick: false, showTips: false, responsive: false, scrollZoom: false };
const RETRY_MS = 2000;
const NEWS_EVERY_MS = 250; // of what is new at most so often; that there is any, the list of runs tells each second

export class Chart {
  /** @param {Context} ctx @param {ChartSpec} spec @param {(keys: string[]) => DrawnRun[]} runs those that are drawn, in their order */
  constructor(ctx, spec, runs) {
    this.ctx = ctx;
    this.spec = spec;
    this.runs = () => runs(spec.keys);
    /** Aborted when the chart is let go. @type {AbortController | null} */
    this.life = null;
    /** @type {ChartData | null} */
    this.data = null;
    /** What is drawn now. @type {Picture | null} */
    this.picture = null;
    this.isUndrawable = false;
    /** Being asked for news. @type {Promise<void> | undefined} */
    this.newsTurn = undefined;
    this.reset = el("button", { class: "tool tiny chart-reset", type: "button", hidden: true, title: "Show all again (double-click)", on: { click: () => this.resetZoom() } }, "reset zoom");
    this.plot = el("div", { class: "plot", tabindex: 0, role: "img", "aria-label": spec.title });
    this.note = el("p", { class: "chart-note", role: "status" });
    this.element = el("article", { class: "chart", "data-chart": spec.id }, this.#header(), el("div", { class: "plot-frame" }, this.plot, this.note));
    this.drawNow = () => this.#drawNow();
    this.canvas = el("div", { class: "plot-canvas" });
    this.sketch = el("canvas", { class: "plot-sketch", hidden: true });
    this.plot.append(this.sketch, this.canvas);
    this.crosshair = new Crosshair(this.plot, () => this.picture);
    this.plot.addEventListener("keydown", (event) => this.#pressed(event));
    ctx.whenSeen(this.element, () => this.#mount(), () => this.free());
    ctx.signal.addEventListener("abort", () => this.free());
  }

  /** @param {boolean} isWide */
  setWide(isWide) {
    this.element.classList.toggle("wide", isWide);
  }

  // --- its life

  #mount() {
    if (this.life || this.ctx.signal.aborted) return;
    this.life = new AbortController();
    const { signal } = this.life;
    this.data = new ChartData(this.ctx.api, signal);
    const sizes = new ResizeObserver(() => this.draw());
    sizes.observe(this.plot);
    signal.addEventListener("abort", () => sizes.disconnect());
    void this.reload();
  }

  /** Let go of what is drawn and of its data. */
  free() {
    this.life?.abort();
    this.life = this.data = this.picture = null;
    this.crosshair.hide();
    this.purge?.(this.canvas);
    this.purge = undefined;
    this.element.classList.remove("drawn");
  }

  /** Ask for everything: other runs, or another x. */
  async reload() {
    const { data } = this;
    if (!data) return;
    this.asked = this.#question();
    const zoom = zoomIn(this.ctx.state, this.spec.id).x;
    const width = this.plot.clientWidth || BUCKET_STEP;
    const buckets = Math.min(MOST_BUCKETS, Math.ceil(width / BUCKET_STEP) * BUCKET_STEP);
    const wanted = { runs: this.runs().map((run) => run.path), keys: this.spec.keys, x: settingsIn(this.ctx.state).x, buckets, range: zoom };
    if (await data.load(wanted)) return this.restyle();
    this.#tell();
    if (data.trouble) this.#later(data, () => this.reload());
  }

  /** Try again what had no answer, unless there is something else to do by then. @param {ChartData} data @param {() => Promise<void>} again */
  #later(data, again) {
    const { asked } = this;
    setTimeout(() => data === this.data && asked === this.asked && void again(), RETRY_MS);
  }

  /** What the answer depends on, but for the zoom. */
  #question() {
    return JSON.stringify([settingsIn(this.ctx.state).x, this.runs().map((run) => run.path)]);
  }

  /** Follow the picked runs: ask for all if there are others, else for what is new. */
  follow() {
    if (!this.data) return;
    if (this.asked !== this.#question()) void this.reload();
    else this.#askForNews();
  }

  /** One call at a time; what is told meanwhile makes another. */
  #askForNews() {
    this.hasNews = true;
    this.newsTurn ??= this.#takeNews();
  }

  async #takeNews() {
    while (this.hasNews && this.data) {
      this.hasNews = false;
      if (await this.data.poll()) this.draw();
      await new Promise((done) => setTimeout(done, NEWS_EVERY_MS));
    }
    this.newsTurn = undefined;
    const { data } = this;
    if (data?.trouble) this.#later(data, async () => this.#askForNews());
  }

  /** Go where the URL says. */
  async rezoom() {
    const { data } = this;
    if (!data) return;
    const { x } = zoomIn(this.ctx.state, this.spec.id);
    this.draw(); // at once with what is there, then finer
    if (String(data.zoom) === String(x)) return;
    await data.zoomTo(x);
    this.draw();
  }

  // --- what is drawn

  /** Draw what is known as the URL says, and finer where that wants it. */
  async restyle() {
    this.draw();
    if (await this.data?.refine(settingsIn(this.ctx.state).isLogX)) this.draw();
  }

  /** Draw what is known as the URL says, when it is this chart's turn. */
  draw() {
    if (!this.data?.isThere) return;
    if (!isPlotlyThere()) requestAnimationFrame(() => this.#drawFirstLook());
    drawSoon(this.drawNow);
  }

  async #drawNow() {
    const { life } = this;
    if (!isPlotlyThere()) await new Promise((done) => setTimeout(done)); // the first look is seen before plotly.js is run
    const plotly = await loadPlotly().catch(() => null);
    if (life !== this.life) return;
    this.isUndrawable = !plotly;
    const picture = this.#makePicture();
    if (!plotly || !picture) return this.#tell();
    this.picture = picture;
    const { data, layout } = figure(this.#resolved(picture));
    await plotly.react(this.canvas, data, layout, CONFIG);
    if (life !== this.life) return plotly.purge(this.canvas);
    this.sketch.hidden = true;
    this.#listen(plotly);
    this.crosshair.refresh();
    this.#tell();
  }

  /** Show the curves before plotly.js is there. */
  #drawFirstLook() {
    const picture = this.#makePicture();
    if (!picture || this.picture) return;
    drawFirstLook(this.sketch, this.#resolved(picture));
    this.sketch.hidden = false;
  }

  /** @param {Picture} picture @returns {Picture} */
  #resolved(picture) {
    return { ...picture, curves: picture.curves.map((curve) => ({ ...curve, colour: this.ctx.resolve(curve.colour) })) };
  }

  /** @returns {Picture | null} */
  #makePicture() {
    const { data, plot, spec } = this;
    if (!data?.isThere || !plot.clientWidth) return null;
    const settings = settingsIn(this.ctx.state);
    const zoom = zoomIn(this.ctx.state, spec.id);
    const curves = data.curves(this.runs(), spec.keys, settings);
    const extent = extentOf(curves, settings.isLogX, data.whole.from) ?? [0, 1];
    const xRange = zoom.x ?? extent;
    const isLogY = settings.isLogY;
    const zoomedY = zoom.y && /** @type {Range} */ (isLogY ? zoom.y.map(Math.log10) : zoom.y);
    return {
      curves, xRange, isLogY, scale: xScale(settings.x, extent, settings.isLogX),
      yRange: zoomedY?.every(Number.isFinite) ? zoomedY : yRange(curves, xRange, { isLog: isLogY, isClipped: settings.isClipped }),
      inks: this.#inks(), size: { width: plot.clientWidth, height: plot.clientHeight },
    };
  }

  #inks() {
    const { resolve } = this.ctx;
    return { text: resolve("var(--muted)"), grid: resolve("var(--line)"), line: resolve("var(--line-strong)"), font: resolve("var(--font)") };
  }

  /** Hear of zooms, from the first drawing on. @param {import("./plotly_loader.js").Plotly} plotly */
  #listen(plotly) {
    if (this.purge) return;
    this.purge = plotly.purge;
    this.element.classList.add("drawn");
    const graph = /** @type {any} */ (this.canvas);
    graph.on("plotly_relayout", (/** @type {Record<string, any>} */ change) => this.#zoomed(change));
    graph.on("plotly_doubleclick", () => this.resetZoom());
  }

  /** @param {Record<string, any>} change */
  #zoomed(change) {
    if (!this.picture) return;
    const zoom = zoomAfter(change, this.picture, zoomIn(this.ctx.state, this.spec.id));
    if (zoom) setZoom(this.ctx.state, this.spec.id, zoom);
  }

  /** Zoom around what is read now, or the middle. @param {number} factor */
  #zoomBy(factor) {
    if (!this.picture) return;
    const { state } = this.ctx;
    setZoom(state, this.spec.id, { ...zoomIn(state, this.spec.id), x: zoomedAround(this.picture, this.crosshair.x, factor) });
  }

  resetZoom() {
    setZoom(this.ctx.state, this.spec.id, { x: null, y: null });
  }

  #toggleWide() {
    const { state } = this.ctx;
    state.set(WIDE, state.get(WIDE) === this.spec.id ? null : this.spec.id);
  }

  /** Say what the curves don't. */
  #tell() {
    const { data, picture } = this;
    const zoom = zoomIn(this.ctx.state, this.spec.id);
    const isEmpty = data?.isThere && picture && !picture.curves.some((curve) => curve.x.length);
    const trouble = data?.trouble && `No answer for this chart: ${data.trouble.message}.`;
    const without = this.#withoutX();
    const said = trouble || (this.isUndrawable ? "plotly.js could not be loaded." : isEmpty && !without.length ? "No points here." : "");
    const missing = picture?.isLogY ? countWithoutLogarithm(picture.curves, picture.xRange) : 0;
    fill(this.note, ...(said ? [said] : without.length ? without : [missing ? `${countText(missing, "point")} at 0 or below: not on a log axis` : ""]));
    this.note.classList.toggle("aside", !said && !isEmpty);
    this.note.hidden = !this.note.textContent;
    this.reset.hidden = !zoom.x && !zoom.y;
    this.plot.setAttribute("aria-label", `${this.spec.title}: ${countText(picture?.curves.length ?? 0, "curve")}. Arrow keys read the values, plus and minus zoom.`);
  }

  /** What to say of runs that have no place on this x, and the way to one where they have. @returns {import("./dom.js").Child[]} */
  #withoutX() {
    const { data, spec } = this;
    const count = data?.isThere ? data.countWithoutX(this.runs(), spec.keys) : 0;
    if (!data || !count) return [];
    const { state } = this.ctx;
    if (settingsIn(state).x !== "step") return [`${countText(count, "run")} logged without times`];
    return [`${countText(count, "run")} logged without steps: `,
      el("button", { class: "button small", type: "button", on: { click: () => state.set(X, "time") } }, "show over wall time")];
  }

  // --- its tools

  #header() {
    return el("header", { class: "chart-header" },
      el("h3", { title: this.spec.title }, this.spec.title),
      this.reset,
      tool("plus", "Zoom in", () => this.#zoomBy(0.5), "for-touch"),
      tool("minus", "Zoom out", () => this.#zoomBy(2), "for-touch"),
      tool("wide", "Enlarge (Enter)", () => this.#toggleWide()),
      tool("table", "Raw data as CSV", () => void this.#saveCsv()),
      tool("picture", "Picture as PNG", () => void this.#savePng()));
  }

  async #saveCsv() {
    const name = `${this.spec.title}.csv`;
    const runs = this.runs();
    if (runs.length === 1) return save(csvUrl(runs[0].path, this.spec.keys), name);
    const { value, trouble } = await csvOf(this.ctx.api, runs.map((run) => run.path), this.spec.keys, this.ctx.signal);
    if (trouble) return fill(this.note, `No CSV: ${trouble.message}.`);
    saveBlob(value, name);
  }

  async #savePng() {
    const plotly = await loadPlotly().catch(() => null);
    if (!plotly || !this.picture) return;
    saveBlob(await pngOf(plotly, this.#resolved(this.picture), this.spec.title, this.ctx.resolve("var(--ground)")), `${this.spec.title}.png`);
  }

  /** @param {KeyboardEvent} event */
  #pressed(event) {
    if (event.metaKey || event.ctrlKey || event.altKey || !this.picture) return;
    /** @type {Record<string, () => void>} */
    const actions = {
      ArrowRight: () => this.crosshair.step(1, event.shiftKey),
      ArrowLeft: () => this.crosshair.step(-1, event.shiftKey),
      "+": () => this.#zoomBy(0.5), "=": () => this.#zoomBy(0.5), "-": () => this.#zoomBy(2),
      Escape: () => (this.crosshair.x === null ? this.resetZoom() : this.crosshair.hide()),
      Enter: () => this.#toggleWide(),
    };
    if (!actions[event.key]) return;
    actions[event.key]();
    event.preventDefault();
  }
}

/** @param {import("./icons.js").IconName} name @param {string} title @param {() => void} act @param {string} [more] */
const tool = (name, title, act, more = "") => el("button", { class: `tool tiny ${more}`, type: "button", title, "aria-label": title, on: { click: act } }, icon(name));
