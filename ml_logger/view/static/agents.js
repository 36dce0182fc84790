// @ts-check
/** The agents that ship to this receiver: when each was heard last, what it has left, what it can't ship, what it watches. */

import { poll } from "./api.js";
import { el, fill } from "./dom.js";
import { agoText, countText, dateText, durationText, sizeText } from "./format.js";
import { icon } from "./icons.js";
import { loading, notice } from "./notice.js";

/**
 * @typedef {{spool: string, backlog_files: number, backlog_bytes: number, shipped_files: number, shipped_bytes: number, errors: number,
 *   aside: number, bytes_per_s: number, oldest_unshipped_s: number | null, last_ack_at: number | null, last_error: string | null,
 *   runs_alive: string[], aside_files?: {path: string, reason: string}[]}} Spool
 */
/** @typedef {{source: string, host: string, agent: string, pid: number, started_at: number, age_s: number, spools: Spool[]}} Agent */
/** @typedef {import("./dom.js").Child} Child */

const EVERY_MS = 3000;
const SILENT_S = 90; // some heartbeats were missed by then
const HOW = `ml-logger-agent --config agent.yaml   # spool: /tmp/ml_logger/logs, server: this URL`;

class Agents {
  /** @param {HTMLElement} root @param {import("./views.js").Context} ctx */
  constructor(root, ctx) {
    this.ctx = ctx;
    this.root = root;
    fill(root, loading("Waiting for the agents"));
    /** As last answered. @type {Agent[] | null} */
    this.agents = null;
    this.knewRuns = ctx.runs.isKnown;
    poll(() => this.#ask(), EVERY_MS, ctx.signal);
    ctx.on("runs", () => this.#linkRuns());
  }

  async #ask() {
    /** @type {import("./api.js").Result<{agents: Agent[]}>} */
    const { value, trouble } = await this.ctx.api.getJson("view/api/agents", {}, this.ctx.signal);
    if (this.ctx.signal.aborted) return true;
    if (trouble) {
      if (trouble.kind !== "gone") fill(this.root, notice({ icon: "alert", title: "The agents can't be listed", text: trouble.message }));
      return false;
    }
    this.agents = value.agents;
    this.#draw(value.agents);
    return true;
  }

  /** Draw once more when it is first known which runs there are to link to. */
  #linkRuns() {
    if (!this.knewRuns && this.agents) this.#draw(this.agents);
    this.knewRuns ||= Boolean(this.agents);
  }

