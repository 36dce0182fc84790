// @ts-check
/**
 * Histograms of many steps, each with edges of its own, laid over one grid of values so that they can be drawn beside each other.
 * Pure; counts that lie over the border of two cells are shared out by length, so sums stay what they were.
 */

/** @typedef {{steps: number[], edges: number[][], counts: number[][]}} Histograms  as `api/histograms` answers */
/** @typedef {{low: number, high: number, cells: number}} Grid */

/**
 * Return the range that all edges lie in, or with a `share` below 1 the one that so much of all counts lies in.
 * @param {Histograms} histograms
 * @param {number} share 0 to 1; what is left out is left out evenly at both ends
 * @returns {{low: number, high: number}}
 */
export function rangeOf({ edges, counts }, share = 1) {
  let low = Infinity;
  let high = -Infinity;
  for (const one of edges) {
    if (one.length < 2) continue;
    low = Math.min(low, one[0]);
    high = Math.max(high, one[one.length - 1]);
  }
  if (!(low <= high)) return { low: 0, high: 1 };
  if (low === high) return { low: low - 0.5, high: high + 0.5 };
  return share < 1 ? middleOf({ steps: [], edges, counts }, { low, high }, share) : { low, high };
}

/**
 * @param {Histograms} histograms
 * @param {{low: number, high: number}} range
 * @param {number} share
 */
function middleOf(histograms, range, share) {
  // Every histogram has the same say, or one of many counts would decide alone. Twice, since the first cells are coarse.
  let { low, high } = range;
  for (let round = 0; round < 2; round++) {
    const grid = { low, high, cells: 512 };
    const sums = new Float64Array(grid.cells);
    histograms.edges.forEach((edges, i) => {
      const masses = rebinned(edges, histograms.counts[i], grid);
      const total = masses.reduce((a, b) => a + b, 0);
      if (total > 0) masses.forEach((mass, cell) => { sums[cell] += mass / total; });
    });
    [low, high] = withoutTails(sums, grid, (1 - share) / 2);
  }
  return low < high ? { low, high } : range;
}

/** @param {Float64Array} sums @param {Grid} grid @param {number} tail @returns {[number, number]} */
function withoutTails(sums, grid, tail) {
  const most = tail * sums.reduce((a, b) => a + b, 0);
  let first = 0;
  let last = grid.cells - 1;
  for (let left = sums[first]; first < last && left <= most; left += sums[++first]);
  for (let left = sums[last]; last > first && left <= most; left += sums[--last]);
  const width = (grid.high - grid.low) / grid.cells;
  return [grid.low + first * width, grid.low + (last + 1) * width];
}

/**
 * Return the counts of one histogram in the cells of `grid`; what lies outside is left out.
 * @param {number[]} edges one more than counts, ascending
 * @param {number[]} counts
 * @param {Grid} grid
 * @returns {Float64Array}
 */
export function rebinned(edges, counts, grid) {
  const masses = new Float64Array(grid.cells);
  const width = (grid.high - grid.low) / grid.cells;
  counts.forEach((count, i) => {
    if (count > 0) shareOut(count, (edges[i] - grid.low) / width, (edges[i + 1] - grid.low) / width, masses);
  });
  return masses;
}

/** @param {number} count @param {number} from @param {number} to in cells @param {Float64Array} masses */
function shareOut(count, from, to, masses) {
  if (!(to > from)) {
    const cell = Math.min(Math.floor(from), masses.length - 1);
    if (cell >= 0 && from <= masses.length) masses[cell] += count;
    return;
  }
  const last = Math.min(Math.ceil(to), masses.length);
  for (let cell = Math.max(0, Math.floor(from)); cell < last; cell++) {
    masses[cell] += (count * (Math.min(to, cell + 1) - Math.max(from, cell))) / (to - from);
  }
}

/**
 * Return where each step's column begins and ends, half way to its neighbours, in the unit of the steps.
 * @param {number[]} steps ascending
 * @returns {number[]} one more than steps
 */
export function columnEdges(steps) {
  if (steps.length === 0) return [];
  if (steps.length === 1) return [steps[0] - 0.5, steps[0] + 0.5];
  const middles = steps.slice(1).map((step, i) => (steps[i] + step) / 2);
  const n = steps.length;
  return [2 * steps[0] - middles[0], ...middles, 2 * steps[n - 1] - middles[n - 2]];
}

/**
 * Return at most `most` indices of `count`, evenly, first and last among them.
 * @param {number} count @param {number} most at least 2
 * @returns {number[]}
 */
export function thinned(count, most) {
  if (count <= most) return Array.from({ length: count }, (_, i) => i);
  return Array.from({ length: most }, (_, i) => Math.round((i * (count - 1)) / (most - 1)));
}

/**
 * Return the index of the bin that `value` lies in, -1 if in none.
 * @param {number[]} edges ascending @param {number} value
 * @returns {number}
 */
export function binAt(edges, value) {
  if (!(value >= edges[0] && value <= edges[edges.length - 1])) return -1;
  let low = 0;
  let high = edges.length - 2;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (edges[middle] <= value) low = middle;
    else high = middle - 1;
  }
  return low;
}

/**
 * Return about `most` round numbers between `low` and `high`, for an axis.
 * @param {number} low @param {number} high @param {number} most
 * @returns {number[]}
 */
export function ticks(low, high, most) {
  const rough = (high - low) / Math.max(1, most);
  if (!(rough > 0) || !Number.isFinite(rough)) return [low];
  const power = 10 ** Math.floor(Math.log10(rough));
  const unit = [1, 2, 5, 10].map((factor) => factor * power).find((value) => value >= rough) ?? 10 * power;
  const first = Math.ceil(low / unit - 1e-9);
  const last = Math.floor(high / unit + 1e-9);
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => Number(((first + i) * unit).toPrecision(12)));
}
