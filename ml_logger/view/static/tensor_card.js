// @ts-check
/** One key of one run as numbers: the array of the step or the nearest earlier one, what it is, and how it looks if it has two dimensions. */

import { fileUrl, mediaUrl } from "./api.js";
import { cssColour, colourAt, pixelsOf, scaleFor } from "./colormap.js";
import { el, fill, setText } from "./dom.js";
import { asNumber, numberText } from "./format.js";
import { icon } from "./icons.js";
import { pickAt } from "./steps.js";

/** @typedef {import("./format.js").Value} Value */
/** @typedef {{rows: number, columns: number, values: (number | string | null)[][]}} HeatValues */
/** @typedef {{name?: string, dtype: string, shape: number[], stats: Record<string, Value> | null, heat: HeatValues | null}} Tensor */
/** @typedef {Tensor & {names?: string[]}} Answer  `names`: of a file with several arrays */

const PAUSE_MS = 120; // while the slider is dragged nothing is asked for

export class TensorCard {
  /** @param {import("./views.js").Context} ctx @param {import("./step_bar.js").StepBar} bar */
  constructor(ctx, bar) {
    this.ctx = ctx;
    this.bar = bar;
    /** @type {import("./steps.js").MediaFile | null} */
    this.file = null;
    this.shown = "";
    this.name = "";
    this.when = "";
    this.isNear = false;
    this.caption = el("figcaption", { class: "picture-caption" });
    this.content = el("div", { class: "tensor-content" });
    this.element = el("figure", { class: "tensor" }, this.content, this.caption);
    ctx.whenSeen(this.element, () => ((this.isNear = true), this.#askSoon()), () => (this.isNear = false));
    ctx.signal.addEventListener("abort", () => clearTimeout(this.timer));
  }

  /** @param {import("./media_grid.js").Cell<import("./steps.js").MediaFile[]>} cell */
  update(cell) {
    const pick = pickAt(cell.what, this.bar.step);
    this.file = pick?.file ?? null;
    this.caption.classList.toggle("is-earlier", Boolean(pick && !pick.isExact));
    if (!pick) {
      this.shown = "";
      fill(this.content, el("span", { class: "picture-none" }, "nothing so early"));
      return setText(this.caption, "");
    }
    const { step, name } = pick.file;
    const when = step === null ? (/^\d+$/.test(name) ? "no step, the last" : name) : pick.isExact ? `step ${step}` : `step ${step}, none at ${this.bar.step}`;
    if (when !== this.when) fill(this.caption, el("span", {}, when), this.#downloadLink(pick.file.path));
    this.when = when;
    this.#askSoon();
  }

  /** @param {string} path */
  #downloadLink(path) {
    return el("a", { class: "tool", href: fileUrl(path, { download: true }), download: true, title: `Download ${path}` }, icon("download"), path.slice(path.lastIndexOf("/") + 1));
  }

  #askSoon() {
    clearTimeout(this.timer);
    if (this.isNear && this.file && mediaUrl(this.file) !== this.shown) this.timer = setTimeout(() => void this.#ask(), this.shown ? PAUSE_MS : 0);
  }

  async #ask() {
    const { file } = this;
    if (!file) return;
    /** @type {import("./api.js").Result<Answer>} */
    const { value, trouble } = await this.ctx.api.getJson("view/api/tensor", { path: file.path, name: this.name || null }, this.ctx.signal);
    if (this.ctx.signal.aborted || file !== this.file) return;
    this.shown = mediaUrl(file);
    if (trouble) fill(this.content, el("span", { class: "picture-none" }, trouble.message));
    else this.#show(value);
  }

  /** @param {Answer} tensor */
  #show(tensor) {
    fill(this.content, tensor.names && tensor.names.length > 1 && this.#choice(tensor), facts(tensor), tensor.heat && heatMap(tensor.heat, tensor.stats ?? {}));
  }

  /** Which of a file's arrays to show. @param {Answer} tensor */
  #choice({ names = [], name = "" }) {
    const select = el("select", { class: "tensor-choice", "aria-label": "Array" }, ...names.map((one) => el("option", { value: one, selected: one === name }, one)));
    select.addEventListener("change", () => {
      this.name = select.value;
      void this.#ask();
    });
    return select;
  }
}

