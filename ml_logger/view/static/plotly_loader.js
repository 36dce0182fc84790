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

/** @returns {Promise<Plotly>} */
function load() {
  return new Promise((done, failed) => {
    const script = document.createElement("script");
    script.src = URL_OF_PLOTLY;
    script.addEventListener("load", () => done(/** @type {any} */ (window).Plotly));
    script.addEventListener("error", () => {
      script.remove();
      failed(new Error("plotly.js could not be loaded"));
    });
    document.head.append(script);
  });
}
