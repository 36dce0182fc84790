// @ts-check
/**
 * Lines of a log on the page: the last 10,000, in blocks of some hundred, so that the browser lays out only what is seen. Follows
 * the end until one scrolls up, and finds text without touching the lines.
 */

import { el, visible } from "./dom.js";
import { PLAIN, plainText, Terminal } from "./terminal.js";

/** @typedef {import("./terminal.js").Line} Line */
/** @typedef {import("./terminal.js").Style} Style */

export const MOST_LINES = 10_000;
const BLOCK_LINES = 200;
const MOST_HITS = 5000;
const END_PX = 30; // so near to the end is at the end

export class LogLines {
  /** @param {() => void} changed called when what is followed, unseen or found has changed */
  constructor(changed) {
    this.changed = changed;
    this.mostLines = MOST_LINES;
    this.element = el("div", { class: "log moves-itself", tabindex: 0, role: "log", "aria-label": "Text", "aria-live": "off" });
    this.element.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.query = "";
    this.terminal = new Terminal(MOST_LINES + 1); // and the empty one behind the last
    /** @type {HTMLElement[]} */
    this.rows = [];
    this.isFollowing = true;
    this.unseen = 0; // lines that came while nobody was at the end
    /** Where the query stands. @type {Range[]} */
    this.ranges = [];
    this.current = 0;
    new ResizeObserver(() => this.isFollowing && this.#toEnd()).observe(this.element);
  }

  /** Begin anew. */
  clear() {
    this.terminal = new Terminal(MOST_LINES + 1); // and the empty one behind the last
    this.rows = [];
    this.isFollowing = true;
    this.unseen = 0;
    this.ranges = [];
    this.current = 0;
    this.element.replaceChildren();
    this.#mark();
  }

  /** How many lines are shown; an empty last one is none. */
  get count() {
    const { lines } = this.terminal;
    return lines.length - (lines[lines.length - 1].length ? 0 : 1);
  }

  get dropped() {
    return this.terminal.dropped;
  }

  get hits() {
    return this.ranges.length;
  }

  /** @param {string} text */
  write(text) {
    const before = this.terminal.dropped + this.count;
    const droppedBefore = this.terminal.dropped;
    const first = this.terminal.write(text);
    this.#dropRows(this.terminal.dropped - droppedBefore);
    for (let i = first - this.terminal.dropped; i < this.count; i++) this.#showRow(i);
    for (const row of this.rows.splice(this.count)) row.remove();
    if (this.isFollowing) this.#toEnd();
    else this.unseen += Math.max(0, this.terminal.dropped + this.count - before);
    if (this.query) this.#find();
    this.changed();
  }

  /** @param {number} count */
  #dropRows(count) {
    for (const row of this.rows.splice(0, count)) {
      const block = row.parentElement;
      row.remove();
      if (block && !block.childElementCount) block.remove();
    }
  }

