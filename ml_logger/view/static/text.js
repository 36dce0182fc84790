// @ts-check
/** The end of a run's log as a terminal shows it, followed while it grows; any other text of the run as well. */

import { fileUrl } from "./api.js";
import { ChosenRun } from "./chosen_run.js";
import { Details } from "./details.js";
import { el, fill, setText } from "./dom.js";
import { flagField, searchField, SelectField } from "./fields.js";
import { countText, sizeText } from "./format.js";
import { icon } from "./icons.js";
import { LogLines } from "./log_lines.js";
import { followLog } from "./log_tail.js";
import { loading, notice } from "./notice.js";
import { flagKey, textKey } from "./state.js";
import { troubleNotice } from "./trouble.js";

const LOG = textKey("log");
const WRAP = flagKey("wrap");
const SEARCH = textKey("find");
const HOW = `logger.print("epoch", epoch)          # printed, and kept in text.log
logger.log_text("a note", "notes.txt")`;

class Text {
  /** @param {HTMLElement} root @param {import("./views.js").Context} ctx */
  constructor(root, ctx) {
    this.ctx = ctx;
    this.run = new ChosenRun(ctx, () => this.details?.refresh());
    this.streams = new SelectField("Text", (name) => ctx.state.set(LOG, name));
    this.lines = new LogLines(() => this.#draw()); // at its end again, one is led on to the newest part
    this.found = el("output", { class: "log-found" });
    this.size = el("span", { class: "hint log-size" });
    this.download = el("a", { class: "tool", download: true, title: "Download all of it" }, icon("download"), el("span", {}, "Download"));
    this.follow = el("button", { class: "button small log-follow", type: "button", on: { click: () => this.lines.follow() } });
    this.search = searchField(ctx, SEARCH, "Search", { on: { keydown: (event) => this.#searchKeyed(event) } });
    this.tools = el("div", { class: "tool-bar" }, this.run.element, this.streams.element, this.search, this.found,
      flagField(ctx, WRAP, "Wrap", "Break long lines"), this.size, this.download);
    this.rest = el("div");
    this.stage = el("div", { class: "log-stage" }, this.lines.element, this.follow);
    root.append(this.tools, this.rest, this.stage);
    this.path = "";
    this.wish = ""; // that it was opened by
    this.stop = new AbortController();
    ctx.signal.addEventListener("abort", () => {
      this.stop.abort();
      this.lines.clear(); // what was found is marked in the document, not in the lines
    });
    this.details = new Details(ctx, () => [this.run.get() ?? []].flat(), () => this.#draw());
    ctx.on("state", (changed) => [LOG, WRAP, SEARCH].some((key) => changed.has(key.name)) && this.#draw());
  }

  #draw() {
    const whole = this.details.list()[0];
    const texts = whole?.texts ?? [];
    const path = this.#pathOf(texts, whole?.path ?? "");
    this.tools.hidden = this.stage.hidden = !path;
    fill(this.rest, !path && this.#nothing());
    if (whole) this.streams.show(texts.map((one) => [inRun(one, whole.path), inRun(one, whole.path)]), inRun(path, whole.path));
    this.lines.element.classList.toggle("is-wrapped", this.ctx.state.get(WRAP));
    this.lines.search(this.ctx.state.get(SEARCH));
    if (path !== this.path) this.#open(path);
    this.#drawTools();
  }

  /** Which text to show; who reads further up in a part is not torn away by a newer one. @param {string[]} texts @param {string} run */
  #pathOf(texts, run) {
    const wish = this.ctx.state.get(LOG);
    const isReading = !wish && !this.wish && !this.lines.isFollowing && texts.includes(this.path);
    return isReading ? this.path : chosenText(texts, run, wish);
  }

  /** @param {string} path */
  #open(path) {
    this.stop.abort();
    this.wish = this.ctx.state.get(LOG);
    this.stop = new AbortController();
    this.path = path;
    this.lines.clear();
    if (!path) return;
    this.download.href = fileUrl(path, { download: true });
    followLog(this.ctx.api, path, this.lines, (told) => this.#tell(told), this.stop.signal);
  }

  /** @param {import("./log_tail.js").Told} told */
  #tell({ size, shownFrom, trouble }) {
    const isCut = shownFrom > 0 || this.lines.dropped > 0;
    setText(this.size, trouble ? `can't be read: ${trouble.message}` : `${isCut ? `the last ${countText(this.lines.count, "line")} of ` : `${countText(this.lines.count, "line")}, `}${sizeText(size)}`);
  }

  #drawTools() {
    const { isFollowing, unseen, hits, current } = this.lines;
    this.follow.hidden = isFollowing;
    fill(this.follow, icon("down"), unseen ? countText(unseen, "new line") : "To the end");
    const isSearching = this.ctx.state.get(SEARCH) !== "";
    setText(this.found, isSearching ? (hits ? `${current + 1} of ${hits}` : "not found") : "");
  }

  /** @param {KeyboardEvent} event */
  #searchKeyed(event) {
    if (event.key !== "Enter") return;
    event.preventDefault();
    this.lines.nextHit(event.shiftKey ? -1 : 1);
  }

  #nothing() {
    if (this.details.isLoading) return loading("Waiting for the text", 14);
    return troubleNotice(this.details) ?? notice({ icon: "list", title: "No text yet", text: "This run has none. This writes some:", code: HOW });
  }
}

/** Which text to show: the one that was asked for, else the newest part of `text.log`, else the first. @param {string[]} texts @param {string} run @param {string} wish */
function chosenText(texts, run, wish) {
  const newest = texts.filter((path) => partOf(inRun(path, run)) !== null).sort((a, b) => Number(partOf(inRun(b, run))) - Number(partOf(inRun(a, run))))[0];
  return texts.find((path) => inRun(path, run) === wish) ?? newest ?? texts[0] ?? "";
}

/** Which part of `text.log` a file is, the first is 0; null for what is none. @param {string} name */
function partOf(name) {
  const found = /^text(?:~[0-9a-f]{8})?(?:\.(\d+))?\.log$/.exec(name);
  return found && Number(found[1] ?? 0);
}

/** @param {string} path @param {string} run */
const inRun = (path, run) => (run && path.startsWith(`${run}/`) ? path.slice(run.length + 1) : path);

/** @param {HTMLElement} root @param {import("./views.js").Context} ctx */
export const mount = (root, ctx) => void new Text(root, ctx);
