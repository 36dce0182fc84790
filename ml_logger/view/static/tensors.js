// @ts-check
/** Tensors and weights: shape, type, statistics, two-dimensional ones as a heat map; one slider over steps. */

import { maybeNumberKey, textKey } from "./state.js";
import { SteppedMedia } from "./stepped_media.js";
import { TensorCard } from "./tensor_card.js";

const STEP = maybeNumberKey("te.step");
const FILTER = textKey("te.q");
const KINDS = ["tensors", "modules"];
const HOW = `logger.log_tensor(step, weights=weights)   # an array or tensor of any shape
logger.log_module(step, net=net)           # all arrays of a torch module`;

/** @param {HTMLElement} root @param {import("./views.js").Context} ctx */
export function mount(root, ctx) {
  const { grid } = new SteppedMedia(root, ctx, {
    step: STEP, filter: FILTER, kinds: KINDS, word: "tensors", icon: "columns", code: HOW, some: "some",
    makeCard: (_group, bar) => new TensorCard(ctx, bar),
  });
  grid.element.classList.add("is-middling");
}
