// @ts-check
/** Which charts there are: one a metric, in groups by the part of its name before the first `/`, the pinned ones before all. Pure. */

import { oneLine } from "./dom.js";

/** @typedef {{id: string, title: string, keys: string[]}} ChartSpec */
/** @typedef {{name: string, charts: ChartSpec[]}} Group */

export const PINNED = "Pinned";
export const UNGROUPED = "Metrics";
const NAMELESS = "(no name)";

/**
 * Return the groups, sorted by name, those without a group first; pinned charts come in a group of their own before them.
 * @param {Iterable<string>} keys
 * @param {ChartSpec[]} pinned
 * @returns {Group[]}
 */
export function grouped(keys, pinned) {
  /** @type {Map<string, ChartSpec[]>} */
  const groups = new Map();
  for (const key of [...new Set(keys)].sort(byName)) {
    const name = groupOf(key);
    groups.set(name, [...(groups.get(name) ?? []), { id: key, title: oneLine(key) || NAMELESS, keys: [key] }]);
  }
  const sorted = [...groups].map(([name, charts]) => ({ name, charts })).sort((a, b) => rank(a) - rank(b) || byName(a.name, b.name));
  return pinned.length ? [{ name: PINNED, charts: pinned }, ...sorted] : sorted;
}

/** @param {string} key */
function groupOf(key) {
  const end = key.indexOf("/");
  return end > 0 ? key.slice(0, end) : UNGROUPED;
}

/** @param {Group} group */
const rank = ({ name }) => (name === UNGROUPED ? 0 : 1);

/** Numbers in names by their size: `layer2` before `layer10`. */
const byName = new Intl.Collator("en", { numeric: true }).compare;

/**
 * Return the groups with only those charts of which a key matches `filter`: all its words, or a regular expression between slashes.
 * @param {Group[]} groups
 * @param {string} filter
 * @returns {Group[]}
 */
export function filtered(groups, filter) {
  const matches = matcher(filter);
  return groups
    .map(({ name, charts }) => ({ name, charts: charts.filter((chart) => chart.keys.some(matches)) }))
    .filter(({ charts }) => charts.length);
}

/** @param {string} filter @returns {(text: string) => boolean} */
function matcher(filter) {
  const pattern = /^\/(.+?)\/?$/.exec(filter.trim())?.[1];
  if (pattern) {
    const expression = maybeExpression(pattern);
    if (expression) return (text) => expression.test(text);
  }
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  return (text) => words.every((word) => text.toLowerCase().includes(word));
}

/** Return null for one that is not finished yet. @param {string} pattern */
function maybeExpression(pattern) {
  try {
    return new RegExp(pattern, "i");
  } catch {
    return null;
  }
}

/**
 * Return the charts that a `.charts.yml` names: by a key, or by `key` or `keys` (in old files `yKey`, `yKeys`) and maybe a `title`.
 * What is no chart of curves is left out.
 * @param {unknown} charts
 * @returns {ChartSpec[]}
 */
export function pinnedCharts(charts) {
  return (Array.isArray(charts) ? charts : []).flatMap((chart) => {
    const { key, keys, yKey, yKeys, title } = typeof chart === "string" ? { key: chart } : (chart ?? {});
    const all = [key ?? keys ?? yKey ?? yKeys].flat().filter((one) => typeof one === "string" && one);
    return all.length ? [{ id: `pinned ${all.join(", ")}`, title: typeof title === "string" ? title : all.join(", "), keys: all }] : [];
  });
}
