// @ts-check
/** plotly.js, loaded once, with the page's first chart, from where the server has it. */

/**
 * What of plotly.js is used here.
 * @typedef {object} Plotly
 * @property {(place: HTMLElement, data: object[], layout: object, config?: object) => Promise<unknown>} react
 * @property {(place: HTMLElement) => void} purge
 * @property {(figure: {data: object[], layout: object, config?: object}, format: object) => Promise<string>} toImage
 */

const URL_OF_PLOTLY = "view/plotly.js";

/** @type {Promise<Plotly> | null} */
let loaded = null;

/** Return plotly.js, asked for at the first call; rejects if it can't be had, and is asked for again by the next call. @returns {Promise<Plotly>} */
export function loadPlotly() {
  loaded ??= load().catch((error) => {
    loaded = null;
    throw error;
  });
  return loaded;
}

/** Whether it was had already. */
export const isPlotlyThere = () => "Plotly" in window;

/**
 * Have plotly.js come into the browser's cache, without running it yet: that takes a second in which nothing else happens. It is
 * no `<link rel=preload>`, of which the browser complains where no chart is drawn soon.
 */
export async function fetchPlotly() {
  await fetch(URL_OF_PLOTLY).then((answer) => answer.arrayBuffer()).catch(() => {}); // asked for again by the first chart
}

/** @returns {Promise<Plotly>} */
async function load() {
  const restore = refuseStyles();
  try {
    await loadScript(URL_OF_PLOTLY);
  } finally {
    restore();
  }
  return /** @type {any} */ (window).Plotly;
}

/** @param {string} url @returns {Promise<unknown>} */
function loadScript(url) {
  return new Promise((done, failed) => {
    const script = document.createElement("script");
    script.src = url;
    script.addEventListener("load", done);
    script.addEventListener("error", () => {
      script.remove();
      failed(new Error("plotly.js could not be loaded"));
    });
    document.head.append(script);
  });
}

/**
 * Drop the style elements that plotly.js adds to the head while it is loaded: of a library of maps, which is not used here.
 * The page's policy refuses them anyway, but not quietly. What charts need of its own styles is in charts.css, and the link to
 * that has the id and the class by which plotly.js knows.
 * @returns {() => void} what ends it
 */
function refuseStyles() {
  const head = /** @type {any} */ (document.head);
  head.appendChild = (/** @type {Node} */ node) => (node instanceof HTMLStyleElement ? node : Node.prototype.appendChild.call(head, node));
  return () => delete head.appendChild;
}
