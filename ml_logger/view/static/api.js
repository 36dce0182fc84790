// @ts-check
/**
 * The server's calls (docs/VIEWER.md), with what goes wrong as a value, and polling that backs off. Everything asks through
 * one `Api`, so that the frame hears of every trouble: the receiver gone, the token wrong.
 */

/** @typedef {"gone" | "denied" | "forbidden" | "missing" | "busy" | "refused"} TroubleKind */
/** @typedef {{kind: TroubleKind, status: number, message: string}} Trouble  `gone`: no answer; `missing`: 404 or 410; `busy`: worth trying again */
/** @template T @typedef {{value: T, trouble: null} | {value: null, trouble: Trouble}} Result */
/** @typedef {Record<string, string | number | boolean | null | undefined | readonly string[]>} Query */

const TIMEOUT_MS = 30_000;
const LONGEST_WAIT_MS = 4000; // so that a server which is back is soon seen

/** Make an URL of the page's own, relative to it. @param {string} call @param {Query} [query] */
export function urlOf(call, query = {}) {
  const pairs = Object.entries(query).flatMap(([name, value]) =>
    value === null || value === undefined ? [] : (Array.isArray(value) ? value : [value]).map((one) => [name, String(one)]));
  const search = new URLSearchParams(pairs).toString();
  return call + (search && `?${search}`);
}

/** The URL of a run's file; with a `version` it is asked for again when that is another. @param {string} path @param {{download?: boolean, version?: string}} [how] */
export const fileUrl = (path, { download = false, version } = {}) =>
  urlOf(`view/files/${path.split("/").map(encodeURIComponent).join("/")}`, { download: download ? 1 : null, v: version });

/** The URL of one of a run's media. @param {import("./steps.js").MediaFile} file */
export const mediaUrl = ({ path, version }) => fileUrl(path, { version });

/** @param {number} status @param {string} message @returns {Trouble} */
function troubleOf(status, message) {
  /** @type {Record<number, TroubleKind>} */
  const kinds = { 0: "gone", 401: "denied", 403: "forbidden", 404: "missing", 410: "missing", 429: "busy", 502: "gone", 503: "busy", 504: "gone" };
  return { kind: kinds[status] ?? "refused", status, message };
}

/** Sends `trouble` with a `Trouble` as its detail for each call without an answer or without the right, and `well` for each answer. */
export class Api extends EventTarget {
  /** @template T @param {string} call @param {Query} [query] @param {AbortSignal} [signal] @returns {Promise<Result<T>>} */
  getJson(call, query, signal) {
    return this.#ask(urlOf(call, query), { signal }, (answer) => answer.json());
  }

  /** @param {string} call @param {Query} [query] @param {AbortSignal} [signal] @returns {Promise<Result<ArrayBuffer>>} */
  getBytes(call, query, signal) {
    return this.#ask(urlOf(call, query), { signal }, (answer) => answer.arrayBuffer());
  }

  /** @template T @param {"POST" | "PUT"} method @param {string} call @param {Query} query @param {unknown} body @returns {Promise<Result<T>>} */
  sendJson(method, call, query, body) {
    return this.#ask(urlOf(call, query), this.#request(method, body), (answer) => answer.status === 204 ? null : answer.json());
  }

  /** Ask with a JSON body for a binary answer. @param {string} call @param {unknown} body @param {AbortSignal} [signal] @returns {Promise<Result<ArrayBuffer>>} */
  postForBytes(call, body, signal) {
    return this.#ask(call, { ...this.#request("POST", body), signal }, (answer) => answer.arrayBuffer());
  }

  /** @param {string} method @param {unknown} body @returns {RequestInit} */
  #request(method, body) {
    // no form of another site can send this header
    return { method, body: JSON.stringify(body), headers: { "Content-Type": "application/json", "X-ML-Logger": "1" } };
  }

  /** @template T @param {string} url @param {RequestInit} init @param {(answer: Response) => Promise<T> | T} read @returns {Promise<Result<T>>} */
  async #ask(url, init, read) {
    const late = AbortSignal.timeout(TIMEOUT_MS);
    const signal = init.signal ? AbortSignal.any([init.signal, late]) : late;
    try {
      const answer = await fetch(url, { ...init, signal });
      if (!answer.ok) return this.#failed(troubleOf(answer.status, await messageOf(answer)));
      const value = await read(answer);
      this.dispatchEvent(new Event("well"));
      return { value, trouble: null };
    } catch {
      if (init.signal?.aborted) return { value: null, trouble: troubleOf(-1, "no longer wanted") };
      return this.#failed(troubleOf(0, late.aborted ? "no answer in time" : "no answer"));
    }
  }

  /** @param {Trouble} trouble @returns {{value: null, trouble: Trouble}} */
  #failed(trouble) {
    const told = trouble.kind === "gone" || trouble.kind === "denied" ? "trouble" : "well";
    this.dispatchEvent(new CustomEvent(told, { detail: trouble }));
    return { value: null, trouble };
  }
}

/** @param {Response} answer */
async function messageOf(answer) {
  const text = await answer.text();
  try {
    return String(JSON.parse(text).error ?? text);
  } catch {
    return text.slice(0, 200) || answer.statusText;
  }
}

/**
 * Call `task` again and again until `signal` aborts: `everyMs` after an answer, ever later while it fails, not at all while
 * nobody sees the page, and at once when somebody does. `task` returns whether it went well, or how many ms to wait.
 * @param {() => Promise<boolean | number>} task @param {number} everyMs @param {AbortSignal} signal
 * @returns {() => void} what makes it call now
 */
export function poll(task, everyMs, signal) {
  let failures = 0;
  let wake = () => {};
  let isWanted = false; // also while it is being called: what that answers may be old
  const ring = () => {
    isWanted = true;
    wake();
  };
  /** @param {number} ms */
  const rest = (ms) => (isWanted ? undefined : pause(ms, (now) => (wake = now)));
  const turn = async () => {
    while (!signal.aborted) {
      isWanted = false;
      const well = await task();
      failures = well === false ? failures + 1 : 0;
      await rest(typeof well === "number" ? well : waitMs(everyMs, failures));
      if (document.hidden) await rest(Infinity);
    }
  };
  for (const event of ["visibilitychange", "online"]) {
    const target = event === "online" ? window : document;
    target.addEventListener(event, () => !document.hidden && ring(), { signal });
  }
  signal.addEventListener("abort", ring);
  void turn();
  return ring;
}

/** @param {number} everyMs @param {number} failures */
const waitMs = (everyMs, failures) => (failures ? Math.min(LONGEST_WAIT_MS, everyMs * 2 ** (failures - 1)) * (0.75 + Math.random() / 2) : everyMs);

/** Wait, or until what is given to `offer` is called. @param {number} ms @param {(now: () => void) => void} offer */
const pause = (ms, offer) =>
  new Promise((done) => {
    const timer = ms === Infinity ? 0 : setTimeout(done, ms);
    offer(() => {
      clearTimeout(timer);
      done(undefined);
    });
  });