  /** @param {number} i */
  #showRow(i) {
    const spans = this.terminal.lines[i].map((span) => (span.style === PLAIN ? span.text : styledSpan(span.text, span.style)));
    const row = this.rows[i] ?? this.#addRow();
    row.replaceChildren(...spans);
  }

  #addRow() {
    let block = this.element.lastElementChild;
    if (!block || block.childElementCount >= BLOCK_LINES) {
      block = el("div", { class: "log-block" });
      this.element.append(block);
    }
    const row = el("div", { class: "log-line" });
    block.append(row);
    this.rows.push(row);
    return row;
  }

  /** Go to the end, and stay there. */
  follow() {
    this.isFollowing = true;
    this.unseen = 0;
    this.#toEnd();
    this.changed();
  }

  #toEnd() {
    this.element.scrollTop = this.element.scrollHeight;
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.element;
    const isAtEnd = scrollTop + clientHeight >= scrollHeight - END_PX;
    if (isAtEnd === this.isFollowing) return;
    this.isFollowing = isAtEnd;
    this.unseen = 0;
    this.changed();
  }

  /** Mark every place where `query` stands, in any case, and go to the last. @param {string} query */
  search(query) {
    if (query === this.query) return;
    this.query = query;
    this.#find();
    this.current = Math.max(0, this.ranges.length - 1);
    this.#mark();
    this.#showHit();
  }

  /** @param {number} by */
  nextHit(by) {
    if (!this.ranges.length) return;
    this.current = (this.current + by + this.ranges.length) % this.ranges.length;
    this.#mark();
    this.#showHit();
    this.changed();
  }

  #showHit() {
    const row = this.ranges[this.current]?.startContainer.parentElement?.closest(".log-line");
    row?.scrollIntoView({ block: "center" });
  }

  #find() {
    this.ranges = [];
    const query = this.query.toLowerCase();
    if (query)
      for (let i = 0; i < this.rows.length && this.ranges.length < MOST_HITS; i++) {
        const text = visible(plainText(this.terminal.lines[i])).toLowerCase();
        for (let at = text.indexOf(query); at >= 0; at = text.indexOf(query, at + query.length)) this.ranges.push(rangeIn(this.rows[i], at, at + query.length));
      }
    this.current = Math.min(this.current, Math.max(0, this.ranges.length - 1));
    this.#mark();
  }

  #mark() {
    if (!("highlights" in CSS)) return;
    CSS.highlights.set("log-hit", new Highlight(...this.ranges));
    CSS.highlights.set("log-current", new Highlight(...this.ranges.slice(this.current, this.current + 1)));
  }
}

/** A range over some characters of a line, whatever elements they are in. @param {HTMLElement} row @param {number} from @param {number} to */
function rangeIn(row, from, to) {
  const range = new Range();
  const walker = document.createTreeWalker(row, NodeFilter.SHOW_TEXT);
  let start = 0;
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const length = node.textContent?.length ?? 0;
    if (from >= start && from <= start + length) range.setStart(node, from - start);
    if (to <= start + length) {
      range.setEnd(node, to - start);
      break;
    }
    start += length;
  }
  return range;
}

/** @param {string} text @param {Style} style */
function styledSpan(text, style) {
  const [fg, bg] = style.inverse ? [style.bg ?? "var(--ground)", style.fg ?? "var(--text)"] : [style.fg, style.bg];
  const names = ["bold", "dim", "italic", "underline", "strike"].filter((name) => style[/** @type {"bold"} */ (name)]);
  const vars = { ...(fg !== null && { "--fg": cssOf(fg) }), ...(bg !== null && { "--bg": cssOf(bg) }) };
  const classes = [...names, ...(fg !== null ? ["fg"] : []), ...(bg !== null ? ["bg"] : [])];
  return el("span", { class: [...classes, ...hardToRead(fg, bg)].map((name) => `ansi-${name}`).join(" ") || null, vars }, text);
}

/** Which help colours need that are the log's own: on a ground of its own ink, on ours more of ours. @param {number | string | null} fg @param {number | string | null} bg */
function hardToRead(fg, bg) {
  const ground = typeof bg === "string" && !bg.startsWith("var") ? brightness(bg) : null;
  if (ground !== null) return fg === null ? [ground > 0.5 ? "dark-ink" : "light-ink"] : [];
  const ink = bg === null && typeof fg === "string" && !fg.startsWith("var") ? brightness(fg) : null;
  return ink === null ? [] : ink > 0.6 ? ["pale"] : ink < 0.25 ? ["deep"] : [];
}

/** How bright "#rrggbb" is to the eye, 0 to 1. @param {string} colour */
function brightness(colour) {
  const [r, g, b] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16) / 255);
  return 0.299 * r + 0.587 * g + 0.114 * b;
}

/** @param {number | string} colour */
const cssOf = (colour) => (typeof colour === "number" ? `var(--ansi-${colour})` : colour);
