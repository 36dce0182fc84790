// @ts-check
/**
 * Which file to show at a step: that of the step, or the nearest earlier one, and which steps there are over several runs.
 * Pure.
 */

/** @typedef {{step: number | null, name: string, path: string, version: string}} MediaFile  as `api/run` lists it; written anew it has another version */
/** @typedef {{kind: string, key: string, files: MediaFile[]}} Media */
/** @typedef {{file: MediaFile, isExact: boolean}} Pick */

/**
 * Return every step of the files once, ascending.
 * @param {MediaFile[]} files
 * @returns {number[]}
 */
export function stepsOf(files) {
  const steps = new Set();
  for (const { step } of files) if (step !== null) steps.add(step);
  return [...steps].sort((a, b) => a - b);
}

/**
 * Return the file of `step`, or that of the nearest earlier step; null where there is none.
 *
 * Of several files with one step the last wins. Without any step in the list it is the last file of all, so what is logged
 * without a step is seen too.
 * @param {MediaFile[]} files
 * @param {number | null} step null: the last
 * @returns {Pick | null}
 */
export function pickAt(files, step) {
  let best = null;
  for (const file of files) {
    if (file.step === null || (step !== null && file.step > step)) continue;
    if (best === null || file.step >= /** @type {number} */ (best.step)) best = file;
  }
  if (best !== null) return { file: best, isExact: step === null || best.step === step };
  const stepless = files.filter((file) => file.step === null);
  return stepless.length ? { file: stepless[stepless.length - 1], isExact: true } : null;
}

/**
 * Return the index of the last of the ascending `steps` that is not after `step`, 0 if all are.
 * @param {number[]} steps
 * @param {number | null} step null: the last
 * @returns {number}
 */
export function indexAt(steps, step) {
  if (step === null) return Math.max(0, steps.length - 1);
  let low = 0;
  let high = steps.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (steps[middle] <= step) low = middle + 1;
    else high = middle;
  }
  return Math.max(0, low - 1);
}
