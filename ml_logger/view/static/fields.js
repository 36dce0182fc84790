// @ts-check
/** Small controls that show and set one value of the URL each, and follow it. */

import { el, fill } from "./dom.js";
import { icon } from "./icons.js";

/** @typedef {import("./views.js").Context} Context */
/** @template T @typedef {import("./state.js").Key<T>} Key */

/** A field to filter or search by. @param {Context} ctx @param {Key<string>} key @param {string} label @param {{on?: Record<string, (event: any) => void>}} [more] */
export function searchField(ctx, key, label, { on = {} } = {}) {
  const input = el("input", { type: "search", placeholder: label, "aria-label": label, spellcheck: "false", autocomplete: "off", on });
  input.addEventListener("input", () => ctx.state.set(key, input.value, { replace: true }));
  follow(ctx, key, () => {
    if (input.value !== ctx.state.get(key)) input.value = ctx.state.get(key);
  });
  return el("label", { class: "search-field" }, icon("search"), input);
}

/** A switch. @param {Context} ctx @param {Key<boolean>} key @param {string} label @param {string} [title] */
export function flagField(ctx, key, label, title) {
  const input = el("input", { type: "checkbox" });
  input.addEventListener("change", () => ctx.state.set(key, input.checked, { replace: true }));
  follow(ctx, key, () => (input.checked = ctx.state.get(key)));
  return el("label", { class: "flag-field", title }, input, label);
}

/**
 * A few words, one of which is chosen. @template {string} W
 * @param {Context} ctx @param {Key<W>} key @param {string} label @param {[W, string][]} options words with what they are called
 */
export function choiceField(ctx, key, label, options) {
  const buttons = options.map(([word, name]) =>
    el("button", { type: "button", class: "choice", "data-word": word, on: { click: () => ctx.state.set(key, word, { replace: true }) } }, name));
  follow(ctx, key, () => buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.word === ctx.state.get(key)))));
  return el("div", { class: "choice-field", role: "group", "aria-label": label }, ...buttons);
}

/** A list to choose one of; `show` puts the options in. */
export class SelectField {
  /** @param {string} label @param {(value: string) => void} chosen */
  constructor(label, chosen) {
    this.select = el("select", { "aria-label": label, on: { change: () => chosen(this.select.value) } });
    this.element = el("label", { class: "select-field" }, el("span", {}, label), this.select);
    this.shown = "";
  }

  /** @param {[string, string][]} options values with what they are called @param {string} value the chosen one */
  show(options, value) {
    const text = JSON.stringify(options);
    if (text !== this.shown) fill(this.select, ...options.map(([one, name]) => el("option", { value: one }, name)));
    this.shown = text;
    this.select.value = value;
    this.element.hidden = options.length < 2;
  }
}

/** Whether every word of `filter` is in `text`, in any case. @param {string} filter @param {string} text */
export function matches(filter, text) {
  const lower = text.toLowerCase();
  return filter.toLowerCase().split(/\s+/).every((word) => lower.includes(word));
}

/** @param {Context} ctx @param {Key<any>} key @param {() => void} show */
function follow(ctx, key, show) {
  ctx.on("state", (changed) => changed.has(key.name) && show());
  show();
}
