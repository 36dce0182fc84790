// @ts-check
/** What many views share: a heading for each key, under it a card for each run that has it, the keys of one run side by side. */

import { el, fill, oneLine } from "./dom.js";
import { Keyed } from "./keyed.js";
import { nameText } from "./names.js";
import { loading, notice } from "./notice.js";
import { troubleNotice } from "./trouble.js";

/** @typedef {import("./details.js").Whole} Whole */
/** @template T @typedef {{run: Whole, what: T}} Cell  what one run has of a key */
/** @template T @typedef {{kind: string, key: string, cells: Cell<T>[]}} Group */
/** @typedef {{filter: import("./state.js").Key<string>, word: string, icon: import("./icons.js").IconName, code: string, some: string}} Naming  what filters a view's keys, how what it shows is called, and the code that logs some of it, or one */

/** @template T */
export class MediaGrid {
  /**
   * @param {import("./views.js").Context} ctx
   * @param {(group: {kind: string, key: string}) => import("./keyed.js").Item<Cell<T>>} makeCard
   */
  constructor(ctx, makeCard) {
    this.ctx = ctx;
    this.element = el("div", { class: "media" });
    /** @type {Keyed<Group<T>>} */
    this.groups = new Keyed(this.element, (id) => new MediaGroup(JSON.parse(id), ctx, makeCard));
  }

  /** @param {Group<T>[]} groups */
  show(groups) {
    const runs = new Set(groups.flatMap((group) => group.cells.map((cell) => cell.run.path)));
    this.element.classList.toggle("is-single", runs.size < 2);
    this.groups.show(groups.map((group) => [JSON.stringify([group.kind, group.key]), group]));
  }
}

/** @template T */
class MediaGroup {
  /** @param {[string, string]} id @param {import("./views.js").Context} ctx @param {(group: {kind: string, key: string}) => import("./keyed.js").Item<Cell<T>>} makeCard */
  constructor([kind, key], ctx, makeCard) {
    this.cardsElement = el("div", { class: "media-cards" });
    /** @type {Keyed<Cell<T>>} */
    this.cards = new Keyed(this.cardsElement, (path) => new NamedCard(path, ctx, makeCard({ kind, key })));
    this.element = el("section", { class: "media-group" },
      el("h3", { class: "media-key" }, el("bdi", {}, oneLine(key) || kind), key && kind !== "histograms" && el("small", {}, kind)), this.cardsElement);
  }

  /** @param {Group<T>} group */
  update(group) {
    this.cards.show(group.cells.map((cell) => [cell.run.path, cell]));
  }
}

/** A card under the name and in the colour of its run. @template T */
class NamedCard {
  /** @param {string} path @param {import("./views.js").Context} ctx @param {import("./keyed.js").Item<Cell<T>>} card */
  constructor(path, ctx, card) {
    this.path = path;
    this.ctx = ctx;
    this.card = card;
    this.swatch = el("i", { class: "swatch" });
    this.name = el("span", { class: "media-run-name" });
    this.shown = "";
    this.element = el("article", { class: "media-card" }, el("div", { class: "media-run", title: path }, this.swatch, this.name), card.element);
  }

  /** @param {Cell<T>} cell */
  update(cell) {
    const { colour, dash } = this.ctx.picks.style(this.path);
    this.swatch.className = `swatch ${dash}`;
    this.swatch.style.setProperty("--colour", colour);
    const label = this.ctx.label(this.path);
    if (label !== this.shown) fill(this.name, nameText(label));
    this.shown = label;
    this.card.update(cell);
  }
}

/**
 * The media of some kinds, grouped by kind and key. @param {Whole[]} runs @param {readonly string[]} kinds in their order
 * @returns {Group<import("./steps.js").MediaFile[]>[]}
 */
export function groupedMedia(runs, kinds) {
  /** @type {Map<string, Group<import("./steps.js").MediaFile[]>>} */
  const groups = new Map();
  for (const run of runs)
    for (const { kind, key, files } of run.media) {
      if (!kinds.includes(kind) || !files.length) continue;
      const id = JSON.stringify([kinds.indexOf(kind), key]);
      if (!groups.has(id)) groups.set(id, { kind, key, cells: [] });
      groups.get(id)?.cells.push({ run, what: files });
    }
  return [...groups.values()].sort((a, b) => kinds.indexOf(a.kind) - kinds.indexOf(b.kind) || a.key.localeCompare(b.key, "en", { numeric: true }));
}

/**
 * Why no key is shown: all are filtered out, they are on their way, they can't be had, or nothing was logged, and how one does.
 * @param {import("./views.js").Context} ctx @param {import("./details.js").Details} details @param {number} filtered
 * @param {Naming} what
 */
export function nothingLogged(ctx, details, filtered, { filter, word, icon, code, some }) {
  if (filtered) return notice({ icon: "search", title: "No key is called so", action: { label: "Show all", do: () => ctx.state.set(filter, "") } });
  if (details.isLoading) return loading(`Waiting for the ${word}`);
  return troubleNotice(details) ?? notice({ icon, title: `No ${word} yet`, text: `The picked runs have none. This logs ${some}:`, code });
}
