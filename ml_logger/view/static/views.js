// @ts-check
/**
 * The tabs. A view registers itself when its module is loaded, and app.js loads the modules in the order of the tabs. It is
 * mounted when its tab is opened, into an empty element, and unmounted when another is.
 */

/**
 * What a view is given, for as long as it is mounted.
 * @typedef {object} Context
 * @property {import("./api.js").Api} api
 * @property {import("./state.js").ViewState} state
 * @property {import("./runs.js").Runs} runs
 * @property {import("./picks.js").Picks} picks  the picked runs, and how each is drawn
 * @property {Me} me  who looks, and at what
 * @property {AbortSignal} signal  aborted when the view is unmounted; pass it to every listener and call
 * @property {(path: string) => string} label  a run's short name: without the folders that all runs share
 * @property {(colour: string) => string} resolve  a CSS colour with its variables put in, for what is no CSS
 * @property {(what: What, listener: (changed: Set<string>) => void) => void} on  hear of changes until unmounted
 * @property {(element: Element, near: () => void, far?: () => void) => void} whenSeen  mount lazily (seen.js)
 */
/**
 * `runs`: any run (the set has their paths). `picks`: other runs are picked, or a picked one changed. `state`: the URL (the set
 * has the keys' names). `theme`: dark became light.
 * @typedef {"runs" | "picks" | "state" | "theme"} What
 */
/** @typedef {{name: string, rights: string[], prefix: string, needs_login: boolean, title: string, is_receiver: boolean, has_plotly: boolean}} Me */
/**
 * @typedef {object} View
 * @property {string} id  in the URL
 * @property {string} title
 * @property {(root: HTMLElement, ctx: Context) => void} mount
 * @property {(root: HTMLElement) => void} [unmount]  what aborting the signal and emptying `root` don't do
 * @property {(me: Me) => boolean} [isFor]  whether there is anything to look at; without it always
 * @property {boolean} [hasNoRail]  shows no list of the picked runs at its side
 */

/** @type {View[]} */
const views = [];

/** Add a tab behind those that are there. @param {View} view */
export function registerView(view) {
  if (views.some((other) => other.id === view.id)) throw new Error(`two views are called ${view.id}`);
  views.push(view);
}

/** The tabs in their order. @param {Me} me */
export const viewsFor = (me) => views.filter((view) => view.isFor?.(me) ?? true);
