// @ts-check
/** The table of runs: filter, sort, group, choose columns, pick. What one sees of it is in the URL. */

import { columnOf, keysOf, NAME, START, usualColumns } from "./columns.js";
import { columnsMenu } from "./columns_menu.js";
import { Compare } from "./compare.js";
import { el, fill, hit, setText } from "./dom.js";
import { filterOf } from "./filter.js";
import { countText } from "./format.js";
import { Grid } from "./grid.js";
import { icon } from "./icons.js";
import { isTyping } from "./keys.js";
import { loading, notice } from "./notice.js";
import { rowsOf, sortRuns } from "./order.js";
import { MOST_PICKS } from "./picks.js";
import { RunDetail } from "./run_detail.js";
import { bandOf, columnWidths, fullText, headOf, lookOf } from "./run_rows.js";
import { flagKey, listKey, textKey } from "./state.js";
import { registerView } from "./views.js";

/** @typedef {import("./runs.js").Run} Run */
/** @typedef {import("./columns.js").Column} Column */
/** @typedef {import("./order.js").Row} Row */
/** @typedef {import("./views.js").Context} Context */

const FILTER = textKey("q");
const SORT = textKey("s", `-${START.id}`);
const GROUP = textKey("g");
const FOLDED = listKey("gc");
const COLUMNS = listKey("c");
const OPEN = textKey("run");
const COMPARE = flagKey("d");

const ROW_HEIGHT = 28;
const CLOCK_MS = 1000;

const FIRST_RUN = `from ml_logger import ML_Logger
ML_Logger("DIRECTORY/my-first-run").log(0, loss=1.0)`;

