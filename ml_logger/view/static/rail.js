// @ts-check
/** The picked runs beside every view but the table: their colours and states, and a way to let one go. */

import { el, fill } from "./dom.js";
import { countText, stateName } from "./format.js";
import { icon } from "./icons.js";
import { nameText } from "./names.js";

/** @typedef {import("./runs.js").Run} Run */

export class Rail {
  /** @param {import("./frame.js").Parts} parts @param {(path: string) => string} label */
  constructor(parts, label) {
    this.parts = parts;
    this.label = label;
    this.summary = el("summary", { class: "rail-summary" });
    this.list = el("ul", { class: "rail-list", "aria-label": "Picked runs" });
    this.fold = el("details", { class: "rail-fold" }, this.summary, this.list);
    this.fold.open = matchMedia("(min-width: 800px)").matches;
    this.element = el("aside", { class: "rail", "aria-label": "Picked runs" }, this.fold);
    parts.picks.addEventListener("change", () => this.#draw());
    parts.runs.addEventListener("change", () => this.#drawSummary());
    this.#draw();
  }

  #draw() {
    const { picks } = this.parts;
    fill(this.list,
      ...picks.list().map((run) => this.#row(run)),
      ...picks.deleted().map((run) => this.#goneRow(run)),
      picks.unknown.length > 0 && el("li", { class: "rail-note" }, `${countText(picks.unknown.length, "run")} of this link ${picks.unknown.length === 1 ? "is" : "are"} not here`));
    this.#drawSummary();
  }

  #drawSummary() {
    const { picks, runs } = this.parts;
    fill(this.summary, el("b", {}, `${picks.list().length}`), ` of ${countText(runs.size, "run")} picked `,
      el("a", { href: "#runs", class: "rail-more", on: { click: (event) => (event.preventDefault(), this.parts.state.open("runs")) } }, "Pick…"));
  }

  /** @param {Run} run */
  #row(run) {
    const { colour, dash } = this.parts.picks.style(run.path);
    return el("li", { class: "rail-run", title: `${run.path}\n${stateName(run.state)}`, "data-path": run.path },
      el("i", { class: `swatch ${dash}`, vars: { "--colour": colour } }),
      el("span", { class: "rail-name" }, nameText(this.label(run.path))),
      el("span", { class: `state ${run.state}`, title: stateName(run.state) }, icon(run.state)),
      this.#dropButton(run));
  }

  /** @param {Run} run */
  #goneRow(run) {
    return el("li", { class: "rail-run gone", title: `${run.path} was deleted` },
      el("i", { class: "swatch", vars: { "--colour": "transparent" } }), el("span", { class: "rail-name" }, this.label(run.path)), el("span", { class: "rail-gone" }, "deleted"), this.#dropButton(run));
  }

  /** @param {Run} run */
  #dropButton(run) {
    return el("button", { class: "tool tiny", type: "button", "aria-label": `Let go of ${this.label(run.path)}`, title: "Let go", on: { click: () => this.parts.picks.pick([run.path], false) } }, icon("close"));
  }
}
