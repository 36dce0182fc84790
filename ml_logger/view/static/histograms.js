// @ts-check
/** Histograms over steps: as a heat map or a ridge, all runs of a key over the same range of values. */

import { columnEdges, rangeOf } from "./bins.js";
import { Details } from "./details.js";
import { el, fill } from "./dom.js";
import { choiceField, flagField, matches, searchField } from "./fields.js";
import { HistogramCard } from "./histogram_card.js";
import { MediaGrid, nothingLogged } from "./media_grid.js";
import { choiceKey, flagKey, textKey } from "./state.js";

const FORM = choiceKey("hi.form", ["heat", "ridge"]);
const FILTER = textKey("hi.q");
const MIDDLE = flagKey("hi.middle");
const MIDDLE_SHARE = 0.98;
const HOW = `logger.log_histogram(step, bins=30, weights=weights)   # an array or tensor of any shape`;
/** @type {import("./media_grid.js").Naming} */
const WHAT = { filter: FILTER, word: "histograms", icon: "histogram", code: HOW, some: "one" };

/** @typedef {import("./details.js").Whole} Whole */
/** @typedef {import("./media_grid.js").Group<null>} Group */

class Histograms {
  /** @param {HTMLElement} root @param {import("./views.js").Context} ctx */
  constructor(root, ctx) {
    this.ctx = ctx;
    /** The cards of each key, which share their range. @type {Map<string, Set<HistogramCard>>} */
    this.cards = new Map();
    this.grid = new MediaGrid(ctx, ({ key }) => this.#makeCard(key));
    this.tools = el("div", { class: "tool-bar" },
      choiceField(ctx, FORM, "Drawn as", [["heat", "Heat map"], ["ridge", "Ridge"]]),
      flagField(ctx, MIDDLE, "Middle 98 %", "Leave out the values of the outermost counts, so that the rest is seen"),
      searchField(ctx, FILTER, "Filter keys"));
    this.rest = el("div");
    this.details = new Details(ctx, () => ctx.picks.list(), () => this.#draw());
    root.append(this.tools, this.rest, this.grid.element);
    this.grid.element.classList.add("is-wide");
    ctx.on("theme", () => this.#redraw());
    ctx.on("state", (changed) => {
      if (changed.has(FILTER.name)) this.#draw();
      if (changed.has(FORM.name) || changed.has(MIDDLE.name)) this.#redraw();
    });
  }

  #draw() {
    const filter = this.ctx.state.get(FILTER);
    const all = groupedByKey(this.details.list());
    const groups = all.filter((group) => matches(filter, group.key));
    this.tools.hidden = !all.length;
    this.grid.show(groups);
    fill(this.rest, !groups.length && nothingLogged(this.ctx, this.details, all.length, WHAT));
  }

  /** @param {string} key */
  #makeCard(key) {
    const card = new HistogramCard(this.ctx, key, () => this.#redraw(key));
    if (!this.cards.has(key)) this.cards.set(key, new Set());
    this.cards.get(key)?.add(card);
    return card;
  }

  /** Draw the cards of one key, or all, over the ranges of values and steps that they share. @param {string} [only] */
  #redraw(only) {
    const form = this.ctx.state.get(FORM);
    for (const [key, cards] of this.cards) {
      if (only !== undefined && key !== only) continue;
      const here = [...cards].filter((card) => card.element.isConnected);
      const loaded = here.flatMap((card) => card.histograms ?? []);
      const range = rangeOf({
        steps: [], edges: loaded.flatMap((one) => one.edges), counts: loaded.flatMap((one) => one.counts),
      }, this.ctx.state.get(MIDDLE) ? MIDDLE_SHARE : 1);
      const borders = loaded.flatMap((one) => columnEdges(one.steps));
      const steps = { low: borders.reduce((a, b) => Math.min(a, b), Infinity), high: borders.reduce((a, b) => Math.max(a, b), -Infinity) };
      here.forEach((card) => card.draw(form, range, steps));
      this.cards.set(key, new Set(here));
    }
  }
}

/** @param {Whole[]} runs @returns {Group[]} */
function groupedByKey(runs) {
  /** @type {Map<string, Group>} */
  const groups = new Map();
  for (const run of runs)
    for (const key of run.histograms) {
      if (!groups.has(key)) groups.set(key, { kind: "histograms", key, cells: [] });
      groups.get(key)?.cells.push({ run, what: null });
    }
  return [...groups.values()].sort((a, b) => a.key.localeCompare(b.key, "en", { numeric: true }));
}

/** @param {HTMLElement} root @param {import("./views.js").Context} ctx */
export const mount = (root, ctx) => void new Histograms(root, ctx);
