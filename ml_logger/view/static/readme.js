// @ts-check
/**
 * README.md of a folder, rendered. The server makes its HTML, with all HTML in it as text, and leads links and pictures to the
 * folder's files; here it stands in a frame where no script runs and no form is sent, whatever is in it. The frame keeps this
 * page's origin only so that its pictures and style sheet may be loaded and its height be known.
 */

import { el } from "./dom.js";

export class Readme {
  /** @param {import("./views.js").Context} ctx */
  constructor(ctx) {
    this.ctx = ctx;
    this.frame = el("iframe", { class: "readme-frame", sandbox: "allow-same-origin allow-popups", title: "README", referrerpolicy: "no-referrer" });
    this.element = el("section", { class: "readme", hidden: true }, el("h3", {}, "README.md"), this.frame);
    this.asked = "";
    this.html = "";
    this.frame.addEventListener("load", () => this.#loaded());
    const resized = new ResizeObserver(() => this.#fit());
    resized.observe(this.element);
    ctx.signal.addEventListener("abort", () => resized.disconnect());
  }

  /** @param {string} folder @param {boolean} isThere @param {number} version asked again only if it is another */
  show(folder, isThere, version) {
    this.element.hidden = !isThere;
    const asked = JSON.stringify([folder, isThere, version]);
    if (!isThere || asked === this.asked) return;
    this.asked = asked;
    void this.#ask(folder);
  }

  /** @param {string} folder */
  async #ask(folder) {
    /** @type {import("./api.js").Result<{html: string}>} */
    const { value, trouble } = await this.ctx.api.getJson("view/api/readme", { folder }, this.ctx.signal);
    if (this.ctx.signal.aborted) return;
    this.element.hidden = Boolean(trouble && trouble.kind === "missing");
    const html = value ? value.html : "";
    if (trouble) return void (this.element.title = trouble.message);
    if (html === this.html && folder === this.folder) return;
    this.folder = folder;
    this.html = html;
    this.frame.srcdoc = `<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="view/static/tokens.css"><link rel="stylesheet" href="view/static/readme.css"><body>${html}`;
  }

  #loaded() {
    const inner = this.frame.contentDocument;
    if (!inner?.body) return;
    for (const link of inner.querySelectorAll("a")) if (isNowhere(link.getAttribute("href") ?? "")) link.removeAttribute("href");
    for (const image of inner.querySelectorAll("img")) image.addEventListener("load", () => this.#fit());
    this.#fit();
  }


  #fit() {
    const inner = this.frame.contentDocument;
    if (inner?.body) this.frame.style.height = `${Math.ceil(inner.body.getBoundingClientRect().height) + 2}px`;
  }
}

/** Whether a link leads out of all folders: what is in one the server has led to its file. @param {string} address */
const isNowhere = (address) => !/^([a-z][a-z0-9+.-]*:|\/|#|view\/files\/)/i.test(address);
