// @ts-check
/** The columns of the table of runs: what a run has under each, to show and to sort by. */

import { asNumber, dateText, durationText, shortDateText, stateName, valueText } from "./format.js";

/** @typedef {import("./runs.js").Run} Run */
/** @typedef {"fact" | "metric" | "param"} Kind */
/**
 * @typedef {{id: string, title: string, kind: Kind, isNumeric: boolean, value: (run: Run) => unknown, text: (run: Run, now: number) => string}} Column
 * `value` is what to sort and group by, undefined for nothing
 */

/** @param {string} id @param {string} title @param {boolean} isNumeric @param {Column["value"]} value @param {Column["text"]} text @returns {Column} */
const fact = (id, title, isNumeric, value, text) => ({ id, title, kind: "fact", isNumeric, value, text });

export const NAME = fact("name", "Run", false, (run) => run.path, (run) => run.path);
export const START = fact("start", "Start", true, (run) => run.started ?? undefined, (run, now) => (run.started === null ? "" : shortDateText(run.started, now)));

/** @type {Column[]} */
export const FACTS = [
  NAME,
  fact("state", "State", false, (run) => run.state, (run, now) => stateText(run, now)),
  START,
  fact("duration", "Duration", true, (run) => durationOf(run, Date.now() / 1000) ?? undefined, (run, now) => maybeDurationText(run, now)),
  fact("step", "Step", true, (run) => run.step ?? undefined, (run) => valueText(run.step ?? undefined)),
  fact("host", "Host", false, (run) => run.host ?? undefined, (run) => run.host ?? ""),
  fact("notes", "Notes", false, (run) => [...run.notes.tags, run.notes.note].join(" ").trim() || undefined, (run) => [...run.notes.tags.map((tag) => `#${tag}`), run.notes.note].join(" ").trim()),
  fact("folder", "Folder", false, (run) => run.path.slice(0, Math.max(0, run.path.lastIndexOf("/"))), (run) => run.path.slice(0, Math.max(0, run.path.lastIndexOf("/")))),
];

/** @param {string} key @returns {Column} */
export const paramColumn = (key) => ({
  id: `p:${key}`, title: key, kind: "param", isNumeric: false,
  value: (run) => (Object.hasOwn(run.params, key) ? run.params[key] : undefined),
  text: (run) => (Object.hasOwn(run.params, key) ? valueText(run.params[key]) : ""),
});

/** @param {string} key @returns {Column} */
export const metricColumn = (key) => ({
  id: `m:${key}`, title: key, kind: "metric", isNumeric: true,
  value: (run) => (Object.hasOwn(run.last, key) ? run.last[key] : undefined),
  text: (run) => (Object.hasOwn(run.last, key) ? valueText(run.last[key], 4) : ""),
});

/** The column with an id, whether any run has it or not; undefined for what is no column's. @param {string} id @returns {Column | undefined} */
export function columnOf(id) {
  if (id.startsWith("p:")) return paramColumn(id.slice(2));
  if (id.startsWith("m:")) return metricColumn(id.slice(2));
  return FACTS.find((column) => column.id === id);
}

/** Seconds; of a run that has not ended until now, or until it was last heard of. @param {Run} run @param {number} now */
export function durationOf(run, now) {
  const end = run.ended ?? (run.state === "running" ? now : run.heard);
  return run.started === null || end === null ? null : Math.max(0, end - run.started);
}

/** @param {Run} run @param {number} now */
function maybeDurationText(run, now) {
  const duration = durationOf(run, now);
  return duration === null ? "" : durationText(duration);
}

/** @param {Run} run @param {number} now */
export function stateText(run, now) {
  if (run.trouble) return "can't be read";
  return run.state === "silent" && run.heard !== null ? `silent since ${shortDateText(run.heard, now)}` : stateName(run.state);
}

/** The state as a sentence. @param {Run} run */
export function stateSentence(run) {
  if (run.trouble) return `Can't be read: ${run.trouble}`;
  const heard = run.heard === null ? "" : ` since ${dateText(run.heard)}`;
  return {
    running: "Running: its writer was seen alive",
    finished: `Finished${run.ended === null ? "" : ` at ${dateText(run.ended)}`}`,
    failed: `Failed${run.ended === null ? "" : ` at ${dateText(run.ended)}`}`,
    killed: `Killed: its writer is gone without a word, not heard from${heard}`,
    silent: `Not heard from${heard}; whether it still runs is not known here`,
  }[run.state];
}

/** @typedef {{params: string[], differing: string[], metrics: string[]}} Keys */

/** What the runs have: all params and those that differ, as they are met, and the keys with a last value, those of most runs first. @param {Run[]} runs @returns {Keys} */
export function keysOf(runs) {
  /** @type {Map<string, {value: string, count: number, isDiffering: boolean}>} */
  const params = new Map();
  /** @type {Map<string, number>} */
  const metrics = new Map();
  for (const run of runs) {
    for (const key in run.last) metrics.set(key, (metrics.get(key) ?? 0) + 1);
    for (const key in run.params) {
      const value = /** @type {any} */ (run.params[key]);
      const text = typeof value === "object" ? JSON.stringify(value) : value;
      const held = params.get(key);
      if (!held) params.set(key, { value: text, count: 1, isDiffering: false });
      else {
        held.count += 1;
        if (held.value !== text) held.isDiffering = true;
      }
    }
  }
  const differing = [...params].filter(([, held]) => held.isDiffering || held.count < runs.length).map(([key]) => key);
  const common = [...metrics].sort((a, b) => b[1] - a[1]).map(([key]) => key);
  return { params: [...params.keys()], differing, metrics: common };
}

const MOST_METRICS = 5;
const MOST_PARAMS = 16;

/** The columns where nobody chose any. @param {Keys} keys @param {Run[]} runs @returns {Column[]} */
export function usualColumns(keys, runs) {
  const hosts = new Set(runs.map((run) => run.host));
  const facts = FACTS.filter((column) =>
    column.id === "host" ? hosts.size > 1 : column.id === "notes" ? runs.some((run) => column.value(run)) : column.id !== "folder");
  const isBehind = (/** @type {Column} */ column) => ["step", "host", "notes"].includes(column.id);
  return [
    ...facts.filter((column) => !isBehind(column)),
    ...keys.metrics.slice(0, MOST_METRICS).map(metricColumn),
    ...keys.differing.slice(0, MOST_PARAMS).map(paramColumn),
    ...facts.filter(isBehind),
  ];
}

/** The mean of what a group has under a column, of the finite numbers; else the value that all of it share. @param {Column} column @param {Run[]} runs @param {number} now */
export function groupText(column, runs, now) {
  if (column.kind === "metric") {
    const numbers = runs.map((run) => asNumber(/** @type {any} */ (column.value(run)))).filter((value) => value !== null && Number.isFinite(value));
    return numbers.length ? valueText(/** @type {number[]} */ (numbers).reduce((sum, value) => sum + value, 0) / numbers.length, 4) : "";
  }
  if (column.id !== "host" && column.kind !== "param") return "";
  const first = column.text(runs[0], now);
  return runs.every((run) => column.text(run, now) === first) ? first : "…";
}
