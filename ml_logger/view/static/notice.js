// @ts-check
/** What stands where there is nothing to see: why, and what to do about it. */

import { el } from "./dom.js";
import { icon } from "./icons.js";

/**
 * @param {{title: string, text?: string, code?: string, icon?: import("./icons.js").IconName, action?: {label: string, do: () => void}}} what
 * `code` is shown as it would be typed
 */
export function notice(what) {
  return el("div", { class: "notice", role: "status" },
    what.icon && icon(what.icon),
    el("h2", {}, what.title),
    what.text && el("p", {}, what.text),
    what.code && el("pre", {}, el("code", {}, what.code)),
    what.action && el("button", { class: "button", type: "button", on: { click: what.action.do } }, what.action.label));
}

/** Grey bars while the first answer is waited for. @param {string} label @param {number} [rows] */
export const loading = (label, rows = 8) =>
  el("div", { class: "loading", role: "status", "aria-label": label }, ...Array.from({ length: rows }, () => el("i")));
