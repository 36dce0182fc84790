// @ts-check
/**
 * Strands: buckets with their places on the x-axis, from one grid or from several. On a logarithmic axis a grid is coarse at its
 * left end, so there are finer ones for that: each covers the first sixteenth of the one before. Pure.
 */

import { COLUMNS, placeOf, positions } from "./buckets.js";

/** @typedef {import("./buckets.js").Buckets} Buckets */
/** @typedef {import("./buckets.js").Grid} Grid */
/** @typedef {{buckets: Buckets, grid: Grid}} Piece */
/** @typedef {{slots: Int32Array, x: Float64Array, buckets: Buckets}} Strand  `slots` ascend, and are the same for the same bucket in each run */

const SHARE = 16;
const MOST_PIECES = 4;
const SLOTS_APART = 2 ** 26; // more buckets than a grid has

/** Return the strand of one grid. @param {Piece} piece @returns {Strand} */
export const strandOf = ({ buckets, grid }) => ({ slots: buckets.index, x: positions(buckets, grid), buckets });

/**
 * Return where the ranges of finer grids end, coarse to fine: as far as a bucket is wider than `finest`. All begin with the grid.
 * @param {Grid} grid @param {number} to the end of what is on it @param {number} finest
 * @returns {number[]}
 */
export function earlyEnds({ origin, width }, to, finest) {
  const ends = [];
  for (let w = width; w > finest && ends.length < MOST_PIECES; w /= SHARE) {
    const buckets = Math.ceil((to - origin) / width / SHARE);
    ends.push(origin + buckets * w); // on an edge of the grid that it is cut from
  }
  return ends;
}

/**
 * Return one strand from a whole curve and finer pieces of its beginning, coarse to fine; `ends` says up to where each holds.
 * @param {Piece} whole @param {Piece[]} pieces @param {number[]} ends
 * @returns {Strand}
 */
export function joined(whole, pieces, ends) {
  const all = [whole, ...pieces];
  const cut = all.map((piece, i) => cutOut(piece, ends[i] ?? -Infinity, i ? ends[i - 1] : Infinity)).reverse();
  const slots = cut.flatMap(({ buckets }, i) => Array.from(buckets.index, (index) => index + i * SLOTS_APART));
  return {
    slots: Int32Array.from(slots),
    x: Float64Array.from(cut.flatMap((piece) => Array.from(positions(piece.buckets, piece.grid)))),
    buckets: /** @type {Buckets} */ (Object.fromEntries([
      ["index", Int32Array.from(slots)],
      ...COLUMNS.map((name) => [name, Float32Array.from(cut.flatMap(({ buckets }) => Array.from(buckets[name])))]),
    ])),
  };
}

/** Return only the buckets that begin in [from, to). @param {Piece} piece @param {number} from @param {number} to @returns {Piece} */
function cutOut({ buckets, grid }, from, to) {
  const begins = Array.from(buckets.index, (index) => placeOf(index, grid));
  const first = begins.findIndex((begin) => begin >= from);
  const end = begins.findIndex((begin) => begin >= to);
  const [low, high] = [first < 0 ? begins.length : first, end < 0 ? begins.length : end];
  const columns = COLUMNS.map((name) => [name, buckets[name].subarray(low, high)]);
  return { grid, buckets: /** @type {Buckets} */ ({ index: buckets.index.subarray(low, high), ...Object.fromEntries(columns) }) };
}
