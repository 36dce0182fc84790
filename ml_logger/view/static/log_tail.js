// @ts-check
/** Asks for a text's end, then for what comes behind it, for as long as somebody looks. */

import { poll } from "./api.js";

/** @typedef {{text: string, offset: number, end: number, size: number, is_cut: boolean, is_other: boolean, mark: string}} Piece  as `api/text` answers */
/** @typedef {{clear: () => void, write: (text: string) => void, mostLines: number}} Lines */
/** @typedef {{size: number, shownFrom: number, trouble: import("./api.js").Trouble | null}} Told  sizes in bytes */

const EVERY_MS = 1000;
const MOST_BYTES = 8 << 20; // further back nothing is asked for, however long the lines are

/**
 * Write the end of the text at `path` into `lines`, and go on as it grows; where another text is in its place, that is shown from its beginning on.
 * @param {import("./api.js").Api} api @param {string} path
 * @param {Lines} lines
 * @param {(told: Told) => void} tell called after each answer
 * @param {AbortSignal} signal ends it
 */
export function followLog(api, path, lines, tell, signal) {
  /** @type {number | null} */
  let end = null;
  /** What tells the text that is shown from another. @type {string | null} */
  let mark = null;
  let shownFrom = 0;
  let isWithinLine = false;
  poll(async () => {
    /** @type {import("./api.js").Result<Piece>} */
    const { value, trouble } = await api.getJson("view/api/text", { path, offset: end, mark }, signal);
    if (signal.aborted) return true;
    if (trouble) {
      tell({ size: end ?? 0, shownFrom, trouble });
      return false;
    }
    if (value.is_other) {
      lines.clear();
      end = mark = null;
      return 0;
    }
    if (end === null) {
      // The first answer is of the last lines; where it has fewer than are kept, it tells how far back to begin.
      const begin = beginOf(value, lines.mostLines);
      shownFrom = begin;
      end = begin;
      isWithinLine = begin > 0 && begin < value.offset;
      if (begin < value.offset) return 0;
    }
    end = value.end;
    mark = value.mark;
    if (value.text) lines.write(isWithinLine ? value.text.slice(value.text.indexOf("\n") + 1) : value.text);
    isWithinLine = false;
    tell({ size: value.size, shownFrom, trouble: null });
    return value.text && value.end < value.size ? 0 : true;
  }, EVERY_MS, signal);
}

/** Where to begin so that about `mostLines` lines come, in bytes. @param {Piece} piece the last of the text @param {number} mostLines */
function beginOf({ text, offset, end }, mostLines) {
  const lines = text.split("\n").length;
  const bytesALine = (end - offset) / lines;
  if (lines >= mostLines) return offset;
  return Math.max(0, Math.floor(end - Math.min(MOST_BYTES, mostLines * bytesALine * 1.1)));
}
