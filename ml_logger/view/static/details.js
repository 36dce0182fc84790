// @ts-check
/** Runs whole (`api/run`): asked for when a view needs them, kept by their version, asked again as they change. */

/** @typedef {import("./runs.js").Run} Run */
/** @typedef {import("./steps.js").Media} Media */
/**
 * @typedef {Run & {sections: Record<string, unknown>, keys: {key: string, points: number, first_step: number | null, last_step: number | null}[],
 *   events: Record<string, any>[], attempts: number, bad_lines: number, media: Media[], histograms: string[], texts: string[], readme: boolean}} Whole
 */
/** @typedef {import("./api.js").Trouble} Trouble */

const EVERY_MS = 1500; // a run that logs all the time is asked for no more often
const LONGEST_WAIT_MS = 20_000;
const MOST_AT_ONCE = 6;
const MOST_KEPT = 300;

/** What every view has seen, by path. @type {Map<string, {version: number, whole: Whole}>} */
const known = new Map();

/** The runs that a view looks at, whole, for as long as it is mounted. */
export class Details {
  /**
   * @param {import("./views.js").Context} ctx
   * @param {() => Run[]} wanted the runs to look at, asked again at each change
   * @param {() => void} changed called when there is news, never while this is made
   */
  constructor(ctx, wanted, changed) {
    this.ctx = ctx;
    this.wanted = wanted;
    this.changed = changed;
    /** @type {Map<string, Trouble>} */
    this.troubles = new Map();
    this.isAtWork = false;
    this.failures = 0;
    ctx.on("picks", () => this.refresh());
    queueMicrotask(() => this.refresh());
  }

  /** Those that are known, in their order. @returns {Whole[]} */
  list() {
    return this.wanted().flatMap((run) => known.get(run.path)?.whole ?? []);
  }

  /** Whether an answer is still waited for before anything can be said of all runs. */
  get isLoading() {
    return this.wanted().some((run) => !known.has(run.path) && !this.troubles.has(run.path)) || !this.ctx.runs.isKnown;
  }

  /** What went wrong, if nothing is known at all. @returns {Trouble | null} */
  get trouble() {
    return this.list().length ? null : ([...this.troubles.values()][0] ?? null);
  }

  /** Ask for what has changed; also to be called when other runs are wanted. */
  refresh() {
    this.changed();
    if (!this.isAtWork) void this.#work();
  }

  async #work() {
    this.isAtWork = true;
    for (let stale = this.#stale(); stale.length && !this.ctx.signal.aborted; stale = this.#stale()) {
      const went = await this.#askAll(stale);
      if (this.ctx.signal.aborted) break;
      this.failures = went ? 0 : this.failures + 1;
      this.changed();
      await pause(Math.min(LONGEST_WAIT_MS, EVERY_MS * 2 ** this.failures), this.ctx.signal);
    }
    this.isAtWork = false;
  }

  #stale() {
    return this.wanted().filter((run) => known.get(run.path)?.version !== run.version);
  }

  /** @param {Run[]} runs @returns {Promise<boolean>} whether all went well */
  async #askAll(runs) {
    const waiting = [...runs];
    const ask = async () => {
      let isWell = true;
      for (let run = waiting.shift(); run && !this.ctx.signal.aborted; run = waiting.shift()) isWell = (await this.#ask(run)) && isWell;
      return isWell;
    };
    return (await Promise.all(Array.from({ length: MOST_AT_ONCE }, ask))).every(Boolean);
  }

  /** @param {Run} run */
  async #ask(run) {
    /** @type {import("./api.js").Result<Whole>} */
    const { value, trouble } = await this.ctx.api.getJson("view/api/run", { run: run.path }, this.ctx.signal);
    if (trouble) {
      this.troubles.set(run.path, trouble);
      if (trouble.kind === "missing") known.delete(run.path);
      return false;
    }
    this.troubles.delete(run.path);
    known.delete(run.path); // so that the map begins with what was asked for the longest ago
    known.set(run.path, { version: run.version, whole: { ...value, id: run.id } });
    if (known.size > MOST_KEPT) known.delete([...known.keys()][0]);
    return true;
  }
}

/** @param {number} ms @param {AbortSignal} signal @returns {Promise<void>} */
function pause(ms, signal) {
  return new Promise((done) => {
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), done()), { once: true });
  });
}
