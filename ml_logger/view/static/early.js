// @ts-check
/** Runs before the page's other modules are there: where the URL leads to curves it has theirs come at once, and plotly.js, the largest file by far, beside them. */

import { fetchPlotly } from "./plotly_loader.js";

if (/^#curves\b/.test(location.hash)) {
  for (const link of document.querySelectorAll("link[data-for=curves]")) link.setAttribute("rel", "modulepreload");
  if (document.documentElement.hasAttribute("data-has-plotly")) void fetchPlotly();
}
