// @ts-check
/**
 * A path's short name in links: 36 bits of a hash in six letters. Of 10,000 runs the chance that one of 20 picked shares
 * its id with another run is 3 in 10^6.
 */

const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/** @param {string} path @returns {string} */
export function shortId(path) {
  const [high, low] = hash(path);
  const bits = [low, low >>> 6, low >>> 12, high, high >>> 6, high >>> 12];
  return bits.map((value) => LETTERS[value & 63]).join("");
}

/** A number for a path that looks drawn by lot and is always the same. @param {string} path */
export const scatter = (path) => hash(path)[0] >>> 8;

/** Two times 32 bits: FNV-1a from two bases, mixed as MurmurHash3 ends. @param {string} text @returns {[number, number]} */
function hash(text) {
  let [a, b] = [0x811c9dc5, 0x1b873593];
  for (let i = 0; i < text.length; i++) {
    a = Math.imul(a ^ text.charCodeAt(i), 0x01000193);
    b = Math.imul(b ^ text.charCodeAt(i), 0x5bd1e995);
  }
  return [mix(a), mix(b ^ text.length)];
}

/** @param {number} value */
function mix(value) {
  value = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  value = Math.imul(value ^ (value >>> 13), 0xc2b2ae35);
  return (value ^ (value >>> 16)) >>> 0;
}
