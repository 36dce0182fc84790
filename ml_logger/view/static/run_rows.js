// @ts-check
/** What the rows and the head of the table of runs look like. */

import { groupText, stateSentence } from "./columns.js";
import { el, fill, oneLine, visible } from "./dom.js";
import { asNumber, countText, dateText, valueText } from "./format.js";
import { icon } from "./icons.js";
import { nameText } from "./names.js";

/** @typedef {import("./runs.js").Run} Run */
/** @typedef {import("./columns.js").Column} Column */
/** @typedef {import("./order.js").Row} Row */
/** @typedef {{ctx: import("./views.js").Context, columns: Column[], now: number, groupColumn: Column | undefined, shown: Run[]}} Table */

const BANDS = { fact: "", metric: "Last values", param: "Params" };

/** The line that says what kind of columns follow. @param {Column[]} columns */
export function bandOf(columns) {
  const spans = columns.reduce((/** @type {{kind: Column["kind"], count: number}[]} */ found, { kind }) => {
    const last = found.at(-1);
    if (last?.kind === kind) last.count += 1;
    else found.push({ kind, count: 1 });
    return found;
  }, []);
  return el("div", { class: "grid-row band", role: "presentation" }, ...spans.map(({ kind, count }) => el("span", { class: `band-${kind}`, vars: { "--span": String(count) } }, BANDS[kind])));
}

/** @param {Column[]} columns @param {Column} sorted @param {boolean} isDescending @param {Run[]} runs */
export function headOf(columns, sorted, isDescending, runs) {
  const sample = runs.slice(0, SAMPLE);
  const isNumeric = (/** @type {Column} */ column) => column.isNumeric || sample.some((run) => typeof column.value(run) === "number");
  return el("div", { class: "grid-row head", role: "row" }, ...columns.map((column) => {
    const isSorted = column.id === sorted.id;
    return el("div", { class: `cell ${column.kind}${isNumeric(column) ? " number" : ""}${column.id === "name" ? " name" : ""}`, role: "columnheader", "data-column": column.id, title: `Sort by ${column.title}`, "aria-sort": isSorted ? (isDescending ? "descending" : "ascending") : "none" },
      ...titleOf(column.title), isSorted && icon(isDescending ? "down" : "up"));
  }));
}

/** The part that tells keys apart stands out. @param {string} title */
function titleOf(title) {
  title = oneLine(title);
  const at = Math.max(title.lastIndexOf("/"), title.lastIndexOf(".")) + 1;
  return [at > 0 && el("span", { class: "prefix" }, title.slice(0, at)), el("span", { class: "leaf" }, title.slice(at))];
}

const CHAR_PX = 7.2;
const SAMPLE = 150;
const CELL_PX = [60, 220];
const NAME_PX = [220, 420];
/** What is in a cell beside its text. @type {Record<string, number>} */
const AROUND_PX = { name: 76, state: 36 };

/** Widths by what the first runs have. @param {Column[]} columns @param {Run[]} runs @param {number} now @param {(path: string) => string} label a run's name as it is shown */
export function columnWidths(columns, runs, now, label) {
  const sample = runs.slice(0, SAMPLE);
  return columns.map((column) => {
    const longest = sample.reduce((most, run) => Math.max(most, (column.id === "name" ? label(run.path) : column.text(run, now)).length), Math.min(13, column.title.length + 1));
    // in steps, so that a live value does not make the table tremble
    const width = Math.ceil((longest + 1) / 2) * 2 * CHAR_PX + (AROUND_PX[column.id] ?? 16);
    const [least, most] = column.id === "name" ? NAME_PX : CELL_PX;
    const px = Math.round(Math.min(most, Math.max(least, width)));
    return column.id === "name" ? `min(${px}px, var(--name-most))` : `${px}px`;
  });
}

/** @param {Row} row @param {Table} table @returns {import("./grid.js").Look} */
export function lookOf(row, table) {
  return row.kind === "run" ? runLook(row, table) : groupLook(row, table);
}

/** @param {import("./order.js").RunRow} row @param {Table} table */
function runLook({ run, isGrouped }, table) {
  const { picks, label } = table.ctx;
  const slot = picks.slots.get(run.path) ?? "";
  const clock = run.state === "running" ? Math.floor(table.now) : Math.floor(table.now / 60);
  return {
    signature: JSON.stringify([run.version, run.notes, slot, isGrouped, clock, label(run.path), table.columns.map((column) => column.id)]),
    draw: (/** @type {HTMLElement} */ element) => drawRun(element, run, isGrouped, table),
  };
}

