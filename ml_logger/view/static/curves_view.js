// @ts-check
/** The tab of curves: how they are drawn, and the charts in their groups. */

import { Chart } from "./chart.js";
import { controls } from "./curve_controls.js";
import { ALL_RUNS, FOLDED, LOOKS, METRICS, WIDE, X, ZOOMS } from "./curve_settings.js";
import { el, fill } from "./dom.js";
import { countText } from "./format.js";
import { filtered, grouped, pinnedCharts } from "./metric_groups.js";
import { loading, notice } from "./notice.js";
import { NumericKeys } from "./numeric_keys.js";
import { nothingPicked } from "./trouble.js";

/** @typedef {import("./chart_data.js").DrawnRun} DrawnRun */
/** @typedef {import("./metric_groups.js").ChartSpec} ChartSpec */
/** @typedef {import("./metric_groups.js").Group} Group */
/** @typedef {import("./views.js").Context} Context */

const MOST_RUNS = 20; // drawn without being asked for
const MOST_FOLDERS = 30; // whose charts are asked for, in one URL

class Curves {
  /** @param {HTMLElement} root @param {Context} ctx */
  constructor(root, ctx) {
    this.ctx = ctx;
    /** By the chart's id. @type {Map<string, Chart>} */
    this.charts = new Map();
    this.numeric = new NumericKeys(ctx, () => this.#follow());
    /** @type {ChartSpec[]} */
    this.pinned = [];
    /** @type {string | null} */
    this.askedFolders = null;
    this.more = el("div", { class: "curves-more", hidden: true });
    this.place = el("div", { class: "curves-place" });
    this.drawn = "";
    this.isEmpty = true;
    fill(root, controls(ctx), this.more, this.place);
    ctx.on("picks", () => this.#follow());
    ctx.on("runs", () => this.isEmpty && this.#layOut());
    ctx.on("theme", () => this.#each((chart) => chart.draw()));
    ctx.on("state", (names) => this.#changed(names));
    this.#follow();
  }

  /** Ask for the charts of the folders that the drawn runs are in, once for the same folders. */
  async #askPinned() {
    const { api, me, picks, signal } = this.ctx;
    const folders = [...new Set([me.prefix, ...picks.list().map(({ path }) => path.slice(0, Math.max(0, path.lastIndexOf("/"))))])].slice(0, MOST_FOLDERS);
    if (String(folders) === this.askedFolders) return;
    const asked = (this.askedFolders = String(folders));
    const { value } = await api.getJson("view/api/charts", { above: folders }, signal);
    if (!value || asked !== this.askedFolders) return;
    this.pinned = pinnedCharts(/** @type {any} */ (value).charts);
    this.#layOut();
  }

  /** @param {(chart: Chart) => void} act */
  #each(act) {
    for (const chart of this.charts.values()) act(chart);
  }

  /** @param {Set<string>} names */
  #changed(names) {
    if ([METRICS, WIDE, FOLDED].some(({ name }) => names.has(name))) this.#layOut();
    if ([X, ALL_RUNS].some(({ name }) => names.has(name))) this.#follow();
    if (names.has(ZOOMS.name)) this.#each((chart) => void chart.rezoom());
    if (LOOKS.some((name) => names.has(name))) this.#each((chart) => void chart.restyle());
  }

  /** Take in which runs are picked, and what is new of them. */
  #follow() {
    void this.#askPinned();
    this.#layOut();
    this.#tellOfMore();
    this.#each((chart) => chart.follow());
  }

  /** @returns {DrawnRun[]} */
  #runs() {
    const { picks, state, label } = this.ctx;
    const all = picks.list();
    return (state.get(ALL_RUNS) ? all : all.slice(0, MOST_RUNS)).map(({ path, params }) => {
      const { colour, dash } = picks.style(path);
      return { path, params, colour, dash, name: label(path) };
    });
  }

