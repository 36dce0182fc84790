// @ts-check
/** The bar over the charts: filter, x-axis, smoothing, axes, bands. */

import { CLIP, LOG_X, LOG_Y, METRICS, MOST_WEIGHT, SEEDS, SMOOTHING, X, settingsIn } from "./curve_settings.js";
import { el } from "./dom.js";
import { isSeed } from "./seed_bands.js";

/** @typedef {import("./views.js").Context} Context */
/** @template T @typedef {import("./state.js").Key<T>} Key */

/** @param {Context} ctx */
export function controls(ctx) {
  const bar = el("div", { class: "curves-bar", role: "toolbar", "aria-label": "How curves are drawn" },
    filterField(ctx),
    choice(ctx, X, "x", "What x is", { step: "step", time: "wall time", relative: "time since start" }),
    smoothing(ctx),
    toggle(ctx, LOG_X, "log x", "Logarithmic x-axis", () => settingsIn(ctx.state).x !== "time"),
    toggle(ctx, LOG_Y, "log y", "Logarithmic y-axis"),
    toggle(ctx, CLIP, "clip outliers", "Let outliers leave the charts, so that the rest is seen"),
    seeds(ctx));
  return bar;
}

/** Have `show` put a value's present state into its control, now and at each change. @param {Context} ctx @param {Key<any>[]} keys @param {() => void} show */
function keepShown(ctx, keys, show) {
  ctx.on("state", (names) => keys.some(({ name }) => names.has(name)) && show());
  show();
}

/** @param {Context} ctx */
function filterField(ctx) {
  const field = el("input", { type: "search", class: "curves-filter", placeholder: "Filter metrics", "aria-label": "Filter metrics: words, or /regex/",
    on: { input: () => ctx.state.set(METRICS, field.value, { replace: true }) } });
  keepShown(ctx, [METRICS], () => {
    if (field.value !== ctx.state.get(METRICS)) field.value = ctx.state.get(METRICS);
  });
  return field;
}

/** @template {string} W @param {Context} ctx @param {Key<W>} key @param {string} label @param {string} title @param {Record<W, string>} words */
function choice(ctx, key, label, title, words) {
  const options = Object.entries(words).map(([value, text]) => el("option", { value }, /** @type {string} */ (text)));
  const select = el("select", { "aria-label": title, on: { change: () => ctx.state.set(key, /** @type {W} */ (select.value)) } }, ...options);
  keepShown(ctx, [key], () => (select.value = ctx.state.get(key)));
  return el("label", { class: "curves-control" }, label, select);
}

/** @param {Context} ctx */
function smoothing(ctx) {
  const slider = el("input", { type: "range", min: 0, max: 1, step: 0.001, "aria-label": "Smoothing", on: { input: () => set(weightAt(slider.valueAsNumber)) } });
  const field = el("input", { type: "number", min: 0, max: MOST_WEIGHT, step: 0.05, "aria-label": "Smoothing, as a number", on: { change: () => set(field.valueAsNumber) } });
  const set = (/** @type {number} */ weight) => ctx.state.set(SMOOTHING, Number((weight || 0).toFixed(3)), { replace: true });
  keepShown(ctx, [SMOOTHING], () => {
    const { weight } = settingsIn(ctx.state);
    if (weightAt(slider.valueAsNumber).toFixed(3) !== weight.toFixed(3)) slider.valueAsNumber = placeOf(weight);
    field.value = String(weight);
  });
  return el("div", { class: "curves-control curves-smoothing" }, "smoothing", slider, field);
}

// The slider is finer towards 1, where it matters: a place p is the weight 1 - (1 - p)², up to the greatest.
/** @param {number} place */
const weightAt = (place) => MOST_WEIGHT * (1 - (1 - place) ** 2);
/** @param {number} weight */
const placeOf = (weight) => 1 - Math.sqrt(1 - Math.min(1, weight / MOST_WEIGHT));

/** @param {Context} ctx @param {Key<boolean>} key @param {string} label @param {string} title @param {() => boolean} [isOf] whether it has a meaning now */
function toggle(ctx, key, label, title, isOf = () => true) {
  const button = el("button", { class: "tool", type: "button", title, on: { click: () => ctx.state.set(key, !ctx.state.get(key)) } }, label);
  keepShown(ctx, [key, X], () => {
    button.setAttribute("aria-pressed", String(ctx.state.get(key) && isOf()));
    button.toggleAttribute("disabled", !isOf());
  });
  return button;
}

/** Shown where a picked run has a seed among its params. @param {Context} ctx */
function seeds(ctx) {
  const control = choice(ctx, SEEDS, "seeds", "Runs that differ in their seed", { off: "apart", range: "mean, min to max", std: "mean ± std" });
  const show = () => (control.hidden = !ctx.picks.list().some((run) => Object.keys(run.params).some(isSeed)));
  ctx.on("picks", show);
  show();
  return control;
}
