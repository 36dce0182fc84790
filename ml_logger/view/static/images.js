// @ts-check
/** Images, animations and figures: one slider over steps, keys and runs side by side. */

import { Details } from "./details.js";
import { el, fill } from "./dom.js";
import { choiceField, matches, searchField } from "./fields.js";
import { groupedMedia, MediaGrid } from "./media_grid.js";
import { loading, notice } from "./notice.js";
import { Picture } from "./picture.js";
import { choiceKey, maybeNumberKey, textKey } from "./state.js";
import { StepBar } from "./step_bar.js";
import { stepsOf } from "./steps.js";
import { troubleNotice } from "./trouble.js";

const STEP = maybeNumberKey("im.step");
const FILTER = textKey("im.q");
const SIZE = choiceKey("im.size", ["m", "s", "l", "xl"]);
const KINDS = ["images", "videos", "figures"];
const HOW = `import numpy as np

logger.log_image(step, sample=np.random.rand(64, 64, 3))
logger.log_video(step, episode=frames, fps=25)   # frames: T×H×W×3
logger.log_pyplot(step, fig)                     # a matplotlib figure`;

class Images {
  /** @param {HTMLElement} root @param {import("./views.js").Context} ctx */
  constructor(root, ctx) {
    this.ctx = ctx;
    this.bar = new StepBar(ctx, STEP);
    this.grid = new MediaGrid(ctx, ({ kind, key }) => new Picture(ctx, this.bar, kind, key));
    this.size = choiceField(ctx, SIZE, "Size", [["s", "S"], ["m", "M"], ["l", "L"], ["xl", "XL"]]);
    this.tools = el("div", { class: "tool-bar" }, this.bar.element, searchField(ctx, FILTER, "Filter keys"), this.size);
    this.rest = el("div");
    this.details = new Details(ctx, () => ctx.picks.list(), () => this.#draw());
    root.append(this.tools, this.rest, this.grid.element);
    ctx.on("state", (changed) => [STEP, FILTER, SIZE].some((key) => changed.has(key.name)) && this.#draw());
  }

  #draw() {
    const filter = this.ctx.state.get(FILTER);
    const all = groupedMedia(this.details.list(), KINDS);
    const groups = all.filter((group) => matches(filter, `${group.key} ${group.kind}`));
    this.bar.setSteps(stepsOf(groups.flatMap((group) => group.cells.flatMap((cell) => cell.what))));
    this.tools.hidden = !all.length;
    this.grid.element.dataset.size = this.ctx.state.get(SIZE);
    this.grid.show(groups);
    fill(this.rest, !groups.length && this.#nothing(all.length));
  }

  /** @param {number} filtered */
  #nothing(filtered) {
    if (filtered) return notice({ icon: "search", title: "No key is called so", action: { label: "Show all", do: () => this.ctx.state.set(FILTER, "") } });
    if (this.details.isLoading) return loading("Waiting for the images");
    return troubleNotice(this.details) ?? notice({ icon: "image", title: "No images yet", text: "The picked runs have none. This logs some:", code: HOW });
  }
}

/** @param {HTMLElement} root @param {import("./views.js").Context} ctx */
export const mount = (root, ctx) => void new Images(root, ctx);
