// @ts-check
/** The line over a chart, by pointer or keyboard, and beside it what all curves have there. */

import { el, fill } from "./dom.js";
import { countText, numberText } from "./format.js";
import { MARGINS } from "./figure.js";
import { readout } from "./readout.js";

/** @typedef {import("./figure.js").Picture} Picture */
/** @typedef {import("./readout.js").Row} Row */

const MOST_ROWS = 24;
const REACH_PX = 12;
const ASIDE_PX = 14;

/** One box for the whole page: only one chart is read at a time. */
const box = el("div", { class: "readout", hidden: true });

export class Crosshair {
  /** @param {HTMLElement} plot what is pointed at @param {() => Picture | null} picture what is drawn in it now */
  constructor(plot, picture) {
    this.plot = plot;
    this.picture = picture;
    this.line = el("i", { class: "crosshair", hidden: true });
    /** In the server's units. @type {number | null} */
    this.x = null;
    plot.append(this.line);
    plot.addEventListener("pointermove", (event) => this.#follow(event));
    plot.addEventListener("pointerdown", (event) => (event.pointerType === "mouse" ? this.hide() : this.#follow(event)));
    plot.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && this.hide());
    plot.addEventListener("blur", () => this.hide());
  }

  hide() {
    this.x = null;
    this.line.hidden = true;
    box.hidden = true;
  }

  /** Draw it again after the picture has changed. */
  refresh() {
    if (this.x !== null) this.#show(this.x);
  }

  /** Go to the next point of any curve to the right or left. @param {1 | -1} direction @param {boolean} isFar ten at once */
  step(direction, isFar) {
    const picture = this.picture();
    if (!picture) return;
    const places = placesOf(picture);
    const now = this.x ?? (direction > 0 ? -Infinity : Infinity);
    const rest = direction > 0 ? places.filter((x) => x > now) : places.filter((x) => x < now).reverse();
    if (rest.length) this.#show(rest[Math.min(rest.length, isFar ? 10 : 1) - 1]);
  }

  /** @param {PointerEvent} event */
  #follow(event) {
    const picture = this.picture();
    if (!picture || (event.pointerType === "mouse" && event.buttons)) return this.hide();
    const px = event.clientX - this.plot.getBoundingClientRect().left - MARGINS.l;
    const { width } = areaOf(picture);
    if (px < -REACH_PX || px > width + REACH_PX) return this.hide();
    this.#show(xAt(picture, px), event);
  }

  /** @param {number} x @param {PointerEvent} [pointer] */
  #show(x, pointer) {
    const picture = this.picture();
    const reach = picture && Math.abs(xAt(picture, REACH_PX) - xAt(picture, 0));
    const found = picture && readout(picture.curves, x, reach ?? 0);
    if (!picture || !found) return this.hide();
    this.x = found.x;
    const px = pxOf(picture, found.x);
    this.line.hidden = px < 0 || px > areaOf(picture).width;
    this.line.style.setProperty("--at", `${MARGINS.l + px}px`);
    this.#fillBox(picture, found);
    this.#placeBox(px, pointer);
  }

  /** @param {Picture} picture @param {{x: number, rows: Row[]}} found */
  #fillBox(picture, { x, rows }) {
    const isSmoothed = rows.some((row) => row.curve.raw && row.y !== row.mean);
    fill(box,
      el("header", {}, picture.scale.say(x)),
      el("table", {},
        isSmoothed && el("thead", {}, el("tr", {}, ...["", "", "smoothed", "raw"].map((text) => el("th", {}, text)))),
        el("tbody", {}, ...rows.slice(0, MOST_ROWS).map((row) => rowElement(row, x, picture, isSmoothed)))),
      rows.length > MOST_ROWS && el("footer", {}, `and ${countText(rows.length - MOST_ROWS, "more curve")}`));
    document.body.append(box);
    box.hidden = false;
  }

  /** Put it beside the line, on the side where there is room. @param {number} px @param {PointerEvent} [pointer] */
  #placeBox(px, pointer) {
    const plot = this.plot.getBoundingClientRect();
    const at = plot.left + MARGINS.l + px;
    const size = box.getBoundingClientRect();
    const right = at + ASIDE_PX + size.width < innerWidth - 4;
    const left = right ? at + ASIDE_PX : Math.max(4, at - ASIDE_PX - size.width);
    const top = (pointer?.clientY ?? plot.top + plot.height / 2) - size.height / 2;
    box.style.setProperty("--left", `${left}px`);
    box.style.setProperty("--top", `${Math.max(4, Math.min(top, innerHeight - size.height - 4))}px`);
  }
}

/** @param {Row} row @param {number} x @param {Picture} picture @param {boolean} isSmoothed */
function rowElement(row, x, picture, isSmoothed) {
  const { name, colour, dash } = row.curve;
  const elsewhere = Math.abs(pxOf(picture, row.x) - pxOf(picture, x)) >= 1 ? ` at ${picture.scale.say(row.x)}` : "";
  return el("tr", {},
    el("td", {}, el("i", { class: `swatch ${dash}`, vars: { "--colour": colour } })),
    el("td", { class: "readout-name" }, name),
    el("td", { class: "number" }, numberText(row.y)),
    isSmoothed && el("td", { class: "number" }, numberText(row.mean)),
    el("td", { class: "readout-more" }, [spreadText(row), oddText(row), elsewhere].filter(Boolean).join(" ")));
}

/** @param {Row} row */
function spreadText({ low, high, count, curve }) {
  if (low === null || high === null) return curve.members && count > 0 ? countText(count, "run") : "";
  return `${numberText(low, 4)} … ${numberText(high, 4)} of ${countText(count, curve.raw ? "point" : "run")}`;
}

/** @param {Row} row */
function oddText({ odd }) {
  if (!odd) return "";
  const parts = /** @type {[number, string][]} */ ([[odd.nan, "NaN"], [odd.above, "+Inf"], [odd.below, "−Inf"]]);
  return parts.filter(([count]) => count).map(([count, name]) => (count > 1 ? `${count}× ${name}` : name)).join(", ");
}

// --- where what is on the screen

/** The size of the plot's area. @param {Picture} picture */
export const areaOf = ({ size }) => ({ width: size.width - MARGINS.l - MARGINS.r, height: size.height - MARGINS.t - MARGINS.b });

/** @param {Picture} picture @param {number} x */
function pxOf(picture, x) {
  const [low, high] = picture.xRange.map((end) => flat(picture, end));
  return ((flat(picture, x) - low) / (high - low)) * areaOf(picture).width;
}

/** @param {Picture} picture @param {number} px */
function xAt(picture, px) {
  const [low, high] = picture.xRange.map((end) => flat(picture, end));
  const place = low + (px / areaOf(picture).width) * (high - low);
  return picture.scale.type === "log" ? 10 ** place : place;
}

/** @param {Picture} picture @param {number} x */
const flat = ({ scale }, x) => (scale.type === "log" ? Math.log10(x) : x);

/** Every x in sight where a curve has a point, ascending. @param {Picture} picture */
function placesOf({ curves, xRange: [low, high] }) {
  return [...new Set(curves.flatMap((curve) => Array.from(curve.x)))].filter((x) => x >= low && x <= high).sort((a, b) => a - b);
}
