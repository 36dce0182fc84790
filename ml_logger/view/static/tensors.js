// @ts-check
/** Tensors and weights: shape, type, statistics, two-dimensional ones as a heat map; one slider over steps. */

import { Details } from "./details.js";
import { el, fill } from "./dom.js";
import { matches, searchField } from "./fields.js";
import { groupedMedia, MediaGrid } from "./media_grid.js";
import { loading, notice } from "./notice.js";
import { maybeNumberKey, textKey } from "./state.js";
import { StepBar } from "./step_bar.js";
import { stepsOf } from "./steps.js";
import { TensorCard } from "./tensor_card.js";
import { troubleNotice } from "./trouble.js";

const STEP = maybeNumberKey("te.step");
const FILTER = textKey("te.q");
const KINDS = ["tensors", "modules"];
const HOW = `logger.log_tensor(step, weights=weights)   # an array or tensor of any shape
logger.log_module(step, net=net)           # all arrays of a torch module`;

class Tensors {
  /** @param {HTMLElement} root @param {import("./views.js").Context} ctx */
  constructor(root, ctx) {
    this.ctx = ctx;
    this.bar = new StepBar(ctx, STEP);
    this.grid = new MediaGrid(ctx, () => new TensorCard(ctx, this.bar));
    this.grid.element.classList.add("is-middling");
    this.tools = el("div", { class: "tool-bar" }, this.bar.element, searchField(ctx, FILTER, "Filter keys"));
    this.rest = el("div");
    this.details = new Details(ctx, () => ctx.picks.list(), () => this.#draw());
    root.append(this.tools, this.rest, this.grid.element);
    ctx.on("state", (changed) => (changed.has(STEP.name) || changed.has(FILTER.name)) && this.#draw());
  }

  #draw() {
    const filter = this.ctx.state.get(FILTER);
    const all = groupedMedia(this.details.list(), KINDS);
    const groups = all.filter((group) => matches(filter, `${group.key} ${group.kind}`));
    this.bar.setSteps(stepsOf(groups.flatMap((group) => group.cells.flatMap((cell) => cell.what))));
    this.tools.hidden = !all.length;
    this.grid.show(groups);
    fill(this.rest, !groups.length && this.#nothing(all.length));
  }

  /** @param {number} filtered */
  #nothing(filtered) {
    if (filtered) return notice({ icon: "search", title: "No key is called so", action: { label: "Show all", do: () => this.ctx.state.set(FILTER, "") } });
    if (this.details.isLoading) return loading("Waiting for the tensors");
    return troubleNotice(this.details) ?? notice({ icon: "columns", title: "No tensors yet", text: "The picked runs have none. This logs some:", code: HOW });
  }
}

/** @param {HTMLElement} root @param {import("./views.js").Context} ctx */
export const mount = (root, ctx) => void new Tensors(root, ctx);
