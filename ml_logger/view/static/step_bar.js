// @ts-check
/** One slider over the steps of all that a view shows. Arrow keys move it from anywhere in the view; at the end it follows. */

import { el, setText } from "./dom.js";
import { icon } from "./icons.js";
import { isTyping } from "./keys.js";
import { indexAt } from "./steps.js";

/** @typedef {import("./views.js").Context} Context */

const PLAY_MS = 350;

export class StepBar {
  /** @param {Context} ctx @param {import("./state.js").Key<number | null>} key null is the last step, whatever it will be */
  constructor(ctx, key) {
    this.ctx = ctx;
    this.key = key;
    /** @type {number[]} */
    this.steps = [];
    this.slider = el("input", { type: "range", min: 0, max: 0, step: 1, value: 0, "aria-label": "Step", on: { input: () => this.#goTo(Number(this.slider.value)) } });
    this.label = el("output", { class: "step-label" });
    this.playing = 0;
    this.play = el("button", { class: "tool", type: "button", on: { click: () => this.#togglePlay() } });
    this.element = el("div", { class: "step-bar", role: "group", "aria-label": "Steps" },
      this.play, this.#button("left", "Step before (←)", -1), this.slider, this.#button("right", "Step behind (→)", 1), this.label);
    ctx.on("state", (changed) => changed.has(key.name) && this.#draw());
    document.addEventListener("keydown", (event) => this.#keyed(event), { signal: ctx.signal });
    ctx.signal.addEventListener("abort", () => clearInterval(this.playing));
    this.#draw();
  }

  /** The step to show; null only where there are no steps. @returns {number | null} */
  get step() {
    return this.steps[indexAt(this.steps, this.wish)] ?? null;
  }

  /** What the URL says; null is the last. */
  get wish() {
    return this.ctx.state.get(this.key);
  }

  /** @param {number[]} steps ascending */
  setSteps(steps) {
    this.steps = steps;
    this.#draw();
  }

  /** @param {"left" | "right"} name @param {string} title @param {number} by */
  #button(name, title, by) {
    return el("button", { class: "tool", type: "button", title, "aria-label": title, on: { click: () => this.move(by) } }, icon(name));
  }

  /** Go some steps on, or back. @param {number} by */
  move(by) {
    this.#goTo(indexAt(this.steps, this.wish) + by);
  }

  /** @param {number} index */
  #goTo(index) {
    const last = this.steps.length - 1;
    if (last < 0) return;
    const step = index >= last ? null : this.steps[Math.max(0, index)];
    this.ctx.state.set(this.key, step, { replace: true });
  }

  #togglePlay() {
    clearInterval(this.playing);
    const next = () => (indexAt(this.steps, this.wish) >= this.steps.length - 1 ? this.#goTo(0) : this.move(1));
    this.playing = this.playing ? 0 : setInterval(next, PLAY_MS);
    this.#draw();
  }

  /** @param {KeyboardEvent} event */
  #keyed(event) {
    if (event.defaultPrevented || event.metaKey || event.ctrlKey || event.altKey || event.shiftKey || isTyping(event.target)) return;
    if (event.target === this.slider || (event.target instanceof Element && event.target.matches(".moves-itself"))) return;
    if (document.querySelector("dialog[open]:not(.full)")) return;
    /** @type {Record<string, () => void>} */
    const moves = { ArrowLeft: () => this.move(-1), ArrowRight: () => this.move(1), Home: () => this.#goTo(0), End: () => this.#goTo(Infinity) };
    if (!moves[event.key] || this.steps.length < 2) return;
    event.preventDefault();
    moves[event.key]();
  }

  #draw() {
    const { steps, slider } = this;
    const index = indexAt(steps, this.wish);
    this.element.hidden = steps.length < 2;
    slider.max = String(Math.max(0, steps.length - 1));
    slider.value = String(index);
    const isLast = this.wish === null || index === steps.length - 1;
    setText(this.label, steps.length ? `step ${steps[index]}${isLast ? ", the last" : ` of ${steps[steps.length - 1]}`}` : "");
    slider.setAttribute("aria-valuetext", this.label.textContent ?? "");
    const title = this.playing ? "Stop" : "Play the steps";
    this.play.replaceChildren(icon(this.playing ? "pause" : "play"));
    this.play.title = title;
    this.play.setAttribute("aria-label", title);
  }
}
