// @ts-check
/**
 * A table of any length that keeps only the rows one sees in the page. Rows have one height; each is drawn anew only when its
 * signature changed. It takes the keyboard as one element: the row with the cursor is its
 * `aria-activedescendant`.
 */

import { el, fill, setVars } from "./dom.js";

/** @typedef {{signature: string, draw: (element: HTMLElement) => void}} Look  what a row looks like now, and how to draw it */

const OVERSCAN = 8;

/** @template {{key: string}} T */
export class Grid {
  /** @param {string} label @param {number} rowHeight in px, as the style sheet has it @param {(item: T) => Look} lookOf */
  constructor(label, rowHeight, lookOf) {
    this.rowHeight = rowHeight;
    this.lookOf = lookOf;
    this.head = el("div", { class: "grid-head", role: "rowgroup" });
    this.body = el("div", { class: "grid-body", role: "rowgroup" });
    this.element = el("div", { class: "grid", role: "grid", "aria-label": label, "aria-multiselectable": "true", tabindex: "0", on: { scroll: () => this.#window() } }, this.head, this.body);
    /** @type {T[]} */
    this.rows = [];
    /** @type {Map<string, {element: HTMLElement, signature: string}>} */
    this.drawn = new Map();
    this.cursor = -1;
    new ResizeObserver(() => this.#window()).observe(this.element);
  }

  /** @param {string[]} widths of the columns @param {HTMLElement[]} heads */
  setHead(widths, heads) {
    // the sum is said, since to find it the browser would lay out every row twice
    setVars(this.element, { "--columns": widths.join(" "), "--width": `calc(${widths.join(" + ")})` });
    fill(this.head, ...heads);
  }

  /** @param {T[]} rows @param {number} cursor which of them has the cursor; -1 for none */
  setRows(rows, cursor) {
    this.rows = rows;
    this.cursor = cursor;
    setVars(this.body, { "--height": `${rows.length * this.rowHeight}px` });
    this.element.setAttribute("aria-rowcount", String(rows.length + 1));
    this.#window();
  }

  /** Scroll so far that a row is seen. @param {number} index */
  reveal(index) {
    const top = index * this.rowHeight;
    const seen = this.element.clientHeight - this.head.offsetHeight;
    if (top < this.element.scrollTop) this.element.scrollTop = top;
    else if (top + this.rowHeight > this.element.scrollTop + seen) this.element.scrollTop = top + this.rowHeight - seen;
  }

  /** How many rows one sees at once. */
  get pageLength() {
    return Math.max(1, Math.floor((this.element.clientHeight - this.head.offsetHeight) / this.rowHeight) - 1);
  }

  #window() {
    const first = Math.max(0, Math.floor(this.element.scrollTop / this.rowHeight) - OVERSCAN);
    const last = Math.min(this.rows.length, Math.ceil((this.element.scrollTop + this.element.clientHeight) / this.rowHeight) + OVERSCAN);
    const kept = new Set();
    for (let i = first; i < last; i++) {
      kept.add(this.rows[i].key);
      this.#place(this.rows[i], i);
    }
    for (const [key, { element }] of this.drawn)
      if (!kept.has(key)) {
        element.remove();
        this.drawn.delete(key);
      }
    const current = this.drawn.get(this.rows[this.cursor]?.key ?? "");
    if (current) this.element.setAttribute("aria-activedescendant", current.element.id);
    else this.element.removeAttribute("aria-activedescendant");
  }

  /** @param {T} row @param {number} index */
  #place(row, index) {
    let held = this.drawn.get(row.key);
    if (!held) {
      held = { element: el("div", { role: "row", id: `row-${Grid.#count++}` }), signature: "" };
      this.drawn.set(row.key, held);
      this.body.append(held.element);
    }
    const look = this.lookOf(row);
    if (held.signature !== look.signature) {
      held.signature = look.signature;
      look.draw(held.element);
    }
    held.element.classList.toggle("cursor", index === this.cursor);
    held.element.dataset.index = String(index);
    held.element.setAttribute("aria-rowindex", String(index + 2));
    setVars(held.element, { "--top": `${index * this.rowHeight}px` });
  }

  static #count = 0;
}
