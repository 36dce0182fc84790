// @ts-check
/** Runs before the page's other modules are there: has plotly.js, the largest file by far, come beside them where the URL leads to curves. */

import { fetchPlotly } from "./plotly_loader.js";

if (document.documentElement.hasAttribute("data-has-plotly") && /^#curves\b/.test(location.hash)) void fetchPlotly();
