// @ts-check
/** The views whose modules are loaded when their tab is opened first, so that the page itself and its runs are there sooner. */

import { fill } from "./dom.js";
import { loading, notice } from "./notice.js";
import { registerView } from "./views.js";

/** @typedef {import("./views.js").View} View */
/** @typedef {{mount: View["mount"]}} Loaded */

const LATE_MS = 200; // what is there sooner needs no sign of waiting
const AHEAD_MS = 1500;

/** @type {(Omit<View, "mount"> & {load: () => Promise<Loaded>})[]} */
const LATER = [
  { id: "curves", title: "Curves", load: () => import("./curves_view.js") },
  { id: "images", title: "Images", load: () => import("./images.js") },
  { id: "histograms", title: "Histograms", load: () => import("./histograms.js") },
  { id: "tensors", title: "Tensors", load: () => import("./tensors.js") },
  { id: "text", title: "Text", load: () => import("./text.js") },
  { id: "params", title: "Params", load: () => import("./params.js") },
  { id: "overview", title: "Overview", load: () => import("./overview.js") },
  { id: "files", title: "Files", load: () => import("./files.js") },
  { id: "agents", title: "Agents", hasNoRail: true, isFor: (me) => me.is_receiver, load: () => import("./agents.js") },
];

for (const { load, ...view } of LATER) registerView({ ...view, mount: (root, ctx) => void mountLater(load, root, ctx) });

// Most people go there next; a failure is told when they do.
setTimeout(() => void import("./curves_view.js").catch(() => {}), AHEAD_MS);

/** @param {() => Promise<Loaded>} load @param {HTMLElement} root @param {import("./views.js").Context} ctx */
async function mountLater(load, root, ctx) {
  const late = setTimeout(() => !ctx.signal.aborted && fill(root, loading("Loading the view")), LATE_MS);
  try {
    const { mount } = await load();
    if (ctx.signal.aborted) return;
    fill(root);
    mount(root, ctx);
  } catch (error) {
    // A module that failed once is not asked for again before the page is loaded anew.
    if (!ctx.signal.aborted) fill(root, notice({ icon: "alert", title: "The view could not be loaded", text: String(error), action: { label: "Load the page again", do: () => location.reload() } }));
  } finally {
    clearTimeout(late);
  }
}
