// @ts-check
/**
 * Smoothing: the debiased exponential moving average over buckets. Pure.
 *
 * A weight w keeps the share w of what was at each step, as people know it from TensorBoard. A step is a bucket that is as full
 * as the series' buckets usually are; an emptier one (the last one of a running run, all of them in a zoom) counts for as much
 * less. So the curve is the same in every zoom, and its end doesn't tremble while a bucket fills.
 */

/** @typedef {{value: number, mass: number}} Memory  A moving average and the mass of what is in it, 0 to 1 (0: nothing yet). */

/** @typedef {{mean: ArrayLike<number>, count: ArrayLike<number>}} Values  of buckets */

/** @type {Readonly<Memory>} */
export const NOTHING = Object.freeze({ value: 0, mass: 0 });

/**
 * Return how many points the buckets of a series usually hold: the median count, at least 1.
 * @param {ArrayLike<number>} counts
 * @returns {number}
 */
export function usualCount(counts) {
  const sorted = Float32Array.from(counts).sort();
  return Math.max(1, sorted[sorted.length >> 1] ?? 1);
}

/**
 * Return the means of buckets smoothed; where one is not finite the curve has a gap, and goes on behind it from what it was.
 * @param {Values} values
 * @param {number} weight  0 (as they are) to less than 1
 * @param {{usual?: number, before?: Memory}} [options]  how many points make a step, and what came before the first
 * @returns {Float64Array}
 */
export function smoothed({ mean, count }, weight, { usual = usualCount(count), before = NOTHING } = {}) {
  const curve = new Float64Array(mean.length);
  let memory = before;
  for (let i = 0; i < mean.length; i++) {
    const isGap = !Number.isFinite(mean[i]);
    if (!isGap) memory = remembering(memory, mean[i], keptBy(weight, count[i], usual));
    curve[i] = isGap ? NaN : memory.value / memory.mass;
  }
  return curve;
}

/**
 * Return the moving average of all buckets before the one with this index: what a curve that begins there remembers.
 * @param {Values & {index: ArrayLike<number>}} values
 * @param {number} end
 * @param {number} weight
 * @returns {Memory}
 */
export function memoryBefore({ index, mean, count }, end, weight) {
  const usual = usualCount(count);
  let memory = NOTHING;
  for (let i = 0; i < index.length && index[i] < end; i++)
    if (Number.isFinite(mean[i])) memory = remembering(memory, mean[i], keptBy(weight, count[i], usual));
  return memory;
}

/** @param {Memory} memory @param {number} value @param {number} kept @returns {Memory} */
const remembering = (memory, value, kept) => ({
  value: kept * memory.value + (1 - kept) * value,
  mass: kept * memory.mass + (1 - kept),
});

/** @param {number} weight @param {number} count @param {number} usual */
function keptBy(weight, count, usual) {
  return weight <= 0 ? 0 : weight ** Math.min(1, count / usual);
}
