// @ts-check
/** Numbers, times and names as people read them. */

/** @typedef {import("./runs.js").Value} Value */

const STATES = {
  running: "running",
  finished: "finished",
  failed: "failed",
  killed: "killed",
  silent: "silent",
};

/** @param {import("./runs.js").RunState} state */
export const stateName = (state) => STATES[state] ?? String(state);

/** A JSON value on one line. Numbers keep at most `digits` significant digits. @param {Value | undefined} value @param {number} [digits] @returns {string} */
export function valueText(value, digits = 5) {
  if (value === undefined) return "";
  if (typeof value === "number") return numberText(value, digits);
  if (typeof value === "string") return value;
  return JSON.stringify(value);
}

/** @param {number} value @param {number} [digits] */
export function numberText(value, digits = 5) {
  if (!Number.isFinite(value)) return String(value);
  if (Number.isInteger(value) && Math.abs(value) < 1e9) return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e9)) return value.toExponential(digits - 1).replace(/\.?0+e/, "e").replace("e+", "e");
  return String(Number(value.toPrecision(digits)));
}

/** The number that a logged value is, words of special floats and the digits of long whole numbers included; null for what is none. @param {Value | undefined} value @returns {number | null} */
export function asNumber(value) {
  if (typeof value === "number") return value;
  if (typeof value === "boolean") return Number(value);
  return typeof value === "string" && /^-?(NaN|Infinity|\d{16,})$/.test(value) ? Number(value) : null;
}

/** @param {number} count @param {string} one @param {string} [many] */
export const countText = (count, one, many = `${one}s`) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

/** "42 s", "3 min 20 s", "5 h 02 min", "3 d 4 h". @param {number} seconds */
export function durationText(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${pad(s % 60)} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${pad(Math.floor(s / 60) % 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s / 3600) % 24} h`;
}

/** How long ago, in one unit. @param {number} seconds */
export function agoText(seconds) {
  const s = Math.max(0, seconds);
  if (s < 5) return "just now";
  if (s < 60) return `${Math.floor(s)} s ago`;
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ago`;
  return `${Math.floor(s / 86400)} d ago`;
}

/** Local date and time, sortable as text; seconds where that is no date. @param {number} time */
export function dateText(time) {
  const d = new Date(time * 1000);
  if (Number.isNaN(d.getTime())) return `${numberText(time)} s`; // no date: it is not within 275,000 years
  return `${d.getFullYear()}-${pad(d.getMonth() + 1)}-${pad(d.getDate())} ${pad(d.getHours())}:${pad(d.getMinutes())}:${pad(d.getSeconds())}`;
}

/** Date and time to the minute, without what is the same today. @param {number} time @param {number} now */
export function shortDateText(time, now) {
  const text = dateText(time);
  if (!/^\d{4}-/.test(text)) return text;
  if (text.slice(0, 10) === dateText(now).slice(0, 10)) return text.slice(11, 16);
  return text.slice(0, 4) === dateText(now).slice(0, 4) ? text.slice(5, 16) : text.slice(0, 16);
}

/** @param {number} bytes */
export function sizeText(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = bytes > 0 ? Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10)) : 0;
  return `${numberText(bytes / 1024 ** power, power ? 3 : 12)} ${units[power]}`;
}

/** @param {number} value */
const pad = (value) => String(value).padStart(2, "0");

/** The folders that all paths lie in, with the slash at the end. @param {Iterable<string>} paths */
export function sharedFolder(paths) {
  let shared = null;
  for (const path of paths) {
    const folder = path.slice(0, path.lastIndexOf("/") + 1);
    shared = shared === null ? folder : bothBegin(shared, folder);
    if (shared === "") return "";
  }
  return shared ?? "";
}

/** @param {string} a @param {string} b */
function bothBegin(a, b) {
  while (a && !b.startsWith(a)) a = a.slice(0, a.lastIndexOf("/", a.length - 2) + 1);
  return a;
}
