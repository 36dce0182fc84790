// @ts-check
/** What stands around every view: the tabs, the list of picked runs at the side, how the connection is, the keys. */

import { el, fill, oneLine, setText } from "./dom.js";
import { icon } from "./icons.js";
import { listenToKeys, showKeys } from "./keys.js";
import { askToken } from "./login.js";
import { notice } from "./notice.js";
import { Rail } from "./rail.js";
import { savedViewsButton } from "./saved.js";
import { whenSeen } from "./seen.js";
import { writeHash } from "./state.js";
import { viewsFor } from "./views.js";

/** @typedef {import("./views.js").View} View */
/** @typedef {import("./views.js").Context} Context */
/**
 * What the frame stands on.
 * @typedef {{api: import("./api.js").Api, state: import("./state.js").ViewState, runs: import("./runs.js").Runs,
 *   picks: import("./picks.js").Picks, me: import("./views.js").Me}} Parts
 */

export class Frame {
  /** @param {Parts} parts */
  constructor(parts) {
    this.parts = parts;
    this.views = viewsFor(parts.me);
    this.theme = new EventTarget();
    this.rail = new Rail(parts, (path) => this.label(path));
    this.tabs = el("nav", { class: "tabs", role: "tablist", "aria-label": "Views" }, ...this.views.map((view, i) => this.#tab(view, i)));
    this.place = el("span", { class: "place", title: parts.me.title }, parts.me.title);
    this.banner = el("div", { class: "banner", role: "alert", hidden: true });
    this.root = el("main", { class: "view", id: "view", tabindex: "-1" });
    this.said = el("div", { class: "unseen", role: "status", "aria-live": "polite" });
    this.header = el("header", { class: "header" }, el("a", { class: "brand", href: "./", title: "To the start" }, mark(), this.place), this.tabs, this.#tools());
    this.elements = [this.header, this.banner, el("div", { class: "body" }, this.rail.element, this.root), this.said];
    /** @type {AbortController | null} */
    this.mounted = null;
    /** @type {View | null} */
    this.view = null;
  }

  /** Show the tab that the URL names, and go on as it changes. */
  open() {
    const { state, api } = this.parts;
    state.addEventListener("change", () => this.#show());
    api.addEventListener("trouble", (event) => this.#troubled(/** @type {CustomEvent<import("./api.js").Trouble>} */ (event).detail));
    api.addEventListener("well", () => (this.banner.hidden = true));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.theme.dispatchEvent(new Event("change")));
    listenToKeys(state, this.views, () => this.root);
    this.#show();
  }

  /** @param {string} path */
  label(path) {
    return oneLine(path.slice(this.parts.runs.shared.length) || path || this.parts.me.title);
  }

  #show() {
    const view = this.views.find((one) => one.id === this.parts.state.tab) ?? this.views[0];
    if (view === this.view) return;
    this.mounted?.abort();
    if (this.view) this.view.unmount?.(this.root);
    fill(this.root);
    this.view = view;
    this.mounted = new AbortController();
    for (const tab of this.tabs.children) tab.setAttribute("aria-selected", String(tab.id === `tab-${view.id}`));
    this.tabs.querySelector("[aria-selected=true]")?.scrollIntoView({ block: "nearest", inline: "center" });
    this.root.className = `view view-${view.id}`;
    this.root.setAttribute("aria-labelledby", `tab-${view.id}`);
    this.rail.element.hidden = Boolean(view.hasNoRail);
    document.title = `${view.title} · ${this.parts.me.title || "ML_Logger"}`;
    this.#mount(view, this.mounted.signal);
  }

  /** A view that fails leaves the others alone. @param {View} view @param {AbortSignal} signal */
  #mount(view, signal) {
    try {
      view.mount(this.root, this.#context(signal));
    } catch (error) {
      fill(this.root, notice({ icon: "alert", title: "This view could not be drawn", text: String(error) }));
      reportError(error);
    }
  }

  /** @param {AbortSignal} signal @returns {Context} */
  #context(signal) {
    const sources = { runs: this.parts.runs, picks: this.parts.picks, state: this.parts.state, theme: this.theme };
    return {
      ...this.parts,
      signal,
      label: (path) => this.label(path),
      resolve: resolveColour,
      on: (what, listener) =>
        sources[what].addEventListener("change", (event) => listener(/** @type {CustomEvent} */ (event).detail ?? new Set()), { signal }),
      whenSeen: (element, near, far) => whenSeen(element, near, signal, far),
    };
  }

  /** @param {View} view @param {number} i */
  #tab(view, i) {
    return el("a", {
      class: "tab", id: `tab-${view.id}`, role: "tab", href: `#${view.id}`, "aria-controls": "view", "aria-selected": "false",
      "aria-keyshortcuts": i < 9 ? String(i + 1) : null, title: i < 9 ? `${view.title} (${i + 1})` : view.title,
      on: { click: (event) => this.#tabClicked(event, view) },
    }, view.title);
  }

  /** A tab keeps what the URL says; opened elsewhere it is a link as it stands. @param {MouseEvent} event @param {View} view */
  #tabClicked(event, view) {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
    event.preventDefault();
    this.parts.state.open(view.id);
  }

  #tools() {
    const copy = el("button", { class: "tool", type: "button", title: "Copy a link to just this view", on: { click: () => this.#copyLink(copy) } }, icon("link"), el("span", {}, "Copy link"));
    const help = el("button", { class: "tool", type: "button", title: "Keys (?)", "aria-label": "Keys", on: { click: () => showKeys(this.views) } }, icon("keys"));
    const leave = el("button", { class: "tool", type: "button", title: `Log out ${this.parts.me.name ?? ""}`, "aria-label": "Log out", on: { click: () => this.#leave() } }, icon("leave"));
    return el("div", { class: "tools" }, savedViewsButton(this.parts, (text) => this.say(text)), copy, help, this.parts.me.is_receiver && leave);
  }

  /** @param {HTMLElement} button */
  async #copyLink(button) {
    const { tab, values } = this.parts.picks.linkOfAll();
    const url = new URL(writeHash(tab || this.views[0].id, values), location.href).href;
    try {
      await navigator.clipboard.writeText(url);
    } catch {
      history.replaceState(null, "", url); // no clipboard without TLS: the address bar then has it
      return this.say("The link is in the address bar");
    }
    button.classList.add("done");
    setTimeout(() => button.classList.remove("done"), 1200);
    this.say("Link copied");
  }

  async #leave() {
    await this.parts.api.sendJson("POST", "view/logout", {}, {});
    location.reload();
  }

  /** Tell by a line that goes by itself. @param {string} text */
  say(text) {
    setText(this.said, text);
    this.said.classList.add("shown");
    clearTimeout(this.saidTimer);
    this.saidTimer = setTimeout(() => this.said.classList.remove("shown"), 2500);
  }

  /** @param {import("./api.js").Trouble} trouble */
  #troubled(trouble) {
    if (trouble.kind === "denied") return void this.#askAgain();
    const again = el("button", { class: "button small", type: "button", on: { click: () => this.parts.runs.refresh() } }, "Try now");
    if (this.banner.hidden) fill(this.banner, icon("alert"), el("span", {}, `The server does not answer (${trouble.message}). What you see is what it said last; trying again.`), again);
    this.banner.hidden = false;
  }

  async #askAgain() {
    if (this.isAsking) return;
    this.isAsking = true;
    await askToken(this.parts.api, this.parts.me.title, "The token is no longer valid. Log in to go on.");
    location.reload();
  }
}

const mark = () => el("img", { src: "view/static/icon.svg", alt: "", width: 20, height: 20, class: "mark" });

/** Put the variables of a colour in, as the theme has them. @param {string} colour */
function resolveColour(colour) {
  const name = /^var\((--[\w-]+)\)$/.exec(colour)?.[1];
  return name ? getComputedStyle(document.documentElement).getPropertyValue(name).trim() : colour;
}