/** @param {HTMLElement} element @param {Run} run @param {boolean} isGrouped @param {Table} table */
function drawRun(element, run, isGrouped, table) {
  const isPicked = table.ctx.picks.has(run.path);
  element.className = `grid-row run${isPicked ? " picked" : ""}${isGrouped ? " grouped" : ""}`;
  element.setAttribute("aria-selected", String(isPicked));
  element.dataset.path = run.path;
  fill(element, ...table.columns.map((column) => (column.id === "name" ? nameCell(run, isPicked, table) : cellOf(column, run, table.now))));
}

/** @param {Run} run @param {boolean} isPicked @param {Table} table */
function nameCell(run, isPicked, { ctx }) {
  const name = ctx.label(run.path);
  const box = el("input", { type: "checkbox", tabindex: "-1", "aria-label": `Pick ${name}`, checked: isPicked });
  const { colour, dash } = ctx.picks.style(run.path);
  return el("div", { class: "cell name", role: "gridcell", title: run.path },
    el("label", { class: "pick" }, box), el("i", { class: `swatch ${dash}`, vars: { "--colour": isPicked ? colour : "transparent" } }),
    run.notes.pinned && el("span", { class: "pinned", title: "Pinned" }, icon("pin")),
    el("button", { class: "open", type: "button", tabindex: "-1", "data-open": true }, nameText(name)));
}

/** @param {Column} column @param {Run} run @param {number} now */
function cellOf(column, run, now) {
  const text = column.text(run, now);
  const number = column.kind === "fact" ? null : asNumber(/** @type {any} */ (column.value(run)));
  const isOdd = number !== null && !Number.isFinite(number);
  const isNumber = column.isNumeric || typeof column.value(run) === "number";
  const classes = `cell ${column.kind}${isNumber ? " number" : ""}${isOdd ? " odd" : ""}`;
  if (column.id === "state") return el("div", { class: classes, role: "gridcell", title: stateSentence(run) }, el("span", { class: `state ${run.state}` }, icon(run.state), el("span", {}, text)));
  if (column.id === "notes") return el("div", { class: classes, role: "gridcell" }, ...run.notes.tags.map((tag) => el("span", { class: "tag" }, tag)), run.notes.note);
  return plainCell(classes, text);
}

const PLAIN = el("div", { role: "gridcell" });

/** The many: cloned, since scrolling draws a thousand at once. @param {string} classes @param {string} text */
function plainCell(classes, text) {
  const cell = /** @type {HTMLElement} */ (PLAIN.cloneNode());
  cell.className = classes;
  cell.textContent = visible(text);
  return cell;
}

/** What a cell says in full, for the one that is pointed at. @param {Column} column @param {Run} run */
export function fullText(column, run) {
  if (column.id === "start") return run.started === null ? "" : dateText(run.started);
  if (column.kind === "fact") return column.text(run, Date.now() / 1000);
  const value = column.value(run);
  return value === undefined ? "" : `${column.title} = ${valueText(/** @type {any} */ (value), 17)}`;
}

/** @param {import("./order.js").GroupRow} row @param {Table} table */
function groupLook(row, table) {
  const picked = row.runs.filter((run) => table.ctx.picks.has(run.path)).length;
  const versions = row.runs.reduce((sum, run) => sum + run.version, 0);
  return {
    signature: JSON.stringify([row.text, row.isFolded, row.runs.length, picked, versions, table.columns.map((column) => column.id), table.groupColumn?.id]),
    draw: (/** @type {HTMLElement} */ element) => drawGroup(element, row, picked, table),
  };
}

/** @param {HTMLElement} element @param {import("./order.js").GroupRow} row @param {number} picked @param {Table} table */
function drawGroup(element, row, picked, { columns, groupColumn, now }) {
  element.className = "grid-row group";
  element.setAttribute("aria-expanded", String(!row.isFolded));
  const box = el("input", { type: "checkbox", tabindex: "-1", "aria-label": `Pick all of ${row.text}`, checked: picked === row.runs.length });
  box.indeterminate = picked > 0 && picked < row.runs.length;
  const name = el("div", { class: "cell name", role: "gridcell", title: row.text },
    el("label", { class: "pick" }, box), icon(row.isFolded ? "right" : "down"),
    el("span", { class: "prefix" }, groupColumn?.title ?? ""), el("b", { class: "leaf" }, row.text || "none"), el("span", { class: "group-count" }, countText(row.runs.length, "run")));
  fill(element, name, ...columns.slice(1).map((column) => {
    const text = groupText(column, row.runs, now);
    const isNumber = column.isNumeric || (text !== "" && !Number.isNaN(Number(text)));
    return el("div", { class: `cell ${column.kind}${isNumber ? " number" : ""}`, role: "gridcell", title: text && column.kind === "metric" ? `mean of the group: ${text}` : text }, text);
  }));
}
