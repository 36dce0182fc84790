// @ts-check
/** The form for a token. The server keeps it in a cookie that no script can read. */

import { el, setText } from "./dom.js";

/** Ask for the token in the place of the whole page, until one is right. @param {import("./api.js").Api} api @param {string} title @param {string} [reason] @returns {Promise<void>} */
export function askToken(api, title, reason = "") {
  return new Promise((done) => {
    const dialog = form(api, title, reason, () => done());
    document.body.replaceChildren(dialog);
    dialog.querySelector("input")?.focus();
  });
}

/** @param {import("./api.js").Api} api @param {string} title @param {string} reason @param {() => void} done */
function form(api, title, reason, done) {
  const token = el("input", { type: "password", id: "token", name: "token", autocomplete: "current-password", required: true, spellcheck: "false", "aria-describedby": "login-error" });
  const error = el("p", { class: "login-error", id: "login-error", role: "alert" }, reason);
  const button = el("button", { class: "button primary", type: "submit" }, "Log in");
  /** @param {SubmitEvent} event */
  const submit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    const { trouble } = await api.sendJson("POST", "view/login", {}, { token: token.value.trim() });
    button.disabled = false;
    if (!trouble) return done();
    setText(error, trouble.kind === "denied" ? "This token is not known here." : `That did not work: ${trouble.message}.`);
    token.select();
  };
  return el("main", { class: "login" },
    el("form", { method: "post", on: { submit } },
      el("h1", {}, title || "ML_Logger"),
      el("label", { for: "token" }, "Token"), token, error, button,
      el("p", { class: "hint" }, "Whoever runs the receiver makes one:"),
      el("pre", {}, el("code", {}, "ml-logger-server token add NAME --rights read --token-file FILE"))));
}
