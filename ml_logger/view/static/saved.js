// @ts-check
/** Saved views: a name and a hash, in `.charts.yml` beside the data, so that everybody who looks there has them. */

import { el, fill } from "./dom.js";
import { icon } from "./icons.js";
import { openDialog } from "./keys.js";
import { writeHash } from "./state.js";

/** @typedef {{name: string, hash: string}} SavedView */
/** @typedef {{views: SavedView[], charts: unknown[]}} Charts */

const CALL = "view/api/charts";

/** @param {import("./frame.js").Parts} parts @param {(text: string) => void} say */
export function savedViewsButton(parts, say) {
  return el("button", { class: "tool", type: "button", title: "Saved views", on: { click: () => void showSaved(parts, say) } }, icon("bookmark"), el("span", {}, "Views"));
}

/** @param {import("./frame.js").Parts} parts @param {(text: string) => void} say */
async function showSaved(parts, say) {
  const list = el("ul", { class: "saved-list" });
  const error = el("p", { class: "login-error", role: "alert" });
  const name = el("input", { type: "text", "aria-label": "Name of the view", placeholder: "Name of the present view", maxlength: 100, required: true });
  const folder = parts.me.prefix;

  /** Read them anew, change them, write them: another's change is lost only if it came in between. @param {(views: SavedView[]) => SavedView[]} edit */
  const change = async (edit) => {
    /** @type {import("./api.js").Result<Charts>} */
    const held = await parts.api.getJson(CALL, { folder });
    if (held.trouble) return tell(held.trouble);
    const charts = { ...held.value, views: edit(held.value.views) };
    if (charts.views !== held.value.views) {
      const put = await parts.api.sendJson("PUT", CALL, { folder }, charts);
      if (put.trouble) return tell(put.trouble);
    }
    fill(error);
    draw(charts.views);
  };
  /** @param {import("./api.js").Trouble} trouble */
  const tell = (trouble) => fill(error, trouble.kind === "forbidden" ? "Your token may read only." : `That did not work: ${trouble.message}.`);
  /** @param {SavedView[]} views */
  const draw = (views) => {
    fill(list, ...views.map((view) => el("li", {},
      el("button", { class: "saved-open", type: "button", on: { click: () => { dialog.close(); parts.state.goTo(view.hash); } } }, view.name),
      el("button", { class: "tool tiny", type: "button", "aria-label": `Delete the view ${view.name}`, title: "Delete", on: { click: () => void change((all) => all.filter((one) => one.name !== view.name)) } }, icon("trash")))),
    views.length === 0 && el("li", { class: "hint" }, "None yet. A saved view keeps the picked runs, the filter, the columns and the charts as they are."));
  };
  /** @param {SubmitEvent} event */
  const save = async (event) => {
    event.preventDefault();
    const { tab, values } = parts.picks.linkOfAll();
    const view = { name: name.value.trim(), hash: writeHash(tab || "runs", values) };
    await change((all) => [...all.filter((one) => one.name !== view.name), view]);
    if (!error.textContent) say(`Saved as ${view.name}`);
    name.value = "";
  };
  const dialog = el("dialog", { class: "dialog saved", "aria-label": "Saved views" },
    el("h2", {}, "Saved views"), list,
    el("form", { class: "saved-new", on: { submit: save } }, name, el("button", { class: "button primary", type: "submit" }, "Save")),
    error,
    el("form", { method: "dialog" }, el("button", { class: "button" }, "Close")));
  openDialog(dialog);
  await change((views) => views);
}
