// @ts-check
/** Parameters: a table of the picked runs, where they differ marked. */

import { el, fill, oneLine } from "./dom.js";
import { flagField, matches, searchField } from "./fields.js";
import { valueText } from "./format.js";
import { icon } from "./icons.js";
import { nameText } from "./names.js";
import { loading, notice } from "./notice.js";
import { flagKey, textKey } from "./state.js";
import { nothingPicked } from "./trouble.js";

/** @typedef {import("./runs.js").Run} Run */
/** @typedef {{name: string, texts: (string | null)[], differs: boolean, usual: string | null}} Row  null: the run has none */

const FILTER = textKey("pa.q");
const DIFFERENT = flagKey("pa.diff");
const HOW = `logger.log_params(model={"hidden": 64, "lr": 1e-3}, seed=7)`;

class Params {
  /** @param {HTMLElement} root @param {import("./views.js").Context} ctx */
  constructor(root, ctx) {
    this.ctx = ctx;
    this.only = flagField(ctx, DIFFERENT, "Only what differs");
    this.tools = el("div", { class: "tool-bar" }, this.only, searchField(ctx, FILTER, "Filter parameters"));
    this.content = el("div", { class: "params-stage" });
    root.append(this.tools, this.content);
    this.drawn = "";
    ctx.on("picks", () => this.#draw());
    ctx.on("runs", () => this.#draw());
    ctx.on("state", () => this.#draw());
    this.#draw();
  }

  #draw() {
    const { ctx } = this;
    const runs = ctx.picks.list();
    const rows = rowsOf(runs);
    const isShort = ctx.state.get(DIFFERENT) && runs.length > 1;
    const shown = rows.filter((row) => (row.differs || !isShort) && matches(ctx.state.get(FILTER), `${row.name} ${row.texts.join(" ")}`));
    this.only.hidden = runs.length < 2;
    this.tools.hidden = !rows.length;
    // Most news of a run are numbers: a table that stays the same keeps its selection.
    const text = JSON.stringify([runs.map((run) => [run.path, ctx.label(run.path), ctx.picks.style(run.path)]), shown, ctx.runs.isKnown]);
    if (text === this.drawn) return;
    this.drawn = text;
    fill(this.content, shown.length ? this.#table(runs, shown) : this.#nothing(runs, rows));
  }

  /** @param {Run[]} runs @param {Row[]} rows */
  #table(runs, rows) {
    const head = el("tr", {}, el("th", { scope: "col" }, "Parameter"), ...runs.map((run) => this.#runHead(run)));
    const body = el("tbody");
    let section = "";
    for (const row of rows) {
      const title = sectionOf(row.name);
      if (title !== section && row.name !== title) body.append(el("tr", { class: "params-section" }, el("th", { colspan: runs.length + 1, scope: "colgroup" }, el("bdi", {}, title))));
      section = title;
      body.append(parameterRow(row, row.name === title ? title : row.name.slice(title.length + 1), runs.length > 1));
    }
    return el("table", { class: "params" }, el("thead", {}, head), body);
  }

  /** @param {Run} run */
  #runHead(run) {
    const { colour, dash } = this.ctx.picks.style(run.path);
    return el("th", { scope: "col", title: run.path }, el("span", { class: "params-run" }, el("i", { class: `swatch ${dash}`, vars: { "--colour": colour } }), nameText(this.ctx.label(run.path))));
  }

  /** @param {Run[]} runs @param {Row[]} rows */
  #nothing(runs, rows) {
    const { state, runs: all } = this.ctx;
    if (!all.isKnown) return loading("Waiting for the runs");
    if (!runs.length) return nothingPicked(this.ctx);
    if (!rows.length) return notice({ icon: "list", title: "No parameters yet", text: "The picked runs have none. This logs some:", code: HOW });
    if (state.get(FILTER)) return notice({ icon: "search", title: "No parameter is called so", action: { label: "Show all", do: () => state.set(FILTER, "") } });
    return notice({ icon: "finished", title: "Nothing differs", text: `All ${rows.length} parameters are the same in these runs.`, action: { label: "Show all", do: () => state.set(DIFFERENT, false) } });
  }
}

/** @param {Row} row @param {string} name @param {boolean} isMarked whether values beside the usual one are */
function parameterRow(row, name, isMarked) {
  const cells = row.texts.map((text) => {
    if (text === null) return el("td", { class: "is-none", title: "not set" }, "–");
    return el("td", { class: isMarked && row.differs && text !== row.usual ? "is-other" : null }, el("bdi", {}, text));
  });
  const mark = isMarked && row.differs && el("span", { class: "params-mark", title: "differs" }, icon("differs"));
  return el("tr", { class: isMarked && row.differs ? "differs" : null }, el("th", { scope: "row" }, el("bdi", {}, oneLine(name)), mark), ...cells);
}

/** Every parameter of the runs, sections together. @param {Run[]} runs @returns {Row[]} */
export function rowsOf(runs) {
  const names = new Set(runs.flatMap((run) => Object.keys(run.params)));
  const sections = [...new Set([...names].map(sectionOf))];
  // What is in no section comes first: below one it would seem to belong to it.
  const place = (/** @type {string} */ name) => (name === sectionOf(name) ? -1 : sections.indexOf(sectionOf(name)));
  return [...names].sort((a, b) => place(a) - place(b)).map((name) => {
    const texts = runs.map((run) => (Object.hasOwn(run.params, name) ? valueText(run.params[name], 12) : null));
    return { name, texts, differs: new Set(texts).size > 1, usual: mostOften(texts) };
  });
}

/** @param {string} name */
const sectionOf = (name) => name.split(".", 1)[0];

/** @param {(string | null)[]} texts @returns {string | null} null if none comes more often than the others */
function mostOften(texts) {
  /** @type {Map<string | null, number>} */
  const counts = new Map();
  for (const text of texts) counts.set(text, (counts.get(text) ?? 0) + 1);
  const [first, second] = [...counts].sort((a, b) => b[1] - a[1]);
  return second && second[1] === first[1] ? null : first[0];
}

/** @param {HTMLElement} root @param {import("./views.js").Context} ctx */
export const mount = (root, ctx) => void new Params(root, ctx);
