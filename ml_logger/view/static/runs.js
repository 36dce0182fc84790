// @ts-check
/** The runs as the server tells them, kept fresh by asking for what changed since. */

import { poll } from "./api.js";
import { sharedFolder } from "./format.js";
import { shortId } from "./short_id.js";

/** @typedef {"running" | "finished" | "failed" | "killed" | "silent"} RunState */
/** @typedef {{pinned: boolean, tags: string[], note: string}} Notes */
/** @typedef {string | number | boolean | null | object} Value  JSON; a special float is its word: "NaN", "Infinity", "-Infinity"; a whole number past 2**53 its digits */
/**
 * @typedef {{path: string, version: number, state: RunState, heard: number | null, started: number | null, ended: number | null,
 *   host: string | null, pid: number | string | null, records: number, step: number | null, params: Record<string, Value>,
 *   last: Record<string, Value>, notes: Notes, trouble?: string, id: string}} Run  times in seconds since the epoch; `trouble` says why it can't be read; `id` is short, for links
 */
/** @typedef {{version: number, is_whole: boolean, is_scanning: boolean, runs: Run[], gone: string[]}} Changes */

const EVERY_MS = 1000;
const WHILE_SCANNING_MS = 300;

/** Sends `change` with the `Set` of the paths that changed, came or went as its detail, and once when it first knows. */
export class Runs extends EventTarget {
  /** @param {import("./api.js").Api} api */
  constructor(api) {
    super();
    this.api = api;
    this.isKnown = false;
    this.isScanning = true;
    /** What was seen here and is there no more, as it was. @type {Map<string, Run>} */
    this.deleted = new Map();
    /** @type {Map<string, Run>} */
    this.byPath = new Map();
    /** @type {Map<string, Run>} */
    this.byId = new Map();
    /** @type {number | null} */
    this.version = null;
    /** The folders that all runs lie in, which say nothing. */
    this.shared = "";
    this.refresh = () => {};
  }

  /** Begin to ask, until `signal` aborts. @param {AbortSignal} signal */
  start(signal) {
    this.refresh = poll(() => this.#ask(signal), EVERY_MS, signal);
  }

  /** Every run, in no order. @returns {Run[]} */
  all() {
    return [...this.byPath.values()];
  }

  /** @param {string} path */
  get(path) {
    return this.byPath.get(path);
  }

  get size() {
    return this.byPath.size;
  }

  /** Take note of what was just saved, before the server tells. @param {string} path @param {Notes} notes */
  note(path, notes) {
    const run = this.byPath.get(path);
    if (!run) return;
    this.#keep({ ...run, notes });
    this.dispatchEvent(new CustomEvent("change", { detail: new Set([path]) }));
    this.refresh();
  }

  /** @param {AbortSignal} signal */
  async #ask(signal) {
    /** @type {import("./api.js").Result<Changes>} */
    const { value, trouble } = await this.api.getJson("view/api/runs", { since: this.version }, signal);
    if (trouble) return false;
    this.take(value);
    return value.is_scanning ? WHILE_SCANNING_MS : true;
  }

  /** Take in one answer of the server. @param {Changes} changes */
  take(changes) {
    const leaving = this.#leaving(changes);
    const news = changes.runs.filter((run) => this.byPath.get(run.path)?.version !== run.version);
    const touched = new Set([...leaving, ...news.map((run) => run.path)]);
    for (const path of leaving) this.#drop(path);
    for (const run of news) this.#keep(run);
    const isNews = touched.size > 0 || !this.isKnown || this.isScanning !== changes.is_scanning;
    this.isKnown = true;
    this.isScanning = changes.is_scanning;
    this.version = changes.version;
    if (!isNews) return;
    this.shared = sharedFolder(this.byPath.keys());
    this.dispatchEvent(new CustomEvent("change", { detail: touched }));
  }

  /** @param {Changes} changes @returns {string[]} */
  #leaving(changes) {
    const named = new Set(changes.runs.map((run) => run.path));
    const unnamed = changes.is_whole ? [...this.byPath.keys()].filter((path) => !named.has(path)) : [];
    return [...changes.gone.filter((path) => this.byPath.has(path)), ...unnamed];
  }

  /** @param {Run} run */
  #keep(run) {
    run.id = shortId(run.path);
    this.byPath.set(run.path, run);
    this.byId.set(run.id, run);
    this.deleted.delete(run.path);
  }

  /** @param {string} path */
  #drop(path) {
    const run = this.byPath.get(path);
    if (!run) return;
    this.deleted.set(path, run);
    this.byPath.delete(path);
    this.byId.delete(run.id);
  }
}
