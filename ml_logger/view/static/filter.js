// @ts-check
/**
 * What one types to see fewer runs. Words must all be somewhere in a run: its path, state, host, tags, note, or a param as
 * `key=value`; `-word` must not. `lr>0.001`, `loss<=0.2`, `seed=3`, `state!=failed` compare. `/…/` is a regular expression over the same
 * text, one line each. Case does not matter.
 */

import { asNumber, valueText } from "./format.js";

/** @typedef {import("./runs.js").Run} Run */
/** @typedef {{test: (run: Run) => boolean, error: string}} Filter  `error` is why the text can't be read; all runs pass then */

const OPERATORS = /^([^<>=!]+)(<=|>=|!=|<|>|=)(.+)$/;

/** @param {string} text @returns {Filter} */
export function filterOf(text) {
  const query = text.trim();
  if (query.startsWith("/")) return regexFilter(query);
  const tests = wordsOf(query).map(testOf);
  return { test: (run) => tests.every((test) => test(run)), error: "" };
}

/** @param {string} query @returns {Filter} */
function regexFilter(query) {
  const [, source = "", flags = ""] = /^\/(.*?)(?:\/([a-z]*))?$/s.exec(query) ?? [];
  try {
    const regex = new RegExp(source, [...new Set(`im${flags.replace(/[gy]/g, "")}`)].join(""));
    return { test: (run) => regex.test(linesOf(run)), error: "" };
  } catch (error) {
    return { test: () => true, error: error instanceof Error ? error.message : String(error) };
  }
}

/** Words, and what stands in quotes as one. @param {string} query @returns {string[]} */
const wordsOf = (query) => [...query.matchAll(/(-?)"([^"]*)"?|(\S+)/g)].map((found) => found[3] ?? found[1] + found[2]).filter((word) => word && word !== "-");

/** @param {string} word @returns {(run: Run) => boolean} */
function testOf(word) {
  if (word.startsWith("-")) {
    const test = testOf(word.slice(1));
    return (run) => !test(run);
  }
  const part = word.toLowerCase();
  const [, name, operator, wanted] = OPERATORS.exec(word) ?? [];
  // a run may well be called lr=0.1
  return (run) => (operator ? isComparing(run, name, operator, wanted) : false) || (operator !== "!=" && textOf(run).includes(part));
}

/** @param {Run} run @param {string} name @param {string} operator @param {string} wanted */
function isComparing(run, name, operator, wanted) {
  const values = valuesOf(run, name);
  if (operator === "!=") return !values.some((value) => isEqual(value, wanted));
  return values.some((value) => (operator === "=" ? isEqual(value, wanted) : isOrdered(value, operator, wanted)));
}

/** @param {unknown} value @param {string} wanted */
function isEqual(value, wanted) {
  const text = valueText(/** @type {any} */ (value), 17).toLowerCase();
  return text === wanted.toLowerCase() || (typeof value === "number" && value === Number(wanted));
}

/** @param {unknown} value @param {string} operator @param {string} wanted */
function isOrdered(value, operator, wanted) {
  const [number, bound] = [asNumber(/** @type {any} */ (value)), Number(wanted)];
  if (number === null) return false;
  if (operator === "<") return number < bound;
  if (operator === ">") return number > bound;
  return operator === "<=" ? number <= bound : number >= bound;
}

/** What a run has under a name: one of its facts, a param or a last value, by the whole key or by its last part. @param {Run} run @param {string} name @returns {unknown[]} */
function valuesOf(run, name) {
  const facts = { state: [run.state], host: [run.host], tag: run.notes.tags, step: [run.step], path: [run.path], pid: [run.pid] };
  if (Object.hasOwn(facts, name)) return facts[/** @type {keyof typeof facts} */ (name)];
  const named = [run.params, run.last].filter((values) => Object.hasOwn(values, name)).map((values) => values[name]);
  if (named.length) return named;
  return [...Object.entries(run.params), ...Object.entries(run.last)].flatMap(([key, value]) => (/[./]/.test(key) && key.split(/[./]/).at(-1) === name ? [value] : []));
}

/** @type {WeakMap<Run, string>} */
const lines = new WeakMap();
/** @type {WeakMap<Run, string>} */
const texts = new WeakMap();

/** @param {Run} run */
function linesOf(run) {
  let text = lines.get(run);
  if (text === undefined) {
    const params = Object.entries(run.params).map(([key, value]) => `${key}=${valueText(value, 17)}`);
    text = [run.path, run.state, run.host, ...run.notes.tags, run.notes.note, ...params].join("\n");
    lines.set(run, text);
  }
  return text;
}

/** @param {Run} run */
function textOf(run) {
  let text = texts.get(run);
  if (text === undefined) texts.set(run, (text = linesOf(run).toLowerCase()));
  return text;
}
