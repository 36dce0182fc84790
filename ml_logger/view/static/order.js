// @ts-check
/** The runs in the order of a column, and in groups. */

import { asNumber, valueText } from "./format.js";

/** @typedef {import("./runs.js").Run} Run */
/** @typedef {import("./columns.js").Column} Column */
/** @typedef {{kind: "run", key: string, run: Run, isGrouped: boolean}} RunRow */
/** @typedef {{kind: "group", key: string, text: string, runs: Run[], isFolded: boolean}} GroupRow */
/** @typedef {RunRow | GroupRow} Row */

const natural = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

/** Rank first, then number or text: numbers, then texts, then NaN, then what is not there. @param {unknown} value @returns {[number, number | string]} */
function rankOf(value) {
  if (value === undefined || value === null) return [3, 0];
  const number = asNumber(/** @type {any} */ (value));
  if (number === null) return [1, valueText(/** @type {any} */ (value))];
  return Number.isNaN(number) ? [2, 0] : [0, number];
}

/** @param {[number, number | string]} a @param {[number, number | string]} b @param {number} sign */
function compareRanks(a, b, sign) {
  // what is not there and NaN stay behind in both directions
  if (a[0] !== b[0]) return a[0] > 1 || b[0] > 1 ? a[0] - b[0] : sign * (a[0] - b[0]);
  return sign * (typeof a[1] === "number" ? a[1] - /** @type {number} */ (b[1]) : natural.compare(a[1], String(b[1])));
}

/** The runs by a column, pinned ones first, and among equals the newest. @param {Run[]} runs @param {Column} column @param {boolean} isDescending @returns {Run[]} */
export function sortRuns(runs, column, isDescending) {
  const sign = isDescending ? -1 : 1;
  const ranked = runs.map((run) => ({ run, rank: rankOf(column.value(run)) }));
  ranked.sort((a, b) =>
    Number(b.run.notes.pinned) - Number(a.run.notes.pinned) || compareRanks(a.rank, b.rank, sign) || (b.run.started ?? 0) - (a.run.started ?? 0) || natural.compare(a.run.path, b.run.path));
  return ranked.map(({ run }) => run);
}

/** The rows of the table. Groups are in the order of their value; a folded one hides its runs. @param {Run[]} sorted @param {Column | undefined} group @param {ReadonlySet<string>} folded @returns {Row[]} */
export function rowsOf(sorted, group, folded) {
  if (!group) return sorted.map((run) => ({ kind: "run", key: run.path, run, isGrouped: false }));
  /** @type {Map<string, {value: unknown, runs: Run[]}>} */
  const groups = new Map();
  for (const run of sorted) {
    const value = group.value(run);
    const text = value === undefined || value === null ? "" : valueText(/** @type {any} */ (value));
    const held = groups.get(text);
    if (held) held.runs.push(run);
    else groups.set(text, { value, runs: [run] });
  }
  const inOrder = [...groups].sort(([, a], [, b]) => compareRanks(rankOf(a.value), rankOf(b.value), 1));
  return inOrder.flatMap(([text, { runs }]) => {
    const isFolded = folded.has(text);
    /** @type {Row[]} */
    const inside = isFolded ? [] : runs.map((run) => ({ kind: "run", key: run.path, run, isGrouped: true }));
    return [/** @type {Row} */ ({ kind: "group", key: `group ${text}`, text, runs, isFolded }), ...inside];
  });
}