  /** @param {Agent[]} agents */
  #draw(agents) {
    if (this.#isSelecting()) return;
    fill(this.root, agents.length ? el("div", { class: "agents" }, summary(agents), ...agents.map((agent) => this.#card(agent))) : nobody());
  }

  #isSelecting() {
    const selection = document.getSelection();
    return Boolean(selection && !selection.isCollapsed && this.root.contains(selection.anchorNode));
  }

  /** @param {Agent} agent */
  #card(agent) {
    const isSilent = agent.age_s > SILENT_S;
    return el("article", { class: "agent" },
      el("header", {}, el("h3", {}, el("bdi", {}, agent.host || agent.source)), health(agent),
        el("span", { class: isSilent ? "is-bad" : "hint" }, isSilent ? `not heard from for ${durationText(agent.age_s)}` : `heard ${agoText(agent.age_s)}`),
        el("span", { class: "hint", title: dateText(agent.started_at) }, `version ${agent.agent}, process ${agent.pid}, up for ${durationText(Date.now() / 1000 - agent.started_at)}`)),
      ...agent.spools.map((spool) => this.#spool(spool)));
  }

  /** @param {Spool} spool */
  #spool(spool) {
    return el("section", { class: "agent-spool" },
      el("code", {}, el("bdi", {}, spool.spool)),
      el("dl", { class: "tensor-facts" }, ...factsOf(spool).map(([name, value, isBad]) => el("div", { class: isBad ? "is-bad" : null }, el("dt", {}, name), el("dd", {}, value)))),
      spool.last_error && el("p", { class: "agent-error" }, icon("alert"), el("bdi", {}, spool.last_error)),
      spool.aside > 0 && asideTable(spool),
      spool.runs_alive.length > 0 && el("p", { class: "agent-runs" }, "Alive: ", ...spool.runs_alive.flatMap((path, i) => [i > 0 && ", ", this.#runLink(path)])));
  }

  /** @param {string} path */
  #runLink(path) {
    const run = this.ctx.runs.get(path);
    if (!run) return el("bdi", {}, path);
    const open = (/** @type {Event} */ event) => {
      event.preventDefault();
      this.ctx.picks.pick([path], true);
      this.ctx.state.goTo(`#overview?one=${run.id}${this.ctx.picks.isAutomatic ? "" : `&r=${this.ctx.picks.link()}`}`);
    };
    return el("a", { href: `#overview?one=${run.id}`, on: { click: open } }, el("bdi", {}, path));
  }
}

/** @param {Agent} agent */
function health(agent) {
  const isBad = agent.spools.some((spool) => spool.last_error || spool.aside);
  if (agent.age_s > SILENT_S) return el("span", { class: "state silent" }, icon("silent"), "silent");
  return isBad ? el("span", { class: "state failed" }, icon("alert"), "needs a look") : el("span", { class: "state finished" }, icon("finished"), "well");
}

/** @param {Agent[]} agents */
function summary(agents) {
  const spools = agents.flatMap((agent) => agent.spools);
  const sum = (/** @type {(spool: Spool) => number} */ of) => spools.reduce((total, spool) => total + of(spool), 0);
  const aside = sum((spool) => spool.aside);
  return el("p", { class: "agents-summary" }, countText(agents.length, "agent"), ` · ${countText(sum((spool) => spool.backlog_files), "file")} (${sizeText(sum((spool) => spool.backlog_bytes))}) to ship`,
    ` · ${sizeText(sum((spool) => spool.bytes_per_s))}/s`, aside > 0 && el("span", { class: "is-bad" }, ` · ${countText(aside, "file")} set aside`));
}

/** @param {Spool} spool @returns {[string, string, boolean][]} */
function factsOf(spool) {
  const now = Date.now() / 1000;
  return [
    ["to ship", spool.backlog_files ? `${countText(spool.backlog_files, "file")}, ${sizeText(spool.backlog_bytes)}` : "nothing", false],
    ["oldest waits for", spool.oldest_unshipped_s === null ? "" : durationText(spool.oldest_unshipped_s), (spool.oldest_unshipped_s ?? 0) > 600],
    ["speed", `${sizeText(spool.bytes_per_s)}/s`, false],
    ["shipped", `${countText(spool.shipped_files, "file")}, ${sizeText(spool.shipped_bytes)}`, false],
    ["last stored", spool.last_ack_at === null ? "never" : agoText(now - spool.last_ack_at), false],
    ["set aside", spool.aside ? countText(spool.aside, "file") : "", true],
    ["errors", spool.errors ? spool.errors.toLocaleString("en") : "", false],
  ].filter((fact) => fact[1] !== "").map(([name, text, isBad]) => [String(name), String(text), Boolean(isBad)]);
}

/** What can't be shipped as it is, and why. @param {Spool} spool */
function asideTable({ aside, aside_files: files = [] }) {
  const rows = files.map(({ path, reason }) => el("tr", {}, el("th", { scope: "row" }, el("bdi", {}, path)), el("td", {}, el("bdi", {}, reason))));
  const more = aside > files.length && el("p", { class: "hint" }, `${files.length ? "and " : ""}${countText(aside - files.length, files.length ? "more file" : "file")}: `, el("code", {}, "ml-logger-agent status"), " there lists all");
  return el("div", { class: "agent-aside" }, el("h4", {}, "Set aside"), el("div", { class: "scrolls" }, el("table", { class: "plain" }, el("tbody", {}, ...rows))), more);
}

const nobody = () => notice({ icon: "list", title: "No agent was heard of", text: "Since this receiver was started. An agent says every few seconds how it is.", code: HOW });

/** @param {HTMLElement} root @param {import("./views.js").Context} ctx */
export const mount = (root, ctx) => void new Agents(root, ctx);
