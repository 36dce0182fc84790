// @ts-check
/** What stands where runs should, while there is none to show or they can't be had. */

import { notice } from "./notice.js";

/** @param {import("./details.js").Details} details @returns {HTMLElement | null} null if nothing is wrong */
export function troubleNotice(details) {
  if (!details.wanted().length) return nothingPicked(details.ctx);
  const trouble = details.trouble;
  if (!trouble) return null;
  if (trouble.kind === "missing") return notice({ icon: "trash", title: "The run is gone", text: "It was deleted or moved." });
  return notice({ icon: "alert", title: "The run can't be read", text: trouble.message, action: { label: "Try again", do: () => details.refresh() } });
}

/** Why no picked run is there: there is none at all, those that were picked were deleted, or none is picked. @param {import("./views.js").Context} ctx */
export function nothingPicked({ picks, runs, state }) {
  const action = runs.size ? { label: "Pick runs", do: () => state.open("runs") } : undefined;
  const deleted = picks.deleted().length;
  if (deleted) return notice({ icon: "trash", title: deleted === 1 ? "The picked run was deleted" : `The ${deleted} picked runs were deleted`, text: "That was while you looked.", action });
  if (!runs.size) return notice({ icon: "list", title: "No runs yet", text: "As soon as one is logged here it is shown." });
  return notice({ icon: "list", title: "No run is picked", text: "Pick one or several in the table of runs.", action });
}
