// @ts-check
/** Which folder the tab of files shows, and which file beside it, as the URL has it. */

import { textKey } from "./state.js";

export const NOWHERE = "*"; // no folder is called so in a link: then it is the run's own
export const FOLDER = textKey("fd", NOWHERE);
export const FILE = textKey("ff");

/** Open the tab of files at a folder; all else of the view stays. @param {import("./state.js").ViewState} state @param {string} folder */
export const openFolder = (state, folder) => state.setAll([[FOLDER, folder], [FILE, ""]], { tab: "files" });
