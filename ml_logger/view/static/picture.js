// @ts-check
/** One key of one run as a picture: the file of the step, or the nearest earlier one; small ones enlarged with hard edges; full size on click. */

import { mediaUrl } from "./api.js";
import { el, fill, setText } from "./dom.js";
import { showFull } from "./full.js";
import { pickAt } from "./steps.js";

/** @typedef {import("./steps.js").MediaFile} MediaFile */
/** @typedef {import("./media_grid.js").Cell<MediaFile[]>} Cell */

const FILM = /\.(mp4|webm|ogv)$/i;
const FRAMED = /\.(pdf|html?|svg)$/i;

export class Picture {
  /** @param {import("./views.js").Context} ctx @param {import("./step_bar.js").StepBar} bar @param {string} kind @param {string} key */
  constructor(ctx, bar, kind, key) {
    this.ctx = ctx;
    this.bar = bar;
    this.title = key || kind;
    this.shown = "";
    /** @type {Cell | null} */
    this.cell = null;
    this.place = 0; // among files without steps, counted from the last
    this.button = el("button", { class: "picture-button", type: "button", on: { click: () => this.#open() } });
    this.caption = el("figcaption", { class: "picture-caption" });
    this.element = el("figure", { class: "picture" }, this.button, this.caption);
  }

  /** @param {Cell} cell */
  update(cell) {
    this.cell = cell;
    const pick = this.current();
    this.element.classList.toggle("is-missing", !pick);
    if (!pick) this.#showNone();
    else this.#show(pick);
  }

  /** What is shown now. @returns {{file: MediaFile, isExact: boolean} | null} */
  current() {
    const files = this.cell?.what ?? [];
    const pick = pickAt(files, this.bar.step);
    if (!pick || pick.file.step !== null) return pick;
    const stepless = files.filter((file) => file.step === null);
    return { file: stepless[Math.max(0, stepless.length - 1 - this.place)], isExact: true };
  }

  get label() {
    return this.cell ? this.ctx.label(this.cell.run.path) : "";
  }

  #showNone() {
    this.shown = "";
    this.button.disabled = true;
    fill(this.button, el("span", { class: "picture-none" }, "nothing so early"));
    const first = Math.min(...(this.cell?.what ?? []).flatMap((file) => file.step ?? []));
    setText(this.caption, `the first is of step ${first}`);
  }

  /** @param {{file: MediaFile, isExact: boolean}} pick */
  #show({ file, isExact }) {
    this.button.disabled = false;
    if (mediaUrl(file) !== this.shown) {
      this.shown = mediaUrl(file);
      this.#load(file);
    }
    this.caption.classList.toggle("is-earlier", !isExact);
    if (file.step === null) this.#captionStepless(file);
    else setText(this.caption, isExact ? `step ${file.step}` : `step ${file.step}, none at ${this.bar.step}`);
    this.button.title = `${this.title}, ${this.caption.textContent}: full size`;
  }

  /** @param {MediaFile} file */
  #load(file) {
    const [first] = this.button.children;
    const name = `${this.title} of ${this.label}`;
    // The same element takes the next picture: the old one stays until the new one is there, so nothing flickers.
    if (first instanceof HTMLImageElement && !FILM.test(file.path)) {
      first.src = mediaUrl(file);
      first.alt = name;
      return;
    }
    fill(this.button, FILM.test(file.path) ? film(file, name) : image(file, name, () => this.#failed()));
  }

  /** Say that the picture which is wanted now is none: the element was given one after the other. */
  #failed() {
    const path = this.current()?.file.path ?? "";
    fill(this.button, el("span", { class: "picture-none" }, FRAMED.test(path) ? path.slice(path.lastIndexOf("/") + 1) : "can't be shown"));
  }

  /** @param {MediaFile} file */
  #captionStepless(file) {
    const count = (this.cell?.what ?? []).filter((one) => one.step === null).length;
    const turn = (/** @type {number} */ by) => () => {
      this.place = Math.min(Math.max(0, this.place + by), count - 1);
      if (this.cell) this.update(this.cell);
    };
    const steps = count > 1 && el("span", { class: "picture-turn" },
      el("button", { class: "tool tiny", type: "button", "aria-label": "The one before", on: { click: turn(1) } }, "‹"),
      `${count - this.place} of ${count}`,
      el("button", { class: "tool tiny", type: "button", "aria-label": "The next one", on: { click: turn(-1) } }, "›"));
    fill(this.caption, /^\d+$/.test(file.name) ? "no step" : file.name, steps);
  }

  #open() {
    showFull(this.ctx, {
      title: `${this.title} · ${this.label}`,
      current: () => this.current(),
      caption: () => this.caption.textContent ?? "",
      move: (by) => this.bar.move(by),
    });
  }
}

/** @param {MediaFile} file @param {string} alt @param {() => void} failed */
function image(file, alt, failed) {
  const img = el("img", { class: "picture-image", loading: "lazy", decoding: "async", alt, src: mediaUrl(file), on: { error: failed } });
  // Enlarged pixels are pixels; a picture that is made smaller is smoothed.
  img.addEventListener("load", () => img.classList.toggle("is-small", img.naturalWidth < img.clientWidth));
  return img;
}

/** @param {MediaFile} file @param {string} name */
export function film(file, name) {
  const video = el("video", { class: "picture-image", src: mediaUrl(file), "aria-label": name, loop: true, autoplay: true, playsinline: true, preload: "metadata" });
  video.muted = true;
  return video;
}
