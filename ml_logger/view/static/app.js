// @ts-check
/** Starts the page: who looks, at what; then the frame, the runs, and the tab that the URL names. */

import "./runs_view.js";
import "./later_views.js";

import { Api } from "./api.js";
import { Frame } from "./frame.js";
import { askToken } from "./login.js";
import { notice } from "./notice.js";
import { Picks } from "./picks.js";
import { Runs } from "./runs.js";
import { ViewState } from "./state.js";

/** @typedef {import("./views.js").Me} Me */

async function start() {
  const api = new Api();
  const me = await whoLooks(api);
  const state = new ViewState(window);
  const runs = new Runs(api);
  runs.start(new AbortController().signal);
  const picks = new Picks(runs, state);
  const frame = new Frame({ api, state, runs, picks, me });
  document.body.replaceChildren(...frame.elements);
  frame.open();
}

/** Ask until somebody is let in, and say why not meanwhile. @param {Api} api @returns {Promise<Me>} */
async function whoLooks(api) {
  for (;;) {
    /** @type {import("./api.js").Result<Me>} */
    const { value, trouble } = await api.getJson("view/api/me");
    if (value && !value.needs_login) return value;
    await (value ? askToken(api, value.title) : waitForServer(trouble.message));
  }
}

const RETRY_MS = 2000;

/** @param {string} message */
function waitForServer(message) {
  document.body.replaceChildren(notice({ icon: "alert", title: "The server does not answer", text: `${message}; trying again` }));
  return new Promise((done) => setTimeout(done, RETRY_MS));
}

await start();
