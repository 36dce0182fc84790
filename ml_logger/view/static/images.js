// @ts-check
/** Images, animations and figures: one slider over steps, keys and runs side by side. */

import { choiceField } from "./fields.js";
import { Picture } from "./picture.js";
import { choiceKey, maybeNumberKey, textKey } from "./state.js";
import { SteppedMedia } from "./stepped_media.js";

const STEP = maybeNumberKey("im.step");
const FILTER = textKey("im.q");
const SIZE = choiceKey("im.size", ["m", "s", "l", "xl"]);
const KINDS = ["images", "videos", "figures"];
const HOW = `import numpy as np

logger.log_image(step, sample=np.random.rand(64, 64, 3))
logger.log_video(step, episode=frames, fps=25)   # frames: T×H×W×3
logger.log_pyplot(step, fig)                     # a matplotlib figure`;

/** @param {HTMLElement} root @param {import("./views.js").Context} ctx */
export function mount(root, ctx) {
  const size = choiceField(ctx, SIZE, "Size", [["s", "S"], ["m", "M"], ["l", "L"], ["xl", "XL"]]);
  const { grid } = new SteppedMedia(root, ctx, {
    step: STEP, filter: FILTER, kinds: KINDS, word: "images", icon: "image", code: HOW, some: "some", tools: [size],
    makeCard: ({ kind, key }, bar) => new Picture(ctx, bar, kind, key),
  });
  const resize = () => void (grid.element.dataset.size = ctx.state.get(SIZE));
  ctx.on("state", (changed) => changed.has(SIZE.name) && resize());
  resize();
}
