// @ts-check
/** How the picked runs differ: their params side by side, what is not as in the first run marked. */

import { el, fill } from "./dom.js";
import { countText, valueText } from "./format.js";
import { icon } from "./icons.js";
import { nameText } from "./names.js";

/** @typedef {import("./runs.js").Run} Run */
/** @typedef {import("./runs.js").Value} Value */

const MOST_RUNS = 40;

export class Compare {
  /** @param {import("./views.js").Context} ctx @param {() => void} close */
  constructor(ctx, close) {
    this.ctx = ctx;
    this.all = el("input", { type: "checkbox", on: { change: () => this.#draw() } });
    this.title = el("h2", {});
    this.place = el("div", { class: "compare-place", tabindex: "0", role: "region", "aria-label": "Differences" });
    this.element = el("section", { class: "compare", "aria-label": "Differences of the picked runs", hidden: true },
      el("div", { class: "compare-head" }, this.title, el("label", { class: "compare-all" }, this.all, "also what is the same"), el("button", { class: "tool", type: "button", "aria-label": "Close", title: "Close (Esc)", on: { click: close } }, icon("close"))),
      this.place);
    this.signature = "";
  }

  /** @param {boolean} isShown */
  show(isShown) {
    this.element.hidden = !isShown;
    if (!isShown) return;
    const signature = JSON.stringify(this.ctx.picks.list().map((run) => [run.path, run.version]));
    if (signature !== this.signature) this.#draw();
    this.signature = signature;
  }

  #draw() {
    const runs = this.ctx.picks.list().slice(0, MOST_RUNS);
    this.title.textContent = `Differences of ${countText(runs.length, "picked run")}`;
    const params = differences(runs, (run) => run.params, this.all.checked);
    const last = differences(runs, (run) => run.last, true);
    if (runs.length < 2) return fill(this.place, el("p", { class: "hint" }, "Pick two runs or more to see how their params differ."));
    fill(this.place, el("table", { class: "compare-table" },
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Param"), ...runs.map((run) => this.#head(run)))),
      body(params, runs, params.length ? "" : "All params are the same"),
      last.length > 0 && el("tbody", {}, el("tr", { class: "compare-band" }, el("th", { colspan: runs.length + 1, scope: "rowgroup" }, "Last values"))),
      last.length > 0 && body(last, runs, "", false)));
  }

  /** @param {Run} run */
  #head(run) {
    const { colour, dash } = this.ctx.picks.style(run.path);
    return el("th", { scope: "col", title: run.path }, el("i", { class: `swatch ${dash}`, vars: { "--colour": colour } }), nameText(this.ctx.label(run.path)));
  }
}

/** @typedef {{key: string, values: (Value | undefined)[]}} Line */

/** One line a key, in the order they are met; only those where the runs differ, unless `all`. @param {Run[]} runs @param {(run: Run) => Record<string, Value>} of @param {boolean} all @returns {Line[]} */
export function differences(runs, of, all) {
  const keys = new Set(runs.flatMap((run) => Object.keys(of(run))));
  const lines = [...keys].map((key) => ({ key, values: runs.map((run) => (Object.hasOwn(of(run), key) ? of(run)[key] : undefined)) }));
  return all ? lines : lines.filter(({ values }) => values.some((value) => JSON.stringify(value) !== JSON.stringify(values[0])));
}

/** @param {Line[]} lines @param {Run[]} runs @param {string} none @param {boolean} [isMarking] */
function body(lines, runs, none, isMarking = true) {
  return el("tbody", {}, ...lines.map(({ key, values }) => el("tr", {}, el("th", { scope: "row", title: key }, key), ...values.map((value) => cell(value, values[0], isMarking)))),
    none && el("tr", {}, el("td", { class: "hint", colspan: runs.length + 1 }, none)));
}

/** @param {Value | undefined} value @param {Value | undefined} first @param {boolean} isMarking */
function cell(value, first, isMarking) {
  const isOther = isMarking && JSON.stringify(value) !== JSON.stringify(first);
  return el("td", { class: isOther ? "other" : null, title: valueText(value, 17) }, value === undefined ? "–" : valueText(value));
}