class RunsView {
  /** @param {HTMLElement} root @param {Context} ctx */
  constructor(root, ctx) {
    this.ctx = ctx;
    /** @type {Row[]} */
    this.rows = [];
    /** @type {Run[]} */
    this.shown = [];
    /** @type {Column[]} */
    this.columns = [];
    this.headSignature = "";
    this.cursorKey = "";
    this.anchor = { key: "", on: true };
    this.now = Date.now() / 1000;
    this.grid = new Grid("Runs", ROW_HEIGHT, (/** @type {Row} */ row) => lookOf(row, this));
    this.detail = new RunDetail(ctx, () => ctx.state.set(OPEN, ""));
    this.compare = new Compare(ctx, () => ctx.state.set(COMPARE, false));
    this.search = el("input", { type: "search", class: "search", "aria-label": "Filter the runs", placeholder: "Filter: words, key=value, loss<0.2, /regex/", title: "Words must all be there, -word must not; lr>0.001, state=failed, tag=best; /regex/", spellcheck: "false", autocomplete: "off", "aria-keyshortcuts": "/", on: { input: () => ctx.state.set(FILTER, this.search.value, { replace: true }) } });
    this.count = el("span", { class: "count", role: "status" });
    this.group = el("select", { "aria-label": "Group by", title: "Group by", on: { change: () => ctx.state.setAll([[GROUP, this.group.value], [FOLDED, []]]) } });
    this.columnsButton = el("button", { class: "tool", type: "button", "aria-haspopup": "dialog", on: { click: () => this.#chooseColumns() } }, icon("columns"), el("span", {}, "Columns"));
    this.compareButton = el("button", { class: "tool", type: "button", "aria-pressed": "false", title: "How the params of the picked runs differ", on: { click: () => ctx.state.set(COMPARE, !ctx.state.get(COMPARE)) } }, icon("compare"), el("span", {}, "Differences"));
    this.picked = el("div", { class: "picks" });
    this.place = el("div", { class: "runs-place" }, loading("The runs are being read"));
    fill(root,
      el("div", { class: "toolbar" }, el("label", { class: "searchbox" }, icon("search"), this.search), this.count, el("span", { class: "spring" }), this.picked, this.compareButton, this.columnsButton, this.group),
      el("div", { class: "runs-body" }, el("div", { class: "runs-main" }, this.place, this.compare.element), this.detail.element));
    this.#listen();
    this.#readState();
    this.#redraw();
  }

  #listen() {
    const { ctx, grid, search } = this;
    ctx.on("runs", () => this.#soon());
    ctx.on("picks", () => this.#soon());
    ctx.on("state", () => (this.#readState(), this.#soon()));
    const clock = setInterval(() => this.#tick(), CLOCK_MS);
    ctx.signal.addEventListener("abort", () => clearInterval(clock));
    grid.element.addEventListener("pointerover", (event) => this.#pointedAt(event));
    grid.element.addEventListener("click", (event) => this.#clicked(event));
    grid.element.addEventListener("keydown", (event) => this.#keyed(event));
    search.addEventListener("keydown", (event) => this.#keyedInSearch(event));
    document.addEventListener("keydown", (event) => this.#keyedAnywhere(event), { signal: ctx.signal });
  }

  // --- what is shown

  /** Draw once a frame, whatever came. */
  #soon() {
    if (this.isDue) return;
    this.isDue = true;
    requestAnimationFrame(() => {
      this.isDue = false;
      if (!this.ctx.signal.aborted) this.#redraw();
    });
  }

  #readState() {
    const { state } = this.ctx;
    if (this.search.value.trim() !== state.get(FILTER).trim()) this.search.value = state.get(FILTER);
  }

  #redraw() {
    const { ctx } = this;
    this.now = Date.now() / 1000;
    const filter = filterOf(ctx.state.get(FILTER));
    const all = ctx.runs.all();
    this.shown = all.filter(filter.test);
    this.search.setAttribute("aria-invalid", String(Boolean(filter.error)));
    const keys = keysOf(this.shown.length ? this.shown : all);
    this.#arrange(keys);
    this.#drawTools(keys, filter.error);
    this.#drawPlace();
    this.detail.show(ctx.state.get(OPEN));
    this.compare.show(ctx.state.get(COMPARE));
  }

  /** @param {import("./columns.js").Keys} keys */
  #arrange(keys) {
    const { state } = this.ctx;
    const chosen = state.get(COLUMNS).flatMap((id) => columnOf(id) ?? []);
    this.columns = chosen.length ? [NAME, ...chosen.filter((column) => column.id !== NAME.id)] : usualColumns(keys, this.shown);
    const sorted = sortRuns(this.shown, this.sortColumn, this.isDescending);
    this.rows = rowsOf(sorted, columnOf(state.get(GROUP)), new Set(state.get(FOLDED)));
  }

  get sortColumn() {
    return columnOf(this.ctx.state.get(SORT).replace(/^-/, "")) ?? START;
  }

  get isDescending() {
    return this.ctx.state.get(SORT).startsWith("-");
  }

  get groupColumn() {
    return columnOf(this.ctx.state.get(GROUP));
  }

  /** @param {import("./columns.js").Keys} keys @param {string} error */
  #drawTools(keys, error) {
    const { ctx } = this;
    const total = ctx.runs.size;
    const ofAll = this.shown.length === total ? countText(total, "run") : `${this.shown.length.toLocaleString("en")} of ${countText(total, "run")}`;
    setText(this.count, error ? `${error}` : ctx.runs.isKnown ? `${ofAll}${ctx.runs.isScanning ? ", reading on…" : ""}` : "");
    this.count.classList.toggle("bad", Boolean(error));
    this.#drawGroupChoice(keys);
    this.compareButton.setAttribute("aria-pressed", String(ctx.state.get(COMPARE)));
    this.#drawPicked();
  }

  #drawPicked() {
    const { picks } = this.ctx;
    const count = picks.list().length;
    const signature = `${count} ${picks.isAutomatic}`;
    if (this.picked.dataset.signature === signature) return;
    this.picked.dataset.signature = signature;
    fill(this.picked,
      el("span", { class: "picked-count" }, el("b", {}, count), count < MOST_PICKS ? " picked" : " picked, the most"),
      !picks.isAutomatic && el("button", { class: "tool", type: "button", title: "Pick the newest runs again, and new ones as they come", on: { click: () => picks.reset() } }, "Newest"),
      count > 0 && el("button", { class: "tool", type: "button", title: "Pick none (x)", on: { click: () => picks.set([]) } }, "None"));
  }

  /** @param {import("./columns.js").Keys} keys */
  #drawGroupChoice(keys) {
    const chosen = this.ctx.state.get(GROUP);
    const signature = JSON.stringify([keys.params, keys.metrics, chosen]);
    if (this.group.dataset.signature === signature) return;
    this.group.dataset.signature = signature;
    const rest = keys.params.filter((key) => !keys.differing.includes(key));
    const option = (/** @type {string} */ id, /** @type {string} */ text) => el("option", { value: id, selected: id === chosen }, text);
    const options = (/** @type {string} */ label, /** @type {string[]} */ names, /** @type {string} */ prefix) =>
      names.length > 0 && el("optgroup", { label }, ...names.map((name) => option(prefix + name, `by ${name}`)));
    fill(this.group, option("", "No groups"),
      el("optgroup", { label: "Runs" }, option("state", "by state"), option("host", "by host"), option("folder", "by folder")),
      options("Params that differ", keys.differing, "p:"), options("Other params", rest, "p:"), options("Last values", keys.metrics, "m:"));
    this.group.value = chosen;
  }

  #drawPlace() {
    const { runs, state } = this.ctx;
    if (!runs.isKnown) return;
    if (runs.size === 0) {
      const text = "As soon as a script logs here, its run appears by itself:";
      fill(this.place, runs.isScanning ? loading("The runs are being read") : notice({ icon: "list", title: "No run yet", text, code: FIRST_RUN.replace("DIRECTORY", this.ctx.me.is_receiver ? "/tmp/ml_logger/logs" : this.ctx.me.title || ".") }));
    } else if (this.rows.length === 0) {
      fill(this.place, notice({ icon: "search", title: "No run passes the filter", text: `None of ${countText(runs.size, "run")} matches ${state.get(FILTER)}`, action: { label: "Clear the filter", do: () => state.set(FILTER, "") } }));
    } else {
      if (this.grid.element.parentNode !== this.place) fill(this.place, this.grid.element);
      this.#drawGrid();
    }
  }

  #drawGrid() {
    const widths = columnWidths(this.columns, this.shown, this.now, this.ctx.label);
    const signature = JSON.stringify([this.columns.map((column) => column.id), this.ctx.state.get(SORT), widths]);
    if (this.headSignature !== signature) {
      this.headSignature = signature;
      this.grid.setHead(widths, [bandOf(this.columns), headOf(this.columns, this.sortColumn, this.isDescending, this.shown)]);
    }
    this.grid.setRows(this.rows, this.cursor);
  }

  #tick() {
    if (document.hidden || !this.shown.some((run) => run.state === "running")) return;
    this.now = Date.now() / 1000;
    if (this.grid.element.isConnected) this.grid.setRows(this.rows, this.cursor);
  }

  // --- the cursor and the picks

  get cursor() {
    return this.rows.findIndex((row) => row.key === this.cursorKey);
  }

  /** @param {number} index */
  #moveTo(index) {
    const at = Math.max(0, Math.min(this.rows.length - 1, index));
    this.cursorKey = this.rows[at]?.key ?? "";
    this.grid.setRows(this.rows, at);
    this.grid.reveal(at);
    const row = this.rows[at];
    if (this.ctx.state.get(OPEN) && row?.kind === "run") this.ctx.state.set(OPEN, row.run.id, { replace: true });
  }

  /** Pick a row or not; with `isRange` all from the last one on, as that one was. @param {number} index @param {boolean} isRange */
  #pick(index, isRange) {
    const row = this.rows[index];
    if (!row) return;
    const from = isRange ? this.rows.findIndex((one) => one.key === this.anchor.key) : -1;
    if (from >= 0) {
      const between = this.rows.slice(Math.min(from, index), Math.max(from, index) + 1);
      this.ctx.picks.pick(pathsOf(between), this.anchor.on);
    } else {
      const paths = pathsOf([row]);
      const on = !paths.every((path) => this.ctx.picks.has(path));
      this.ctx.picks.pick(paths, on);
      this.anchor = { key: row.key, on };
    }
  }

