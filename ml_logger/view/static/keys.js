// @ts-check
/** The keyboard. A view has its own keys on its own elements; here is what holds everywhere. */

import { el } from "./dom.js";

/** @typedef {import("./views.js").View} View */

/** @type {[string, string][]} */
const KEYS = [
  ["1 … 9", "open a tab"],
  ["/", "filter the runs"],
  ["j k  or  ↓ ↑", "next, previous run"],
  ["Space", "pick the run, or not"],
  ["Shift + ↓ ↑", "pick while going"],
  ["Enter", "the run's details"],
  ["a", "pick all that are shown"],
  ["x", "pick none"],
  ["p", "pin the run"],
  ["n", "note and tags of the run"],
  ["Esc", "close, clear the filter"],
  ["?", "these keys"],
];

/** @param {import("./state.js").ViewState} state @param {View[]} views @param {() => HTMLElement} root where the mounted view is */
export function listenToKeys(state, views, root) {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.metaKey || event.ctrlKey || event.altKey || isTyping(event.target) || document.querySelector("dialog[open]")) return;
    const view = /^[1-9]$/.test(event.key) ? views[Number(event.key) - 1] : undefined;
    if (view) state.open(view.id);
    else if (event.key === "?") showKeys(views);
    else if (event.key === "/") goToFilter(root());
    else return;
    event.preventDefault();
  });
}

/** The view's own filter, else the one beside it. @param {HTMLElement} root */
function goToFilter(root) {
  const field = root.querySelector("input[type=search]") ?? document.querySelector(".rail:not([hidden]) input[type=search]");
  if (field instanceof HTMLInputElement) field.select();
}

/** @param {EventTarget | null} target */
export const isTyping = (target) =>
  target instanceof HTMLElement && (target.isContentEditable || target.matches("textarea, select, input:not([type=checkbox], [type=radio], [type=range], [type=button])"));

/** @param {View[]} views */
export function showKeys(views) {
  const tabs = views.slice(0, 9).map((view, i) => `${i + 1} ${view.title}`).join(" · ");
  const dialog = el("dialog", { class: "dialog keys", "aria-label": "Keys" },
    el("h2", {}, "Keys"),
    el("dl", {}, ...KEYS.flatMap(([key, what]) => [el("dt", {}, el("kbd", {}, key)), el("dd", {}, what)])),
    el("p", { class: "hint" }, tabs),
    el("form", { method: "dialog" }, el("button", { class: "button" }, "Close")));
  openDialog(dialog);
}

/** Show a dialog over the page; it is gone when it is closed, by Esc or beside it too. @param {HTMLDialogElement} dialog */
export function openDialog(dialog) {
  document.body.append(dialog);
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.showModal();
}
