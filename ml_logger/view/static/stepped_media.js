// @ts-check
/** A view of what was logged at steps: one slider over them, a filter of keys, a heading a key and a card a run. */

import { Details } from "./details.js";
import { el, fill } from "./dom.js";
import { matches, searchField } from "./fields.js";
import { groupedMedia, MediaGrid, nothingLogged } from "./media_grid.js";
import { StepBar } from "./step_bar.js";
import { stepsOf } from "./steps.js";

/** @typedef {import("./media_grid.js").Cell<import("./steps.js").MediaFile[]>} Cell */

/**
 * What one such view shows: its key of the URL for the step, the kinds of media, its cards, further tools.
 * @typedef {import("./media_grid.js").Naming & {
 *   step: ConstructorParameters<typeof StepBar>[1], kinds: string[], tools?: Node[],
 *   makeCard: (group: {kind: string, key: string}, bar: StepBar) => import("./keyed.js").Item<Cell>,
 * }} What
 */

export class SteppedMedia {
  /** @param {HTMLElement} root @param {import("./views.js").Context} ctx @param {What} what */
  constructor(root, ctx, what) {
    this.ctx = ctx;
    this.what = what;
    this.bar = new StepBar(ctx, what.step);
    this.grid = new MediaGrid(ctx, (group) => what.makeCard(group, this.bar));
    this.tools = el("div", { class: "tool-bar" }, this.bar.element, searchField(ctx, what.filter, "Filter keys"), ...(what.tools ?? []));
    this.rest = el("div");
    this.details = new Details(ctx, () => ctx.picks.list(), () => this.#draw());
    root.append(this.tools, this.rest, this.grid.element);
    ctx.on("state", (changed) => (changed.has(what.step.name) || changed.has(what.filter.name)) && this.#draw());
  }

  #draw() {
    const filter = this.ctx.state.get(this.what.filter);
    const all = groupedMedia(this.details.list(), this.what.kinds);
    const groups = all.filter((group) => matches(filter, `${group.key} ${group.kind}`));
    this.bar.setSteps(stepsOf(groups.flatMap((group) => group.cells.flatMap((cell) => cell.what))));
    this.tools.hidden = !all.length;
    this.grid.show(groups);
    fill(this.rest, !groups.length && nothingLogged(this.ctx, this.details, all.length, this.what));
  }
}
