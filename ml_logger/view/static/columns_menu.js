// @ts-check
/** Which columns the table of runs has. */

import { FACTS } from "./columns.js";
import { el, fill } from "./dom.js";
import { openDialog } from "./keys.js";

/** Let somebody choose; each choice is told at once. @param {import("./columns.js").Keys} keys @param {string[]} present @param {(ids: string[]) => void} choose */
export function columnsMenu(keys, present, choose) {
  const chosen = new Set(present);
  const offered = [
    { title: "Runs", ids: FACTS.filter((fact) => fact.id !== "name").map((fact) => ({ id: fact.id, text: fact.title })) },
    { title: "Last values", ids: keys.metrics.map((key) => ({ id: `m:${key}`, text: key })) },
    { title: "Params that differ", ids: keys.differing.map((key) => ({ id: `p:${key}`, text: key })) },
    { title: "Other params", ids: keys.params.filter((key) => !keys.differing.includes(key)).map((key) => ({ id: `p:${key}`, text: key })) },
  ];
  const list = el("div", { class: "columns-list" });
  const search = el("input", { type: "text", placeholder: "Find a column", "aria-label": "Find a column", autocomplete: "off", on: { input: () => draw() } });
  /** In the order they are offered, whatever the order of the clicks. */
  const tell = () => choose(offered.flatMap(({ ids }) => ids.filter(({ id }) => chosen.has(id)).map(({ id }) => id)));
  /** @param {string} id @param {boolean} on */
  const set = (id, on) => {
    chosen[on ? "add" : "delete"](id);
    tell();
  };
  const draw = () => {
    const part = search.value.toLowerCase();
    fill(list, ...offered.map(({ title, ids }) => {
      const found = ids.filter(({ text }) => text.toLowerCase().includes(part));
      return found.length > 0 && el("fieldset", {}, el("legend", {}, title), ...found.map(({ id, text }) =>
        el("label", {}, el("input", { type: "checkbox", checked: chosen.has(id), on: { change: (event) => set(id, event.target.checked) } }), el("span", {}, text))));
    }));
  };
  const usual = el("button", { class: "button", type: "button", on: { click: () => { choose([]); dialog.close(); } } }, "As usual");
  const dialog = el("dialog", { class: "dialog columns", "aria-label": "Columns" }, el("h2", {}, "Columns"), search, list,
    el("form", { method: "dialog" }, usual, el("span", { class: "spring" }), el("button", { class: "button primary" }, "Done")));
  draw();
  openDialog(dialog);
}
