// @ts-check
/** What people say of a run, changed field by field: read anew, changed, and written only in the place of what was read. */

/** @typedef {import("./runs.js").Notes} Notes */

const CALL = "view/api/notes";
const CONFLICT = 409;
const MOST_TRIES = 3;

/**
 * Change the notes of a run, and give what is kept then. Where somebody else wrote in between, it is done again on theirs.
 * @param {import("./api.js").Api} api @param {string} run @param {(notes: Notes) => Notes} change
 * @returns {Promise<import("./api.js").Result<Notes>>}
 */
export async function changeNotes(api, run, change, tries = MOST_TRIES) {
  /** @type {import("./api.js").Result<Notes>} */
  const held = await api.getJson(CALL, { run });
  if (held.trouble) return held;
  const notes = change(held.value);
  const { trouble } = await api.sendJson("PUT", CALL, { run }, notes);
  if (trouble?.status === CONFLICT && tries > 1) return changeNotes(api, run, change, tries - 1);
  return trouble ? { value: null, trouble } : { value: notes, trouble: null };
}
