// @ts-check
/** What stands where details of runs should, while they can't be had. */

import { notice } from "./notice.js";

/** @param {import("./details.js").Details} details @returns {HTMLElement | null} null if nothing is wrong */
export function troubleNotice(details) {
  if (details.ctx.runs.size === 0) return notice({ icon: "list", title: "No runs yet", text: "As soon as one is logged here it is shown." });
  if (!details.wanted().length) {
    const pick = { label: "Pick runs", do: () => details.ctx.state.open("runs") };
    return notice({ icon: "list", title: "No run is picked", text: "Pick one or several in the table of runs.", action: pick });
  }
  const trouble = details.trouble;
  if (!trouble) return null;
  if (trouble.kind === "missing") return notice({ icon: "trash", title: "The run is gone", text: "It was deleted or moved." });
  return notice({ icon: "alert", title: "The run can't be read", text: trouble.message, action: { label: "Try again", do: () => details.refresh() } });
}
