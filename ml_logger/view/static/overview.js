// @ts-check
/** One run at a glance: how it is, where and when it ran, its last values, its README, what its processes said of themselves. */

import { ChosenRun } from "./chosen_run.js";
import { Details } from "./details.js";
import { el, fill, oneLine } from "./dom.js";
import { agoText, countText, dateText, durationText, stateName, valueText } from "./format.js";
import { openFolder } from "./folder_link.js";
import { icon } from "./icons.js";
import { loading, notice } from "./notice.js";
import { Readme } from "./readme.js";
import { troubleNotice } from "./trouble.js";

/** @typedef {import("./details.js").Whole} Whole */
/** @typedef {import("./dom.js").Child} Child */
/** @typedef {Record<string, any>} Event  one record of run.jsonl */

class Overview {
  /** @param {HTMLElement} root @param {import("./views.js").Context} ctx */
  constructor(root, ctx) {
    this.ctx = ctx;
    this.run = new ChosenRun(ctx, () => this.details?.refresh());
    this.head = el("header", { class: "overview-head" });
    this.facts = el("dl", { class: "overview-facts" });
    this.last = el("section", { class: "overview-last" });
    this.events = el("section", { class: "overview-events" });
    this.readme = new Readme(ctx);
    this.rest = el("div");
    this.content = el("div", { class: "overview" }, this.head, this.facts, this.last, this.readme.element, this.events);
    root.append(el("div", { class: "tool-bar" }, this.run.element), this.rest, this.content);
    this.details = new Details(ctx, () => [this.run.get() ?? []].flat(), () => this.#draw());
    const clock = setInterval(() => this.#draw(), 5000); // "12 s ago" goes on
    ctx.signal.addEventListener("abort", () => clearInterval(clock));
  }

  #draw() {
    const whole = this.details.list()[0];
    this.content.hidden = !whole;
    fill(this.rest, !whole && (this.details.isLoading ? loading("Waiting for the run") : (troubleNotice(this.details) ?? notice({ title: "Nothing is known of this run" }))));
    if (!whole || this.#isSelecting()) return;
    const now = Date.now() / 1000;
    fill(this.head, ...headOf(whole, this.ctx, now));
    fill(this.facts, ...factsOf(whole, now).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
    fill(this.last, ...lastValues(whole));
    fill(this.events, ...eventTable(whole));
    this.readme.show(whole.path, whole.readme, whole.version);
  }

  /** Whether somebody is about to copy something here, which drawing would take from under the pointer. */
  #isSelecting() {
    const selection = document.getSelection();
    return Boolean(selection && !selection.isCollapsed && this.content.contains(selection.anchorNode));
  }
}

/** @param {Whole} run @param {import("./views.js").Context} ctx @param {number} now */
function headOf(run, ctx, now) {
  const { colour, dash } = ctx.picks.style(run.path);
  const files = el("button", { class: "tool", type: "button", on: { click: () => openFolder(ctx.state, run.path) } }, icon("folder"), "Files");
  return [
    el("h2", {}, el("i", { class: `swatch ${dash}`, vars: { "--colour": colour } }), el("bdi", {}, ctx.label(run.path)), el("span", { class: `state ${run.state}` }, icon(run.state), stateText(run, now)), files),
    run.notes.tags.length > 0 && el("p", { class: "overview-tags" }, ...run.notes.tags.map((tag) => el("span", { class: "tag" }, tag))),
    run.notes.note && el("p", { class: "overview-note" }, run.notes.note),
    errorOf(run) && el("pre", { class: "overview-error" }, String(errorOf(run))),
  ];
}

/** @param {Whole} run @param {number} now */
function stateText(run, now) {
  if (run.state === "silent" || run.state === "killed") return run.heard === null ? stateName(run.state) : `${stateName(run.state)}, last heard ${agoText(now - run.heard)}`;
  return stateName(run.state);
}

/** What the exception said that ended the run. @param {Whole} run */
function errorOf(run) {
  const ends = run.events.filter((event) => event.event === "end" && event.error);
  return run.state === "failed" ? (ends[ends.length - 1]?.error ?? null) : null;
}

/** @param {Whole} run @param {number} now @returns {[string, Child][]} */
function factsOf(run, now) {
  const starts = run.events.filter((event) => event.event === "start");
  const start = starts[starts.length - 1] ?? {};
  const until = run.ended ?? (run.state === "running" ? now : run.heard);
  const dropped = run.events.reduce((sum, event) => sum + (Number(event.dropped) || 0), 0);
  /** @type {[string, Child][]} */
  const facts = [
    ["Path", code(oneLine(run.path) || "(the top)")],
    ["Started", run.started !== null && dateText(run.started)],
    ["Ended", run.ended !== null && dateText(run.ended)],
    ["Took", run.started !== null && until !== null && durationText(until - run.started)],
    ["Last heard", run.heard !== null && run.ended === null && `${dateText(run.heard)}, ${agoText(now - run.heard)}`],
    ["Host", (run.host || start.host) && [start.user, run.host ?? start.host].filter(Boolean).join("@")],
    ["Process", run.pid ?? start.pid],
    ["Command", start.argv && code(commandText(start.argv))],
    ["Folder", start.cwd && code(start.cwd)],
    ["Python", start.python],
    ["Git", start.git && code(valueText(gitText(start.git)))],
    ["Records", countText(run.records, "record") + (run.step === null ? "" : `, last step ${run.step}`)],
    ["Attempts", run.attempts > 1 && String(run.attempts)],
    ["Bad lines", run.bad_lines > 0 && warning(`${countText(run.bad_lines, "line")} could not be read`)],
    ["Not written", dropped > 0 && warning(`${countText(dropped, "record")} could not be written by the run`)],
  ];
  return facts.filter(([, value]) => value !== null && value !== undefined && value !== false && value !== "");
}

/** @param {unknown} text */
const code = (text) => el("code", {}, el("bdi", {}, String(text)));

/** @param {string} text */
const warning = (text) => el("span", { class: "is-bad" }, icon("alert"), text);

/** @param {unknown} argv */
const commandText = (argv) => (Array.isArray(argv) ? argv.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${String(word).replaceAll("'", "'\\''")}'`)).join(" ") : String(argv));

/** @param {unknown} git the commit, or an object with it @returns {import("./format.js").Value} */
const gitText = (git) => (git && typeof git === "object" && "commit" in git ? `${git.commit}${"dirty" in git && git.dirty ? " (with changes)" : ""}` : /** @type {any} */ (git));

/** @param {Whole} run @returns {Child[]} */
function lastValues(run) {
  const names = Object.keys(run.last).sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  if (!names.length) return [el("p", { class: "hint" }, "No numbers were logged yet: logger.log(step, loss=…)")];
  const points = new Map(run.keys.map((key) => [key.key, key]));
  return [el("h3", {}, "Last values"), el("div", { class: "scrolls" }, el("table", { class: "plain" },
    el("thead", {}, el("tr", {}, ...["Key", "Value", "Step", "Points"].map((name) => el("th", { scope: "col" }, name)))),
    el("tbody", {}, ...names.map((name) => el("tr", {},
      el("th", { scope: "row" }, el("bdi", {}, oneLine(name))), el("td", { class: "number" }, el("bdi", {}, valueText(run.last[name]))),
      el("td", { class: "number" }, points.get(name)?.last_step ?? ""), el("td", { class: "number" }, points.get(name)?.points.toLocaleString("en") ?? ""))))))];
}

/** @param {Whole} run @returns {Child[]} */
function eventTable(run) {
  if (!run.events.length) return [];
  return [el("h3", {}, "What its processes said"), el("div", { class: "scrolls" }, el("table", { class: "plain" }, el("tbody", {}, ...run.events.map((event) => el("tr", {},
    el("td", {}, typeof event._timestamp === "number" ? dateText(event._timestamp) : ""),
    el("td", {}, el("bdi", {}, [event.event, event.state].filter(Boolean).map(String).join(": "))),
    el("td", {}, [event.host, event.pid].filter((one) => one !== undefined).join(", process ")),
    el("td", { class: "overview-rest" }, el("bdi", {}, restOf(event))))))))];
}

/** @param {Event} event */
function restOf(event) {
  const known = ["_timestamp", "event", "state", "host", "pid", "argv", "cwd", "python", "user", "git"];
  return Object.entries(event).filter(([name]) => !known.includes(name)).map(([name, value]) => `${name}: ${valueText(value)}`).join(", ");
}

/** @param {HTMLElement} root @param {import("./views.js").Context} ctx */
export const mount = (root, ctx) => void new Overview(root, ctx);
