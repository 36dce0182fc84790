// @ts-check
/** Lets charts be drawn one a frame, so that the first is seen before the last is made, and the page stays at hand meanwhile. */

/** Those that wait, in their order. @type {Set<() => Promise<void>>} */
const waiting = new Set();
let isBusy = false;

/** Have `draw` called when it is its turn; once, however often it is asked for until then. @param {() => Promise<void>} draw */
export function drawSoon(draw) {
  waiting.add(draw);
  if (!isBusy) void drawAll();
}

async function drawAll() {
  isBusy = true;
  for (let [next] = waiting; next; [next] = waiting) {
    await new Promise(requestAnimationFrame);
    waiting.delete(next);
    await next().catch(reportError); // one that can't be drawn doesn't hold up the others
  }
  isBusy = false;
}
