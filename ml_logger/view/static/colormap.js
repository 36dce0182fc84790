// @ts-check
/** Numbers to colours: one scale for amounts (viridis), one for what has two sides (blue, white, red). Pure. */

/** @typedef {[number, number, number]} Rgb  0 to 255 */
/** @typedef {"viridis" | "diverging"} ScaleName */

/** Every scale as colours at even distances, in between straight. Viridis is matplotlib's, the other ColorBrewer's RdBu turned round.
 * @type {Record<ScaleName, Rgb[]>} */
const SCALES = {
  viridis: [
    [68, 1, 84], [72, 36, 117], [65, 68, 135], [53, 95, 141], [42, 120, 142], [33, 145, 140],
    [34, 168, 132], [68, 191, 112], [122, 209, 81], [189, 223, 38], [253, 231, 37],
  ],
  diverging: [
    [5, 48, 97], [33, 102, 172], [67, 147, 195], [146, 197, 222], [209, 229, 240], [247, 247, 247],
    [253, 219, 199], [244, 165, 130], [214, 96, 77], [178, 24, 43], [103, 0, 31],
  ],
};

/**
 * Return the colour at `t` of a scale.
 * @param {ScaleName} name
 * @param {number} t 0 to 1; what lies outside has the colour of the end
 * @returns {Rgb}
 */
export function colourAt(name, t) {
  const stops = SCALES[name];
  const place = Math.min(Math.max(t, 0), 1) * (stops.length - 1);
  const below = Math.min(Math.floor(place), stops.length - 2);
  const part = place - below;
  return /** @type {Rgb} */ (stops[below].map((value, i) => Math.round(value + part * (stops[below + 1][i] - value))));
}

/** @param {Rgb} rgb @returns {string} */
export function cssColour(rgb) {
  return `rgb(${rgb.join(" ")})`;
}

/**
 * Return the scale and the range that suit numbers between `min` and `max`: with both signs zero is in the middle.
 * @param {number} min @param {number} max
 * @returns {{name: ScaleName, low: number, high: number}}
 */
export function scaleFor(min, max) {
  if (min < 0 && max > 0) {
    const most = Math.max(-min, max);
    return { name: "diverging", low: -most, high: most };
  }
  return { name: "viridis", low: min, high: max };
}

/**
 * Return RGBA pixels of the rows of `values`; what is no number is transparent.
 * @param {(number | string | null)[][]} values rows of numbers, NaN and the infinities as their words
 * @param {{name: ScaleName, low: number, high: number}} scale
 * @returns {Uint8ClampedArray}
 */
export function pixelsOf(values, scale) {
  const columns = values.length ? values[0].length : 0;
  const pixels = new Uint8ClampedArray(values.length * columns * 4);
  const span = scale.high - scale.low || 1;
  let at = 0;
  for (const row of values) {
    for (const value of row) {
      if (typeof value === "number" && Number.isFinite(value)) {
        pixels.set(colourAt(scale.name, (value - scale.low) / span), at);
        pixels[at + 3] = 255;
      }
      at += 4;
    }
  }
  return pixels;
}
