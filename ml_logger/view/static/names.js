// @ts-check
/** A run's name where there is little room: its folders give way first, all at once, then its middle, since names differ at their ends. */

import { el } from "./dom.js";

const TAIL = 9;

/** @param {string} name @returns {HTMLElement} */
export function nameText(name) {
  const at = name.lastIndexOf("/") + 1;
  const leaf = name.slice(at) || name;
  const cut = Math.max(0, leaf.length - TAIL);
  return el("span", { class: "name-text" },
    at > 0 && at < name.length && el("span", { class: "folder" }, name.slice(0, at)),
    el("span", { class: "own" }, el("span", { class: "leaf" }, leaf.slice(0, cut)), el("span", { class: "tail" }, leaf.slice(cut))));
}