  #tellOfMore() {
    const count = this.ctx.picks.list().length;
    this.more.hidden = count <= MOST_RUNS;
    const isAll = this.ctx.state.get(ALL_RUNS);
    if (this.more.hidden) return;
    fill(this.more, isAll ? `All ${count} picked runs are drawn.` : `Drawn are ${MOST_RUNS} of ${countText(count, "picked run")}.`,
      el("button", { class: "button small", type: "button", on: { click: () => this.ctx.state.set(ALL_RUNS, !isAll) } }, isAll ? `Show ${MOST_RUNS}` : `Show all ${count}`));
  }

  /** Every key that one of the drawn runs has numbers of. */
  #keys() {
    const runs = this.#runs().flatMap(({ path }) => this.ctx.runs.get(path) ?? []);
    void this.numeric.ask(runs);
    return new Set(runs.flatMap((run) => Object.keys(run.last).filter((key) => this.numeric.has(run, key))));
  }

  /** The drawn runs that have numbers of one of `keys`. @param {string[]} keys */
  #runsWith(keys) {
    return this.#runs().filter(({ path }) => {
      const run = this.ctx.runs.get(path);
      return run && keys.some((key) => this.numeric.has(run, key));
    });
  }

  /** Put the charts in their places; those that are there stay as they are. */
  #layOut() {
    const { state } = this.ctx;
    const groups = grouped(this.#keys(), this.pinned);
    const shown = filtered(groups, state.get(METRICS));
    const drawn = JSON.stringify([shown, state.get(WIDE), state.get(FOLDED), this.#emptiness(groups, shown)]);
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    this.#dropAllBut(new Set(shown.flatMap((group) => group.charts.map((chart) => chart.id))));
    const empty = this.#emptiness(groups, shown);
    this.isEmpty = empty !== null;
    fill(this.place, ...(empty ? [EMPTY[empty](this.ctx)] : shown.map((group) => this.#section(group))));
  }

  /** @param {Group[]} groups @param {Group[]} shown @returns {keyof typeof EMPTY | null} */
  #emptiness(groups, shown) {
    const { me, runs, picks } = this.ctx;
    if (!me.has_plotly) return "plotly";
    if (!runs.isKnown) return "waiting";
    if (!runs.size && !picks.deleted().length) return "noRun";
    if (!picks.list().length) return "noPick";
    if (!groups.length) return "noMetric";
    return shown.length ? null : "noMatch";
  }

  /** @param {Set<string>} ids */
  #dropAllBut(ids) {
    for (const [id, chart] of this.charts)
      if (!ids.has(id)) {
        chart.free();
        this.charts.delete(id);
      }
  }

  /** @param {Group} group */
  #section({ name, charts }) {
    const { state } = this.ctx;
    const isFolded = state.get(FOLDED).includes(name);
    const toggle = (/** @type {Event} */ event) => {
      event.preventDefault();
      const others = state.get(FOLDED).filter((other) => other !== name);
      state.set(FOLDED, isFolded ? others : [...others, name]);
    };
    return el("details", { class: "curves-group", open: !isFolded, "data-group": name },
      el("summary", { on: { click: toggle } }, el("h2", {}, name), el("span", { class: "hint" }, countText(charts.length, "chart"))),
      el("div", { class: "curves-grid" }, ...(isFolded ? [] : charts.map((spec) => this.#chart(spec).element))));
  }

  /** @param {ChartSpec} spec */
  #chart(spec) {
    const chart = this.charts.get(spec.id) ?? new Chart(this.ctx, spec, (keys) => this.#runsWith(keys));
    this.charts.set(spec.id, chart);
    chart.setWide(this.ctx.state.get(WIDE) === spec.id);
    return chart;
  }
}

/** @type {Record<string, (ctx: Context) => Node>} */
const EMPTY = {
  plotly: () => notice({ title: "Curves are drawn by plotly.js, which is not installed here", text: "Where the server runs:", code: "pip install 'ml-logger[view]'", icon: "alert" }),
  waiting: () => loading("Looking for runs"),
  noRun: () => notice({ title: "No run yet", text: "Curves appear here as soon as a run logs its first numbers." }),
  noPick: nothingPicked,
  noMetric: () => notice({ title: "No metrics yet", text: "The picked runs have logged no numbers so far. Their curves appear as they do." }),
  noMatch: (ctx) => notice({ title: "No metric matches the filter", action: { label: "Show all metrics", do: () => ctx.state.set(METRICS, "") } }),
};

/** @param {HTMLElement} root @param {Context} ctx */
export function mount(root, ctx) {
  new Curves(root, ctx);
}
