// @ts-check
/**
 * Bands over seeds: runs whose params are the same but for the seed are drawn as one curve with what they span. Pure.
 */
import { firstFrom } from "./buckets.js";

/** @typedef {Record<string, unknown>} Params */
/** @typedef {{path: string, params: Params}} Seeded */
/** @typedef {{name: string, members: string[]}} Group  `members` are paths of runs; of one run that is alone it's its own. */
/** @typedef {{index: Int32Array, x: Float64Array, y: Float32Array | Float64Array}} Line  A curve on the shared grid; NaN is a gap. */
/**
 * @typedef {object} Band
 * @property {Int32Array} index
 * @property {Float64Array} x  where one of the runs has its point
 * @property {Float64Array} mean
 * @property {Float64Array} low
 * @property {Float64Array} high
 * @property {Uint16Array} members  how many runs are in each bucket
 */

const SEED = /(?:^|[._-])(?:random_?)?seed$/i;

/**
 * Whether a param is a seed by its name: `seed`, `train.seed`, `random_seed`, `np-seed`.
 * @param {string} name
 */
export const isSeed = (name) => SEED.test(name);

/**
 * Return the runs grouped by all params but the seed, in the order of their first runs. A run without a seed stays alone.
 * @param {Seeded[]} runs
 * @returns {Group[]}
 */
export function groupedBySeed(runs) {
  /** @type {Map<string, Seeded[]>} */
  const groups = new Map();
  for (const run of runs) {
    const identity = identityOf(run);
    groups.set(identity, [...(groups.get(identity) ?? []), run]);
  }
  const all = [...groups.values()];
  const telling = differingParams(all.map((members) => members[0].params));
  return all.map((members) => ({ name: nameOf(members, telling), members: members.map((run) => run.path) }));
}

/** @param {Seeded} run */
function identityOf({ path, params }) {
  const names = Object.keys(params).sort();
  if (!names.some(isSeed)) return `run ${path}`;
  return JSON.stringify(names.filter((name) => !isSeed(name)).map((name) => [name, params[name]]));
}

/**
 * Return the names of the params that are not the same in all of `params`, seeds left out.
 * @param {Params[]} params
 * @returns {string[]}
 */
function differingParams(params) {
  const names = new Set(params.flatMap((one) => Object.keys(one)));
  const spelled = (/** @type {Params} */ one, /** @type {string} */ name) => JSON.stringify((Object.hasOwn(one, name) && one[name]) ?? null);
  return [...names].filter((name) => !isSeed(name) && new Set(params.map((one) => spelled(one, name))).size > 1);
}

/**
 * @param {Seeded[]} members
 * @param {string[]} telling
 */
function nameOf(members, telling) {
  const [first] = members;
  if (members.length === 1) return first.path;
  const values = telling.filter((name) => Object.hasOwn(first.params, name)).map((name) => `${lastPart(name)}=${first.params[name]}`);
  return `${values.join(" ") || first.path} · ${members.length} seeds`;
}

/** @param {string} name */
const lastPart = (name) => name.slice(name.lastIndexOf(".") + 1);

/**
 * Return the mean of some curves, and around it what they span (`range`) or one standard deviation (`std`). A curve that has no
 * point in a bucket counts there with what lies on the way between its neighbours; before its start and behind its end it doesn't.
 * @param {Line[]} lines
 * @param {"range" | "std"} kind
 * @returns {Band}
 */
export function bandOver(lines, kind) {
  const places = new Map(lines.flatMap(({ index, x }) => Array.from(index, (i, n) => /** @type {[number, number]} */ ([i, x[n]]))));
  const index = Int32Array.from(places.keys()).sort();
  const x = Float64Array.from(index, (i) => /** @type {number} */ (places.get(i)));
  const [mean, low, high] = [0, 0, 0].map(() => new Float64Array(index.length));
  const members = new Uint16Array(index.length);
  const finite = lines.map(onlyFinite);
  for (let i = 0; i < index.length; i++) {
    const values = finite.map((line) => valueAt(line, index[i])).filter((value) => !Number.isNaN(value));
    members[i] = values.length;
    [mean[i], low[i], high[i]] = summary(values, kind);
  }
  return { index, x, mean, low, high, members };
}

/** @typedef {{index: number[], y: number[]}} Points */

/** @param {Line} line @returns {Points} */
function onlyFinite({ index, y }) {
  const kept = Array.from(index, (_, i) => i).filter((i) => Number.isFinite(y[i]));
  return { index: kept.map((i) => index[i]), y: kept.map((i) => y[i]) };
}

/** @param {Points} points @param {number} where @returns {number} NaN before the first and behind the last */
function valueAt({ index, y }, where) {
  const right = firstFrom(index, where);
  if (right === index.length) return NaN;
  if (index[right] === where) return y[right];
  if (right === 0) return NaN;
  const share = (where - index[right - 1]) / (index[right] - index[right - 1]);
  return y[right - 1] + share * (y[right] - y[right - 1]);
}

/**
 * Return mean, lower and upper edge.
 * @param {number[]} values
 * @param {"range" | "std"} kind
 * @returns {[number, number, number]}
 */
function summary(values, kind) {
  if (!values.length) return [NaN, NaN, NaN];
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  if (kind === "range") return [mean, Math.min(...values), Math.max(...values)];
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  const deviation = values.length > 1 ? Math.sqrt(squares / (values.length - 1)) : 0;
  return [mean, mean - deviation, mean + deviation];
}
