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
    this.lines = new LogLines(() => this.#drawTools());
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
    const path = chosenText(texts, whole?.path ?? "", this.ctx.state.get(LOG));
    this.tools.hidden = this.stage.hidden = !path;
    fill(this.rest, !path && this.#nothing());
    if (whole) this.streams.show(texts.map((one) => [inRun(one, whole.path), inRun(one, whole.path)]), inRun(path, whole.path));
    this.lines.element.classList.toggle("is-wrapped", this.ctx.state.get(WRAP));
    this.lines.search(this.ctx.state.get(SEARCH));
    if (path !== this.path) this.#open(path);
    this.#drawTools();
  }

  /** @param {string} path */
  #open(path) {
    this.stop.abort();
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
  const own = texts.filter((path) => /^text(~[0-9a-f]{8})?(\.\d+)?\.log$/.test(inRun(path, run)));
  return texts.find((path) => inRun(path, run) === wish) ?? own[own.length - 1] ?? texts[0] ?? "";
}

/** @param {string} path @param {string} run */
const inRun = (path, run) => (run && path.startsWith(`${run}/`) ? path.slice(run.length + 1) : path);

/** @param {HTMLElement} root @param {import("./views.js").Context} ctx */
export const mount = (root, ctx) => void new Text(root, ctx);