  /** @param {MouseEvent} event */
  #clicked(event) {
    const head = hit(event, "[role=columnheader][data-column]");
    if (head) return this.#sortBy(head.dataset.column ?? "");
    const at = Number(hit(event, "[role=row][data-index]")?.dataset.index ?? -1);
    if (at < 0) return;
    if (hit(event, "input")) {
      event.preventDefault(); // it is drawn checked when it is picked
      this.#pick(at, event.shiftKey);
    } else if (this.rows[at].kind === "group") this.#fold(at);
    else if (hit(event, "[data-open]")) this.#open(at);
    this.#moveTo(at);
  }

  /** @param {PointerEvent} event */
  #pointedAt(event) {
    const cell = hit(event, "[role=gridcell]:not([title])");
    const row = this.rows[Number(cell?.parentElement?.dataset.index ?? -1)];
    const column = cell && this.columns[[...(cell.parentElement?.children ?? [])].indexOf(cell)];
    if (cell && column && row?.kind === "run") cell.title = fullText(column, row.run);
  }

  /** @param {string} id */
  #sortBy(id) {
    const column = columnOf(id);
    if (!column) return;
    const isSame = this.sortColumn.id === id;
    const isDescending = isSame ? !this.isDescending : id === START.id;
    this.ctx.state.set(SORT, (isDescending ? "-" : "") + id);
  }

  /** @param {number} index */
  #fold(index) {
    const row = this.rows[index];
    if (row.kind !== "group") return;
    const folded = this.ctx.state.get(FOLDED);
    this.ctx.state.set(FOLDED, row.isFolded ? folded.filter((text) => text !== row.text) : [...folded, row.text], { replace: true });
  }

  /** @param {number} index */
  #open(index) {
    const row = this.rows[index];
    if (row?.kind !== "run") return;
    this.ctx.state.set(OPEN, this.ctx.state.get(OPEN) === row.run.id ? "" : row.run.id);
  }

  // --- keys

  /** @param {KeyboardEvent} event */
  #keyed(event) {
    if (event.metaKey || event.ctrlKey || event.altKey) return;
    const at = this.cursor;
    const steps = { ArrowDown: 1, j: 1, J: 1, ArrowUp: -1, k: -1, K: -1, PageDown: this.grid.pageLength, PageUp: -this.grid.pageLength, Home: -this.rows.length, End: this.rows.length };
    if (event.key in steps) {
      this.#moveTo(at + steps[/** @type {keyof typeof steps} */ (event.key)]);
      if (event.shiftKey) this.ctx.picks.pick(pathsOf(this.rows.slice(Math.max(0, Math.min(at, this.cursor)), Math.max(at, this.cursor) + 1)), true);
    } else if (event.key === " ") this.#pick(at, event.shiftKey);
    else if (event.key === "Enter") this.rows[at]?.kind === "group" ? this.#fold(at) : this.#open(at);
    else return;
    event.preventDefault();
  }

  /** @param {KeyboardEvent} event */
  #keyedInSearch(event) {
    if (event.key === "ArrowDown" || event.key === "Enter") {
      this.grid.element.focus();
      this.#moveTo(Math.max(0, this.cursor));
    } else if (event.key === "Escape") {
      if (!this.search.value) return this.grid.element.focus();
      this.ctx.state.set(FILTER, "", { replace: true });
    } else return;
    event.preventDefault();
  }

  /** @param {KeyboardEvent} event */
  #keyedAnywhere(event) {
    if (event.defaultPrevented || event.metaKey || event.ctrlKey || event.altKey || isTyping(event.target) || document.querySelector("dialog[open]")) return;
    const row = this.rows[this.cursor];
    const run = row?.kind === "run" ? row.run : undefined;
    if (event.key === "Escape") this.#escape();
    else if (event.key === "x") this.ctx.picks.set([]);
    else if (event.key === "a") this.ctx.picks.pick(this.shown.map((one) => one.path), true);
    else if (event.key === "p" && run && this.detail.canWrite) void this.detail.pin(run);
    else if (event.key === "n" && run) (this.ctx.state.set(OPEN, run.id), this.detail.show(run.id), this.detail.editNote());
    else if (/^(j|k|ArrowDown|ArrowUp)$/.test(event.key) && event.target === document.body) (this.grid.element.focus(), this.#keyed(event));
    else return;
    event.preventDefault();
  }

  /** Close what is open, the last first. */
  #escape() {
    const { state } = this.ctx;
    if (state.get(OPEN)) state.set(OPEN, "");
    else if (state.get(COMPARE)) state.set(COMPARE, false);
    else state.set(FILTER, "");
  }

  #chooseColumns() {
    const keys = keysOf(this.ctx.runs.all());
    columnsMenu(keys, this.columns.map((column) => column.id), (ids) => this.ctx.state.set(COLUMNS, ids, { replace: true }));
  }
}

/** @param {Row[]} rows */
const pathsOf = (rows) => rows.flatMap((row) => (row.kind === "run" ? [row.run.path] : row.isFolded || rows.length === 1 ? row.runs.map((run) => run.path) : []));

registerView({
  id: "runs",
  title: "Runs",
  hasNoRail: true,
  mount: (root, ctx) => void new RunsView(root, ctx),
});
