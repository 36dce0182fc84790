// @ts-check
/** Files as they lie: folders to go through, sizes and times, previews, downloads. */

import { fileUrl, poll } from "./api.js";
import { ChosenRun } from "./chosen_run.js";
import { el, fill, oneLine } from "./dom.js";
import { matches, searchField } from "./fields.js";
import { countText, dateText, sizeText } from "./format.js";
import { FILE, FOLDER, NOWHERE } from "./folder_link.js";
import { icon } from "./icons.js";
import { loading, notice } from "./notice.js";
import { preview } from "./preview.js";
import { Readme } from "./readme.js";
import { choiceKey, textKey } from "./state.js";

/** @typedef {{name: string, kind: "file" | "dir", size: number, mtime: number}} Entry */

const FILTER = textKey("fi.q");
const ORDER = choiceKey("fi.by", ["name", "newest", "largest"]);
const EVERY_MS = 5000;
const MOST_ROWS = 2000;

class FileBrowser {
  /** @param {HTMLElement} root @param {import("./views.js").Context} ctx */
  constructor(root, ctx) {
    this.ctx = ctx;
    this.run = new ChosenRun(ctx, () => this.#follow());
    /** @type {Entry[]} */
    this.entries = [];
    /** @type {string | null} */
    this.shownFolder = null;
    this.shownFile = "";
    this.drawn = "";
    this.trail = el("nav", { class: "trail", "aria-label": "Folder" });
    this.table = el("div", { class: "files-list" });
    this.pane = el("aside", { class: "files-pane", hidden: true, "aria-label": "Preview" });
    this.readme = new Readme(ctx);
    root.append(el("div", { class: "tool-bar" }, this.trail, searchField(ctx, FILTER, "Filter names")),
      el("div", { class: "files" }, el("div", { class: "files-main" }, this.table, this.readme.element), this.pane));
    this.refresh = poll(() => this.#ask(), EVERY_MS, ctx.signal);
    ctx.on("state", () => this.#follow());
    this.#follow();
  }

  /** The folder that is looked at: the link's, else that of the run that other tabs show. */
  get folder() {
    const wish = this.ctx.state.get(FOLDER);
    return wish === NOWHERE ? (this.#run?.path ?? "") : wish;
  }

  /** The run that other tabs show, or showed until it was deleted. */
  get #run() {
    return this.run.get() ?? this.ctx.picks.deleted()[0] ?? null;
  }

  #follow() {
    if (this.#isDeleted()) return this.#showDeleted();
    if (this.folder !== this.shownFolder && this.ctx.runs.isKnown) {
      this.shownFolder = this.folder;
      fill(this.table, loading("Waiting for the folder"));
      this.#drawTrail();
      this.refresh();
    } else {
      this.#drawList();
    }
    this.#drawPane();
  }

  /** Whether what is looked at was deleted with its run, so that nobody need be asked. */
  #isDeleted() {
    return this.ctx.picks.deleted().some(({ path }) => this.folder === path || this.folder.startsWith(`${path}/`));
  }

  #showDeleted() {
    this.shownFolder = null;
    this.closing?.abort();
    this.shownFile = "";
    this.pane.hidden = true;
    this.readme.element.hidden = true;
    this.#drawTrail();
    fill(this.table, notice({ icon: "trash", title: "The run was deleted", text: "That was while you looked.", action: { label: "To the top", do: () => this.#open("") } }));
  }

  async #ask() {
    const folder = this.shownFolder;
    if (folder === null) return true;
    /** @type {import("./api.js").Result<{entries: Entry[]}>} */
    const { value, trouble } = await this.ctx.api.getJson("view/api/list", { folder }, this.ctx.signal);
    if (this.ctx.signal.aborted || folder !== this.shownFolder) return 0;
    if (trouble) {
      if (trouble.kind !== "gone") this.#showTrouble(trouble);
      return false;
    }
    this.entries = value.entries;
    this.#drawList();
    this.readme.show(folder, value.entries.some((entry) => entry.name === "README.md"), value.entries.find((entry) => entry.name === "README.md")?.mtime ?? 0);
    return true;
  }

  /** @param {import("./api.js").Trouble} trouble */
  #showTrouble(trouble) {
    this.entries = [];
    this.drawn = "";
    fill(this.table, notice({ icon: trouble.kind === "missing" ? "folder" : "alert", title: trouble.kind === "missing" ? "There is no such folder" : "The folder can't be read",
      text: trouble.kind === "missing" ? "It was deleted, or never there." : trouble.message, action: { label: "To the top", do: () => this.#open("") } }));
  }

  /** @param {string} folder */
  #open(folder) {
    this.ctx.state.setAll([[FOLDER, folder], [FILE, ""], [FILTER, ""]]);
  }

  #drawTrail() {
    const parts = this.folder ? this.folder.split("/") : [];
    const crumb = (/** @type {string} */ name, /** @type {string} */ path, /** @type {boolean} */ isHere) =>
      el("button", { class: "crumb", type: "button", "aria-current": isHere ? "location" : null, on: { click: () => this.#open(path) } }, el("bdi", {}, oneLine(name)));
    fill(this.trail, crumb(this.ctx.me.title || "top", "", !parts.length),
      ...parts.flatMap((name, i) => [el("span", { "aria-hidden": "true" }, "/"), crumb(name, parts.slice(0, i + 1).join("/"), i === parts.length - 1)]));
  }

  #drawList() {
    const shown = sorted(this.entries.filter((entry) => matches(this.ctx.state.get(FILTER), entry.name)), this.ctx.state.get(ORDER));
    const text = JSON.stringify([this.shownFolder, shown, this.ctx.state.get(FILE), this.ctx.state.get(ORDER)]);
    if (text === this.drawn || this.shownFolder === null) return;
    this.drawn = text;
    const focused = document.activeElement?.getAttribute("data-name");
    fill(this.table, this.#heads(), shown.length ? null : notice({ icon: "folder", title: this.entries.length ? "No name fits the filter" : "Nothing in this folder" }));
    const body = this.table.querySelector("tbody");
    body?.append(...shown.slice(0, MOST_ROWS).map((entry) => this.#row(entry)));
    if (shown.length > MOST_ROWS) this.table.append(el("p", { class: "hint" }, `and ${countText(shown.length - MOST_ROWS, "more entry", "more entries")}: filter to see them`));
    if (focused) /** @type {HTMLElement | null} */ (this.table.querySelector(`[data-name="${CSS.escape(focused)}"]`))?.focus();
  }

  #heads() {
    /** @type {[ReturnType<typeof ORDER.read>, string][]} */
    const orders = [["name", "Name"], ["largest", "Size"], ["newest", "Changed"]];
    const by = this.ctx.state.get(ORDER);
    return el("table", { class: "plain files-table" }, el("thead", {}, el("tr", {}, ...orders.map(([word, name]) =>
      el("th", { scope: "col", "aria-sort": word === by ? (word === "name" ? "ascending" : "descending") : null },
        el("button", { class: "sort", type: "button", on: { click: () => word && this.ctx.state.set(ORDER, word, { replace: true }) } }, name, word === by && icon(word === "name" ? "up" : "down")))),
      el("th", { class: "files-get" }, el("span", { class: "hidden-text" }, "Download")))), el("tbody"));
  }

  /** @param {Entry} entry */
  #row(entry) {
    const path = this.shownFolder ? `${this.shownFolder}/${entry.name}` : entry.name;
    const isFolder = entry.kind === "dir";
    const open = () => (isFolder ? this.#open(path) : this.ctx.state.set(FILE, path));
    return el("tr", { class: path === this.ctx.state.get(FILE) ? "is-open" : null },
      el("td", {}, el("button", { class: "file-name", type: "button", "data-name": entry.name, on: { click: open } }, icon(isFolder ? "folder" : "file"), el("bdi", {}, oneLine(entry.name)))),
      el("td", { class: "number" }, isFolder ? "" : sizeText(entry.size)),
      el("td", { class: "files-time" }, entry.mtime ? dateText(entry.mtime) : ""),
      el("td", { class: "files-get" }, !isFolder && el("a", { class: "tool tiny", href: fileUrl(path, { download: true }), download: true, "aria-label": `Download ${entry.name}`, title: "Download" }, icon("download"))));
  }

  #drawPane() {
    const path = this.ctx.state.get(FILE);
    if (path === this.shownFile) return;
    this.shownFile = path;
    this.closing?.abort();
    this.closing = new AbortController();
    this.ctx.signal.addEventListener("abort", () => this.closing?.abort(), { once: true });
    this.pane.hidden = !path;
    if (!path) return fill(this.pane);
    fill(this.pane,
      el("header", { class: "pane-head" }, el("b", {}, el("bdi", {}, oneLine(path.slice(path.lastIndexOf("/") + 1)))),
        el("a", { class: "tool", href: fileUrl(path, { download: true }), download: true }, icon("download"), "Download"),
        el("button", { class: "tool", type: "button", "aria-label": "Close the preview", title: "Close", on: { click: () => this.ctx.state.set(FILE, "") } }, icon("close"))),
      preview(this.ctx, path, this.closing.signal));
  }
}

/** Folders first, then as asked. @param {Entry[]} entries @param {"name" | "newest" | "largest"} by */
function sorted(entries, by) {
  const orders = {
    name: (/** @type {Entry} */ a, /** @type {Entry} */ b) => a.name.localeCompare(b.name, "en", { numeric: true }),
    newest: (/** @type {Entry} */ a, /** @type {Entry} */ b) => b.mtime - a.mtime,
    largest: (/** @type {Entry} */ a, /** @type {Entry} */ b) => b.size - a.size,
  };
  return [...entries].sort((a, b) => Number(b.kind === "dir") - Number(a.kind === "dir") || orders[by](a, b) || orders.name(a, b));
}

/** @param {HTMLElement} root @param {import("./views.js").Context} ctx */
export const mount = (root, ctx) => void new FileBrowser(root, ctx);
