// @ts-check
/** One file to look at, by its name. What could hold a script (HTML, SVG) is shown in a frame of its own, where none runs. */

import { fileUrl } from "./api.js";
import { el, fill } from "./dom.js";
import { LogLines } from "./log_lines.js";
import { followLog } from "./log_tail.js";
import { notice } from "./notice.js";
import { TensorCard } from "./tensor_card.js";

/** @typedef {import("./views.js").Context} Context */

const MOST_PRETTY = 300_000; // characters of JSON that are laid out anew

/** @type {[RegExp, (ctx: Context, path: string, signal: AbortSignal) => HTMLElement][]} */
const KINDS = [
  [/\.(svg|html?)$/i, (_, path) => sandboxed(path)],
  [/\.(a?png|jpe?g|gif|webp|avif|bmp|ico)$/i, (_, path) => picture(path)],
  [/\.(mp4|webm|ogv)$/i, (_, path) => el("video", { class: "preview-picture", src: fileUrl(path), controls: true })],
  [/\.(wav|mp3|ogg|flac)$/i, (_, path) => el("audio", { class: "preview-sound", src: fileUrl(path), controls: true })],
  [/\.np[yz]$/i, tensor],
  [/\.json$/i, json],
  [/\.(txt|log|jsonl|csv|tsv|md|ya?ml|toml|ini|cfg|py|ipynb|sh|js|ts|c|cc|cpp|h|hpp|cu|rs|go|java|r|jl|m|tex|rst|xml|out|err|diff|patch|env|lock)(\.\d+)?$/i, text],
  [/(^|\/)(Makefile|Dockerfile|LICENSE|README|CHANGELOG|[^./]+)$/, text],
];

/** @param {Context} ctx @param {string} path @param {AbortSignal} signal aborted when something else is shown @returns {HTMLElement} */
export function preview(ctx, path, signal) {
  const show = KINDS.find(([names]) => names.test(path))?.[1];
  return show ? show(ctx, path, signal) : notice({ icon: "file", title: "No preview of such a file", text: "Download it to look into it." });
}

/** Nothing in it runs or loads, neither by the frame's rules nor by those that come with the file. @param {string} path */
function sandboxed(path) {
  const frame = el("iframe", { class: "preview-frame", sandbox: "", src: fileUrl(path), title: path, referrerpolicy: "no-referrer" });
  return el("div", { class: "preview-text" }, el("p", { class: "hint" }, "In a sandbox: no script of it runs."), frame);
}

/** @param {string} path */
function picture(path) {
  const img = el("img", { class: "preview-picture", src: fileUrl(path), alt: path });
  img.addEventListener("load", () => img.classList.toggle("is-small", img.naturalWidth < img.clientWidth));
  return el("a", { class: "preview-link", href: fileUrl(path), target: "_blank", rel: "noopener", title: "Open by itself" }, img);
}

/** @param {Context} ctx @param {string} path */
function tensor(ctx, path) {
  const step = { step: null };
  const card = new TensorCard(ctx, /** @type {any} */ (step));
  card.update(/** @type {any} */ ({ what: [{ step: null, name: path.slice(path.lastIndexOf("/") + 1), path }] }));
  return card.element;
}

/** @param {Context} ctx @param {string} path @param {AbortSignal} signal */
function text(ctx, path, signal) {
  const lines = new LogLines(() => {});
  lines.element.classList.add("is-wrapped");
  const told = el("p", { class: "hint" });
  followLog(ctx.api, path, lines, ({ shownFrom, trouble }) => fill(told, trouble ? `can't be read: ${trouble.message}` : shownFrom > 0 && "only the end is shown"), signal);
  return el("div", { class: "preview-text" }, told, lines.element);
}

/** @param {Context} ctx @param {string} path @param {AbortSignal} signal */
function json(ctx, path, signal) {
  const stage = el("pre", { class: "preview-json", tabindex: 0 });
  void ctx.api.getJson("view/api/text", { path, offset: 0 }, signal).then(({ value, trouble }) => {
    const whole = /** @type {import("./log_tail.js").Piece | null} */ (value);
    if (!signal.aborted) fill(stage, trouble ? `can't be read: ${trouble.message}` : pretty(whole?.text ?? ""));
  });
  return stage;
}

/** @param {string} source */
function pretty(source) {
  try {
    return source.length > MOST_PRETTY ? source : JSON.stringify(JSON.parse(source), null, 2);
  } catch {
    return source;
  }
}
