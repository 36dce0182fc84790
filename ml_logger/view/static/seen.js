// @ts-check
/** Lets what is not seen wait: a chart is made when it scrolls near, and may be let go when it is far again. */

const NEAR = "400px 0px";

/**
 * Call `near` each time `element` comes near what is seen, and `far` each time it leaves, until `signal` aborts.
 * @param {Element} element @param {() => void} near @param {AbortSignal} signal @param {() => void} [far]
 */
export function whenSeen(element, near, signal, far = () => {}) {
  let wasNear = false;
  const observer = new IntersectionObserver((entries) => {
    const isNear = entries[entries.length - 1].isIntersecting;
    if (isNear !== wasNear) (isNear ? near : far)();
    wasNear = isNear;
  }, { rootMargin: NEAR });
  observer.observe(element);
  signal.addEventListener("abort", () => observer.disconnect());
}
