// @ts-check
/**
 * Curves as the server answers them: series cut into buckets of one grid that all of them share (docs/VIEWER.md). Pure.
 *
 * Nothing is copied on the way in: the arrays of a series are windows into the answer's bytes.
 */

/** @typedef {{origin: number, width: number}} Grid  Bucket i covers [origin + i·width, origin + (i+1)·width). */
/**
 * @typedef {object} Buckets  One series: its buckets that are not empty, ascending; all arrays are equally long.
 * @property {Int32Array} index
 * @property {Float32Array} at  where in its bucket the last point is, 0 to 1
 * @property {Float32Array} count
 * @property {Float32Array} nan
 * @property {Float32Array} above  how many are +Inf
 * @property {Float32Array} below  how many are -Inf
 * @property {Float32Array} min  of the finite ones, NaN where there are none; so are max and mean
 * @property {Float32Array} max
 * @property {Float32Array} mean
 * @property {Float32Array} last
 */
/** @typedef {{run: string, key: string, points: number, buckets: Buckets}} Series */
/**
 * @typedef {object} Answer
 * @property {Grid} grid
 * @property {number | null} from  null where there is no point at all
 * @property {number | null} to
 * @property {Record<string, string>} cursors  how far each run was read
 * @property {(Series & {isTail: boolean})[]} series
 */

/** All of a series but `index`. */
export const COLUMNS = /** @type {const} */ (["at", "count", "nan", "above", "below", "min", "max", "mean", "last"]);
const NEWLINE = 10;

/**
 * Return what `POST view/api/curves` answered.
 * @param {ArrayBuffer} bytes
 * @returns {Answer}
 */
export function decode(bytes) {
  const end = new Uint8Array(bytes).indexOf(NEWLINE) + 1;
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 0, end)));
  let offset = end;
  const series = head.series.map((/** @type {any} */ one) => {
    const buckets = bucketsAt(bytes, offset, one.buckets);
    offset += one.buckets * 4 * (1 + COLUMNS.length);
    return { run: head.runs[one.run], key: head.keys[one.key], points: one.points, isTail: one.is_tail, buckets };
  });
  const grid = { origin: head.origin, width: head.width };
  return { grid, from: head.from, to: head.to, cursors: head.cursors, series };
}

/**
 * @param {ArrayBuffer} bytes
 * @param {number} offset
 * @param {number} length
 * @returns {Buckets}
 */
function bucketsAt(bytes, offset, length) {
  const index = new Int32Array(bytes, offset, length);
  const floats = COLUMNS.map((name, i) => [name, new Float32Array(bytes, offset + 4 * length * (i + 1), length)]);
  return { index, ...Object.fromEntries(floats) };
}

/**
 * Return a series with its end replaced by `tail`, from the tail's first bucket on.
 * @param {Buckets} old
 * @param {Buckets} tail
 * @returns {Buckets}
 */
export function withTail(old, tail) {
  const kept = tail.index.length ? firstFrom(old.index, tail.index[0]) : old.index.length;
  const index = new Int32Array(kept + tail.index.length);
  index.set(old.index.subarray(0, kept));
  index.set(tail.index, kept);
  const floats = COLUMNS.map((name) => [name, joined(old[name], kept, tail[name])]);
  return { index, ...Object.fromEntries(floats) };
}

/**
 * @param {Float32Array} old
 * @param {number} kept
 * @param {Float32Array} tail
 */
function joined(old, kept, tail) {
  const whole = new Float32Array(kept + tail.length);
  whole.set(old.subarray(0, kept));
  whole.set(tail, kept);
  return whole;
}

/**
 * Return the first position in an ascending array whose value is at least `value`; its length if there is none.
 * @param {ArrayLike<number>} ascending
 * @param {number} value
 * @returns {number}
 */
export function firstFrom(ascending, value) {
  let low = 0;
  let high = ascending.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ascending[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * Return the position of the value nearest to `value` in an ascending array, -1 in an empty one.
 * @param {ArrayLike<number>} ascending
 * @param {number} value
 * @returns {number}
 */
export function nearest(ascending, value) {
  const right = firstFrom(ascending, value);
  if (right === 0 || right === ascending.length) return Math.min(right, ascending.length - 1);
  return value - ascending[right - 1] < ascending[right] - value ? right - 1 : right;
}

/**
 * Return where on the x-axis each bucket's last point is.
 * @param {Buckets} buckets
 * @param {Grid} grid
 * @returns {Float64Array}
 */
export function positions({ index, at }, grid) {
  return Float64Array.from(index, (i, n) => placeOf(i + at[n], grid));
}

/** Where so many buckets, or parts of them, behind the origin is; by halves, as a whole one may be past the largest number. @param {number} buckets @param {Grid} grid */
export const placeOf = (buckets, { origin, width }) => 2 * (origin / 2 + buckets * (width / 2));
