// @ts-check
/** Asks for a text's end, then for what comes behind it, for as long as somebody looks. */

import { poll } from "./api.js";

/** @typedef {{text: string, offset: number, end: number, size: number, is_cut: boolean}} Piece  as `api/text` answers */
/** @typedef {{size: number, shownFrom: number, trouble: import("./api.js").Trouble | null}} Told  sizes in bytes */

const EVERY_MS = 1000;

/**
 * Write the end of the text at `path` into `lines`, and go on as it grows; a text that became shorter is shown anew.
 * @param {import("./api.js").Api} api @param {string} path
 * @param {{clear: () => void, write: (text: string) => void}} lines
 * @param {(told: Told) => void} tell called after each answer
 * @param {AbortSignal} signal ends it
 */
export function followLog(api, path, lines, tell, signal) {
  /** @type {number | null} */
  let end = null;
  let shownFrom = 0;
  poll(async () => {
    /** @type {import("./api.js").Result<Piece>} */
    const { value, trouble } = await api.getJson("view/api/text", { path, offset: end }, signal);
    if (signal.aborted) return true;
    if (trouble) {
      tell({ size: end ?? 0, shownFrom, trouble });
      return false;
    }
    if (end !== null && value.size < end) {
      lines.clear();
      end = null;
      return 0;
    }
    if (end === null) shownFrom = value.offset;
    end = value.end;
    if (value.text) lines.write(value.text);
    tell({ size: value.size, shownFrom, trouble: null });
    return value.text && value.end < value.size ? 0 : true;
  }, EVERY_MS, signal);
}
