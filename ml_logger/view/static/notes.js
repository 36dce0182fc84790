// @ts-check
/** What people say of a run, changed field by field: read anew, changed, and written only in the place of what was read. */

/** @typedef {import("./runs.js").Notes} Notes */

const CALL = "view/api/notes";
const CONFLICT = 409;
const MOST_TRIES = 3;

/**
 * Change the notes of a run, and give what is kept then. Where somebody else wrote in between, it is done again on theirs;
 * `change` gives null where it must not be done on what it is given, which then stays.
 * @param {import("./api.js").Api} api @param {string} run @param {(notes: Notes) => Notes | null} change
 * @returns {Promise<import("./api.js").Result<Notes>>}
 */
export async function changeNotes(api, run, change, tries = MOST_TRIES) {
  /** @type {import("./api.js").Result<Notes>} */
  const held = await api.getJson(CALL, { run });
  if (held.trouble) return held;
  const notes = change(held.value);
  if (!notes) return held;
  const { trouble } = await api.sendJson("PUT", CALL, { run }, notes);
  if (trouble?.status === CONFLICT && tries > 1) return changeNotes(api, run, change, tries - 1);
  return trouble ? { value: null, trouble } : { value: notes, trouble: null };
}

/**
 * The tags that are kept where somebody who saw `before` made `after` of them and others hold `held` by now.
 * @param {string[]} before @param {string[]} after @param {string[]} held
 */
export function mergedTags(before, after, held) {
  if (JSON.stringify(before) === JSON.stringify(held)) return after;
  const stay = held.filter((tag) => after.includes(tag) || !before.includes(tag));
  return [...stay, ...after.filter((tag) => !before.includes(tag) && !held.includes(tag))];
}
