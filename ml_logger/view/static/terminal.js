// @ts-check
/**
 * What a terminal would show of a log: colours and styles by their escape codes, and of what overwrites itself (progress
 * bars, by `\r` or by going up a line) only the last state. Pure: text in, lines of styled spans out.
 *
 * Codes are those of ECMA-48 and xterm. What a log can't mean (clearing the screen, titles, links, modes) is left out.
 */

/**
 * @typedef {object} Style  Colours are a number of the palette (0 to 15), "#rrggbb", or null for the page's own.
 * @property {number | string | null} fg
 * @property {number | string | null} bg
 * @property {boolean} bold
 * @property {boolean} dim
 * @property {boolean} italic
 * @property {boolean} underline
 * @property {boolean} inverse
 * @property {boolean} strike
 */
/** @typedef {{text: string, style: Style}} Span */
/** @typedef {Span[]} Line */

/** @type {Readonly<Style>} */
export const PLAIN = Object.freeze({
  fg: null, bg: null, bold: false, dim: false, italic: false, underline: false, inverse: false, strike: false,
});

const MOST_COLUMNS = 20_000; // what stands behind is dropped: one line may be a file of a gigabyte
const MOST_ROWS_UP = 100; // no screen is higher, so nothing overwrites what lies further back
const MOST_ESCAPE = 4096; // an escape that is longer is none

