// @ts-check
/** A chart to take away: its raw data as CSV, itself as PNG. */

import { urlOf } from "./api.js";
import { el } from "./dom.js";
import { figure, plain } from "./figure.js";

/** @typedef {import("./figure.js").Picture} Picture */

const PNG_SIZE = { width: 1200, height: 675, scale: 2 };
const LEGEND_PX = 20; // a row of it

/** Where the raw data of one run is. @param {string} run @param {string[]} keys */
export const csvUrl = (run, keys) => urlOf("view/api/csv", { run, key: keys });

/**
 * Return the raw data of some runs as one CSV, with the run in a column before the others.
 * @param {import("./api.js").Api} api @param {string[]} runs @param {string[]} keys @param {AbortSignal} signal
 * @returns {Promise<{value: Blob, trouble: null} | {value: null, trouble: import("./api.js").Trouble}>}
 */
export async function csvOf(api, runs, keys, signal) {
  /** @type {string[]} */
  const parts = [];
  for (const run of runs) {
    const { value, trouble } = await api.getBytes("view/api/csv", { run, key: keys }, signal);
    if (trouble) return { value: null, trouble };
    const [heading, ...lines] = new TextDecoder().decode(value).trimEnd().split(/\r?\n/);
    if (!parts.length) parts.push(`run,${heading}\n`);
    parts.push(...lines.map((line) => `${quoted(run)},${line}\n`));
  }
  return { value: new Blob(parts, { type: "text/csv" }), trouble: null };
}

/** As RFC 4180 has it. @param {string} text */
const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text);

/**
 * Return the chart as PNG, with its title and the names of the curves.
 * @param {import("./plotly_loader.js").Plotly} plotly @param {Picture} picture @param {string} title @param {string} ground a CSS colour
 * @returns {Promise<Blob>}
 */
export async function pngOf(plotly, picture, title, ground) {
  const height = PNG_SIZE.height + LEGEND_PX * Math.ceil(picture.curves.length / 3);
  const { data, layout } = figure({ ...picture, size: { width: PNG_SIZE.width, height } });
  const whole = {
    ...layout, paper_bgcolor: ground, plot_bgcolor: ground, showlegend: true,
    title: { text: plain(title), x: 0.5, font: { size: 18 } },
    margin: { l: 80, r: 30, t: 60, b: 60 },
    legend: { orientation: "h", y: -0.1, yanchor: "top" },
  };
  const url = await plotly.toImage({ data, layout: whole }, { format: "png", width: PNG_SIZE.width, height, scale: PNG_SIZE.scale });
  const bytes = atob(url.slice(url.indexOf(",") + 1));
  return new Blob([Uint8Array.from(bytes, (letter) => letter.charCodeAt(0))], { type: "image/png" });
}

const KEPT_MS = 60_000;

/** Have the browser save what an URL leads to. @param {string} url @param {string} name */
export function save(url, name) {
  el("a", { href: url, download: name.replace(/[^\w.-]+/g, "_") }).click();
}

/** @param {Blob} blob @param {string} name */
export function saveBlob(blob, name) {
  const url = URL.createObjectURL(blob);
  save(url, name);
  setTimeout(() => URL.revokeObjectURL(url), KEPT_MS);
}
