// @ts-check
/** The one run that is looked at where only one can be: of the picked ones, and the same in every tab. */

import { SelectField } from "./fields.js";
import { textKey } from "./state.js";

/** @typedef {import("./views.js").Context} Context */
/** @typedef {import("./runs.js").Run} Run */

const ONE = textKey("one");

export class ChosenRun {
  /** @param {Context} ctx @param {() => void} changed called when another run is chosen, or the list of them changed */
  constructor(ctx, changed) {
    this.ctx = ctx;
    this.field = new SelectField("Run", (id) => ctx.state.set(ONE, id));
    this.element = this.field.element;
    const follow = () => (this.#show(), changed());
    ctx.on("picks", follow);
    ctx.on("state", (names) => names.has(ONE.name) && follow());
    this.#show();
  }

  /** The run, or null if none is picked. @returns {Run | null} */
  get() {
    const picked = this.ctx.picks.list();
    const id = this.ctx.state.get(ONE);
    return picked.find((run) => run.id === id) ?? picked[0] ?? null;
  }

  #show() {
    this.field.show(this.ctx.picks.list().map((run) => [run.id, this.ctx.label(run.path)]), this.get()?.id ?? "");
  }
}
