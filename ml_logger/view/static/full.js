// @ts-check
/** One picture over the whole page: as large as fits or pixel by pixel, step by step with the arrow keys. */

import { fileUrl, mediaUrl } from "./api.js";
import { el, fill, setText } from "./dom.js";
import { icon } from "./icons.js";
import { openDialog } from "./keys.js";

/** @typedef {import("./steps.js").MediaFile} MediaFile */
/**
 * @typedef {object} Shown
 * @property {string} title
 * @property {() => {file: MediaFile} | null} current  what to show now
 * @property {() => string} caption
 * @property {(by: number) => void} move  go some steps on, or back
 */

/** Show it until it is closed by Esc, the button or a click beside it. @param {import("./views.js").Context} ctx @param {Shown} shown */
export function showFull(ctx, shown) {
  const stage = el("div", { class: "full-stage" });
  const caption = el("span", { class: "full-caption" });
  const link = el("a", { class: "tool", download: true, title: "Download" }, icon("download"), "Download");
  const dialog = el("dialog", { class: "full", "aria-label": shown.title },
    el("header", { class: "full-head" }, el("b", {}, el("bdi", {}, shown.title)), caption, link,
      tool("left", "Step before (←)", () => shown.move(-1)), tool("right", "Step behind (→)", () => shown.move(1)), tool("close", "Close (Esc)", () => dialog.close())),
    stage);
  let drawn = "";
  const draw = () => {
    const file = shown.current()?.file;
    setText(caption, shown.caption());
    if (!file || mediaUrl(file) === drawn) return;
    drawn = mediaUrl(file);
    link.href = fileUrl(file.path, { download: true });
    fill(stage, fullPicture(file, shown.title));
  };
  const closed = new AbortController();
  dialog.addEventListener("close", () => closed.abort());
  // The card has drawn itself by then: it listens for longer.
  ctx.state.addEventListener("change", draw, { signal: closed.signal });
  ctx.signal.addEventListener("abort", () => dialog.close(), { signal: closed.signal });
  draw();
  openDialog(dialog);
}

/** @param {import("./steps.js").MediaFile} file @param {string} name */
function fullPicture(file, name) {
  if (/\.(mp4|webm|ogv)$/i.test(file.path)) return el("video", { class: "full-picture", src: mediaUrl(file), controls: true, loop: true, autoplay: true });
  const img = el("img", { class: "full-picture", src: mediaUrl(file), alt: name, title: "Click: pixel by pixel" });
  const fit = () => {
    const room = /** @type {HTMLElement} */ (img.parentElement);
    const scale = Math.min(room.clientWidth / img.naturalWidth, room.clientHeight / img.naturalHeight);
    // Whole pixels where it is enlarged, so that all of them are the same size.
    img.style.width = `${Math.floor(img.naturalWidth * (scale > 1 ? Math.floor(scale) : scale))}px`;
    img.classList.toggle("is-small", scale > 1);
  };
  img.addEventListener("load", fit);
  img.addEventListener("click", () => (img.classList.toggle("is-actual") ? (img.style.width = `${img.naturalWidth}px`) : fit()));
  return img;
}

/** @param {import("./icons.js").IconName} name @param {string} title @param {() => void} click */
const tool = (name, title, click) => el("button", { class: "tool", type: "button", title, "aria-label": title, on: { click } }, icon(name));