/** @param {Tensor} tensor */
function facts({ dtype, shape, stats }) {
  const size = shape.reduce((a, b) => a * b, 1);
  /** @type {[string, string][]} */
  const lines = [["shape", shape.length ? shape.join(" × ") : "a single value"], ["type", dtype], ["elements", size.toLocaleString("en")]];
  for (const [name, value] of Object.entries(stats ?? {})) {
    const number = asNumber(value);
    if (number === null || ((name === "nan" || name === "inf") && number === 0)) continue;
    lines.push([name === "nan" ? "NaN" : name === "inf" ? "±Inf" : name, numberText(number, 4)]);
  }
  return el("dl", { class: "tensor-facts" }, ...lines.map(([name, text]) => el("div", { class: /NaN|Inf/.test(name) ? "is-bad" : null }, el("dt", {}, name), el("dd", {}, text))));
}

/** @param {HeatValues} heat @param {Record<string, Value>} stats */
function heatMap(heat, stats) {
  const [low, high] = rangeOf(heat, stats);
  const scale = scaleFor(low, high);
  const canvas = el("canvas", { class: "tensor-heat", width: Math.max(1, heat.columns), height: Math.max(1, heat.rows), role: "img", "aria-label": `Heat map of ${heat.rows} rows and ${heat.columns} columns` });
  const image = new ImageData(Math.max(1, heat.columns), Math.max(1, heat.rows));
  image.data.set(pixelsOf(heat.values, scale).subarray(0, image.data.length));
  canvas.getContext("2d")?.putImageData(image, 0, 0);
  const said = el("output", { class: "tensor-said" }, " ");
  canvas.addEventListener("pointermove", (event) => setText(said, valueUnder(event, canvas, heat)));
  canvas.addEventListener("pointerleave", () => setText(said, " "));
  return el("div", { class: "tensor-map" }, canvas, scaleBar(scale), said);
}

/** @param {HeatValues} heat @param {Record<string, Value>} stats @returns {[number, number]} */
function rangeOf({ values }, { min, max }) {
  const [low, high] = [asNumber(min), asNumber(max)];
  if (low !== null && high !== null && Number.isFinite(low) && Number.isFinite(high)) return [low, high];
  const finite = values.flat().filter((value) => typeof value === "number");
  return finite.length ? [finite.reduce((a, b) => Math.min(a, b)), finite.reduce((a, b) => Math.max(a, b))] : [0, 1];
}

/** @param {PointerEvent} event @param {HTMLCanvasElement} canvas @param {HeatValues} heat */
function valueUnder(event, canvas, { rows, columns, values }) {
  const row = Math.min(rows - 1, Math.max(0, Math.floor((event.offsetY / canvas.clientHeight) * rows)));
  const column = Math.min(columns - 1, Math.max(0, Math.floor((event.offsetX / canvas.clientWidth) * columns)));
  const value = values[row]?.[column];
  return `row ${row}, column ${column}: ${typeof value === "number" ? numberText(value) : (value ?? "NaN")}`;
}

/** The colours with what they stand for. @param {ReturnType<typeof scaleFor>} scale */
function scaleBar({ name, low, high }) {
  const steps = Array.from({ length: 11 }, (_, i) => cssColour(colourAt(name, i / 10)));
  const bar = el("i", { class: "scale-colours" });
  bar.style.background = `linear-gradient(to right, ${steps.join(", ")})`;
  return el("div", { class: "scale-bar" }, el("span", {}, numberText(low, 3)), bar, el("span", {}, numberText(high, 3)));
}
