// @ts-check
/** One run beside the table: its state, its last values and params, and what people say of it. */

import { durationOf, stateSentence } from "./columns.js";
import { el, fill, oneLine, setText } from "./dom.js";
import { countText, dateText, durationText, valueText } from "./format.js";
import { icon } from "./icons.js";
import { changeNotes, mergedTags } from "./notes.js";

/** @typedef {import("./runs.js").Run} Run */
/** @typedef {import("./runs.js").Notes} Notes */
/** @typedef {import("./runs.js").Value} Value */

export class RunDetail {
  /** @param {import("./views.js").Context} ctx @param {() => void} close */
  constructor(ctx, close) {
    this.ctx = ctx;
    this.canWrite = ctx.me.rights.includes("write");
    this.title = el("h2", {});
    this.facts = el("div", { class: "detail-facts" });
    this.tags = el("input", { type: "text", placeholder: "Tags, with commas", "aria-label": "Tags", disabled: !this.canWrite, on: { change: () => void this.#saveTags() } });
    this.note = el("textarea", { rows: 3, placeholder: this.canWrite ? "Note" : "Your token may read only", "aria-label": "Note", disabled: !this.canWrite, on: { change: () => void this.#saveNote() } });
    this.saved = el("span", { class: "hint", role: "status" });
    this.conflict = el("div", { class: "detail-conflict", role: "alert", hidden: true });
    /** What the fields showed before somebody wrote into them. */
    this.before = { tags: /** @type {string[]} */ ([]), note: "" };
    this.pinButton = el("button", { class: "tool", type: "button", disabled: !this.canWrite, "aria-pressed": "false", on: { click: () => this.run && void this.pin(this.run) } }, icon("pin"), "Pin");
    this.onlyButton = el("button", { class: "tool", type: "button", title: "Pick this run and no other", on: { click: () => this.run && ctx.picks.set([this.run.path]) } }, "Pick only this");
    this.values = el("div", { class: "detail-values" });
    const closeButton = el("button", { class: "tool", type: "button", "aria-label": "Close", title: "Close (Esc)", on: { click: close } }, icon("close"));
    this.body = el("div", {}, this.facts, el("div", { class: "detail-actions" }, this.pinButton, this.onlyButton), el("div", { class: "detail-notes" }, this.tags, this.note, this.saved, this.conflict), this.values);
    this.gone = el("p", { class: "notice" });
    this.element = el("aside", { class: "detail", "aria-label": "Run", hidden: true }, el("div", { class: "detail-head" }, this.title, closeButton), this.body, this.gone);
    /** @type {Run | undefined} */
    this.run = undefined;
    /** @type {Promise<unknown>} */
    this.editing = Promise.resolve();
  }

  /** @param {string} id of the run; empty: none */
  show(id) {
    this.element.hidden = !id;
    if (!id) return void (this.run = undefined);
    const run = this.ctx.runs.byId.get(id);
    const deleted = [...this.ctx.runs.deleted.values()].find((one) => one.id === id);
    this.body.hidden = !run;
    this.gone.hidden = Boolean(run);
    setText(this.gone, deleted ? "This run was deleted while you looked at it." : this.ctx.runs.isKnown && !run ? "The run of this link is not here." : "");
    setText(this.title, this.ctx.label((run ?? deleted)?.path ?? ""));
    if (run) this.#draw(run);
  }

  /** @param {Run} run */
  #draw(run) {
    const isOther = this.run?.path !== run.path;
    if (!isOther && this.run?.version === run.version && this.run.notes === run.notes) return;
    this.run = run;
    this.#drawFacts(run);
    this.#drawNotes(run.notes, isOther);
    fill(this.values, ...section("Last values", run.last), ...section("Params", run.params));
  }

  /** @param {Run} run */
  #drawFacts(run) {
    const duration = durationOf(run, Date.now() / 1000);
    const facts = /** @type {[string, string][]} */ ([
      ["Path", oneLine(run.path) || "(the top)"],
      ["Start", run.started === null ? "" : dateText(run.started)],
      ["Duration", duration === null ? "" : durationText(duration)],
      ["Host", [run.host, run.pid === null ? "" : `pid ${run.pid}`].filter(Boolean).join(", ")],
      ["Records", `${countText(run.records, "record")}${run.step === null ? "" : `, step ${run.step}`}`],
    ]);
    fill(this.facts, el("p", { class: `state ${run.state}` }, icon(run.state), el("span", {}, stateSentence(run))),
      el("dl", {}, ...facts.filter(([, text]) => text).flatMap(([name, text]) => [el("dt", {}, name), el("dd", {}, text)])));
  }

  /** Never under the hands of whoever types. @param {Notes} notes @param {boolean} isOther */
  #drawNotes(notes, isOther) {
    this.pinButton.setAttribute("aria-pressed", String(notes.pinned));
    if (isOther) setText(this.saved, "");
    if (isOther || document.activeElement !== this.tags) {
      this.tags.value = notes.tags.join(", ");
      this.before.tags = notes.tags;
    }
    if (isOther || document.activeElement !== this.note) this.note.value = this.before.note = notes.note;
  }

  /** Put the text cursor into the note. */
  editNote() {
    this.note.focus();
  }

  /** Pin a run, or not any more. @param {Run} run */
  pin(run) {
    const pinned = !run.notes.pinned;
    return this.#edit(run, (notes) => ({ ...notes, pinned }));
  }

  async #saveTags() {
    const tags = [...new Set(this.tags.value.split(",").map((tag) => tag.trim()).filter(Boolean))];
    const before = this.before.tags;
    if (this.run) await this.#edit(this.run, (notes) => ({ ...notes, tags: mergedTags(before, tags, notes.tags) }));
  }

  /** Save the note in the place of the one that was seen; of another one it is told. */
  async #saveNote(run = this.run, note = this.note.value, before = this.before.note) {
    if (!run) return;
    if (run.path === this.run?.path) this.before.note = note;
    const kept = await this.#edit(run, (notes) => ([before, note].includes(notes.note) ? { ...notes, note } : null));
    if (kept && kept.note !== note) this.#tellConflict(run, kept.note, note);
  }

  /** Show both notes, and let whoever wrote second decide. @param {Run} run @param {string} theirs @param {string} mine */
  #tellConflict(run, theirs, mine) {
    const end = () => (this.conflict.hidden = true);
    const replace = () => (end(), void this.#saveNote(run, mine, theirs));
    setText(this.saved, "Not saved");
    this.saved.classList.add("bad");
    fill(this.conflict, el("p", {}, `Somebody else changed the note of ${this.ctx.label(run.path)} meanwhile. Theirs:`), el("pre", {}, theirs), el("p", {}, "Yours:"), el("pre", {}, mine),
      el("button", { class: "button small", type: "button", on: { click: replace } }, "Save mine instead"),
      el("button", { class: "button small", type: "button", on: { click: end } }, "Keep theirs"));
    this.conflict.hidden = false;
  }

  /** One after the other, so that none overtakes another; gives what is kept then. @param {Run} run @param {(notes: Notes) => Notes | null} change @returns {Promise<Notes | null>} */
  #edit(run, change) {
    const edited = this.editing.then(async () => {
      const { value, trouble } = await changeNotes(this.ctx.api, run.path, change);
      setText(this.saved, trouble ? `Not saved: ${trouble.message}` : "Saved");
      this.saved.classList.toggle("bad", Boolean(trouble));
      if (value) this.ctx.runs.note(run.path, value);
      return value;
    });
    this.editing = edited;
    return edited;
  }
}

/** @param {string} title @param {Record<string, Value>} values */
function section(title, values) {
  const entries = Object.entries(values);
  if (!entries.length) return [];
  return [el("h3", {}, title), el("table", {}, el("tbody", {}, ...entries.map(([key, value]) =>
    el("tr", {}, el("th", { scope: "row", title: key }, oneLine(key)), el("td", { title: valueText(value, 17) }, valueText(value, 6))))))];
}