// In order: CSI codes, OSC and its like up to their end, two-letter escapes, characters that move the cursor, text, and the rest.
const TOKEN = /\x1b\[([0-?]*)[ -/]*([@-~])|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-OQ-WYZ\\`-~]|[\r\n\b]|([^\x00-\x08\x0a-\x1f\x7f-\x9f]+)|[^]/g;
const UNFINISHED = /\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b]*\x1b?|[ -/]*)?$/;

/** The last lines of a log as a terminal shows them; `write` takes what comes, in pieces of any size. */
export class Terminal {
  /** @param {number} mostLines how many lines are kept */
  constructor(mostLines) {
    this.mostLines = mostLines;
    /** @type {Line[]} */
    this.lines = [[]];
    this.dropped = 0; // lines that are no longer kept
    this.row = 0;
    this.column = 0;
    /** @type {Style} */
    this.style = PLAIN;
    this.pending = "";
  }

  /**
   * Show `text` and return the first line that it changed, counted from the first line ever.
   * @param {string} text
   * @returns {number}
   */
  write(text) {
    const whole = this.pending + text;
    const tail = UNFINISHED.exec(whole.slice(-MOST_ESCAPE));
    this.pending = tail ? tail[0] : "";
    let first = this.dropped + this.row;
    for (const token of whole.slice(0, whole.length - this.pending.length).matchAll(TOKEN)) {
      this.#take(token);
      first = Math.min(first, this.dropped + this.row);
    }
    this.#forget();
    return Math.max(first, this.dropped);
  }

  /** @param {RegExpMatchArray} token */
  #take(token) {
    const [all, parameters, code, text] = token;
    if (code !== undefined) this.#obey(code, parameters);
    else if (text !== undefined) this.#put(text);
    else if (all === "\n") this.#moveTo(this.row + 1, 0);
    else if (all === "\r") this.column = 0;
    else if (all === "\b") this.column = Math.max(0, this.column - 1);
  }

  /** @param {string} code @param {string} parameters */
  #obey(code, parameters) {
    const count = Math.max(1, parseInt(parameters, 10) || 0);
    if (code === "m") this.style = restyled(this.style, parameters);
    else if (code === "K") this.#erase(parseInt(parameters, 10) || 0);
    else if (code === "A" || code === "F") this.#moveTo(this.row - Math.min(count, MOST_ROWS_UP), code === "F" ? 0 : this.column);
    else if (code === "B" || code === "E") this.#moveTo(Math.min(this.row + count, this.lines.length - 1), code === "E" ? 0 : this.column);
    else if (code === "C") this.column = Math.min(this.column + count, MOST_COLUMNS);
    else if (code === "D") this.column = Math.max(this.column - count, 0);
    else if (code === "G") this.column = Math.min(count - 1, MOST_COLUMNS);
  }

  /** @param {number} row @param {number} column */
  #moveTo(row, column) {
    this.row = Math.max(0, row);
    this.column = column;
    if (this.row === this.lines.length) this.lines.push([]);
    if (this.lines.length > 2 * this.mostLines) this.#forget();
  }

  /** @param {string} text */
  #put(text) {
    const shown = text.slice(0, Math.max(0, MOST_COLUMNS - this.column));
    if (shown) this.lines[this.row] = overwritten(this.lines[this.row], this.column, { text: shown, style: this.style });
    this.column += shown.length;
  }

  /** @param {number} which 0 what is behind the cursor, 1 what is before it, 2 all of the line */
  #erase(which) {
    const line = this.lines[this.row];
    if (which === 0) this.lines[this.row] = cut(line, 0, this.column);
    else if (which === 1) this.lines[this.row] = overwritten(line, 0, { text: " ".repeat(this.column), style: PLAIN });
    else if (which === 2) this.lines[this.row] = [];
  }

  #forget() {
    const excess = Math.min(this.lines.length - this.mostLines, this.row);
    if (excess <= 0) return;
    this.lines.splice(0, excess);
    this.row -= excess;
    this.dropped += excess;
  }
}

/**
 * Return `line` with `span` written over it from `column` on, spaces up to there where it was shorter.
 * @param {Line} line @param {number} column @param {Span} span
 * @returns {Line}
 */
function overwritten(line, column, span) {
  const length = line.reduce((sum, one) => sum + one.text.length, 0);
  if (column === length) return joined(line, span);
  const gap = column > length ? [{ text: " ".repeat(column - length), style: PLAIN }] : [];
  return [...gap, span, ...cut(line, column + span.text.length, Infinity)].reduce(joined, cut(line, 0, column));
}

/** @param {Line} line @param {Span} span @returns {Line} */
function joined(line, span) {
  const last = line[line.length - 1];
  if (!last || last.style !== span.style) return [...line, span];
  return [...line.slice(0, -1), { text: last.text + span.text, style: last.style }];
}

/** @param {Line} line @param {number} from @param {number} to @returns {Line} */
function cut(line, from, to) {
  const kept = [];
  let start = 0;
  for (const { text, style } of line) {
    const piece = text.slice(Math.max(0, from - start), Math.max(0, to - start));
    if (piece) kept.push({ text: piece, style });
    start += text.length;
  }
  return kept;
}

/** @type {Record<number, Partial<Style>>} */
const CHANGES = {
  0: PLAIN,
  1: { bold: true }, 2: { dim: true }, 3: { italic: true }, 4: { underline: true }, 7: { inverse: true }, 9: { strike: true },
  21: { underline: true }, 22: { bold: false, dim: false }, 23: { italic: false }, 24: { underline: false },
  27: { inverse: false }, 29: { strike: false }, 39: { fg: null }, 49: { bg: null },
};

/**
 * Return `style` as the parameters of a code `m` (select graphic rendition) change it.
 * @param {Style} style @param {string} parameters such as "1;38;5;208"
 * @returns {Style}
 */
export function restyled(style, parameters) {
  const fields = parameters.split(";");
  let changed = style;
  for (let i = 0; i < fields.length; i++) {
    const code = parseInt(fields[i], 10) || 0;
    if (code !== 38 && code !== 48) {
      changed = { ...changed, ...changeOf(code) };
      continue;
    }
    const isJoined = fields[i].includes(":");
    const [colour, used] = extendedColour(isJoined ? fields[i].split(":").slice(1) : fields.slice(i + 1), isJoined);
    i += isJoined ? 0 : used;
    if (colour !== null) changed = { ...changed, [code === 38 ? "fg" : "bg"]: colour };
  }
  return changed;
}

/** @param {number} code @returns {Partial<Style>} */
function changeOf(code) {
  if (code >= 30 && code <= 37) return { fg: code - 30 };
  if (code >= 40 && code <= 47) return { bg: code - 40 };
  if (code >= 90 && code <= 97) return { fg: code - 90 + 8 };
  if (code >= 100 && code <= 107) return { bg: code - 100 + 8 };
  return CHANGES[code] ?? {};
}

/**
 * Return the colour that stands behind 38 or 48, and how many fields it took; null if it is none.
 * @param {string[]} fields @param {boolean} isJoined by colons, where a colour space stands before red
 * @returns {[number | string | null, number]}
 */
function extendedColour(fields, isJoined) {
  if (fields[0] === "5") return [paletteColour(parseInt(fields[1], 10)), 2];
  if (fields[0] !== "2") return [null, 1];
  const rgb = fields.slice(isJoined && fields.length > 4 ? 2 : 1).slice(0, 3).map((field) => parseInt(field || "0", 10));
  return [rgb.length === 3 && rgb.every((value) => value >= 0 && value <= 255) ? hex(rgb) : null, 4];
}

/**
 * Return colour `index` of xterm's 256: the first 16 are the theme's and stay numbers, then a cube of 6×6×6, then greys.
 * @param {number} index
 * @returns {number | string | null}
 */
export function paletteColour(index) {
  if (!(index >= 0 && index <= 255)) return null;
  if (index < 16) return index;
  if (index >= 232) return hex([0, 0, 0].map(() => 8 + 10 * (index - 232)));
  const levels = [0, 95, 135, 175, 215, 255];
  const cube = index - 16;
  return hex([levels[Math.floor(cube / 36)], levels[Math.floor(cube / 6) % 6], levels[cube % 6]]);
}

/** @param {number[]} rgb @returns {string} */
function hex(rgb) {
  return "#" + rgb.map((value) => value.toString(16).padStart(2, "0")).join("");
}

/** @param {Line} line @returns {string} */
export function plainText(line) {
  return line.map((span) => span.text).join("");
}
