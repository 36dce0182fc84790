// @ts-check
/** The table of runs. */
import { el, fill } from "./dom.js";
import { registerView } from "./views.js";

registerView({ id: "runs", title: "Runs", hasNoRail: true, mount(root, ctx) {
  const draw = () => fill(root, el("ul", {}, ...ctx.runs.all().slice(0, 100).map((run) => el("li", {}, `${ctx.label(run.path)} ${run.state}`))));
  ctx.on("runs", draw);
  draw();
} });
