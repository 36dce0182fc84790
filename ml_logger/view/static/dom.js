// @ts-check
/**
 * Elements. Whatever a run brings goes through here and becomes a text node or an attribute's value: nothing in the page
 * ever parses text as HTML.
 */

/** @typedef {Node | string | number | null | undefined | false} Child */
/** @typedef {{[name: string]: unknown, class?: string | null, on?: Record<string, (event: any) => void>, vars?: Record<string, string>}} Props */

const TURNS_AROUND = /[\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;
const READ_ALOUD = new Set(["title", "alt", "placeholder", "aria-label"]);

/** The text with escapes for the characters that turn the writing round: with them a name could pass for another. @param {string} text */
export const visible = (text) => text.replace(TURNS_AROUND, (one) => `\\u${one.charCodeAt(0).toString(16)}`);

const BREAKS = /[\x00-\x1f\x7f-\x9f\u2028\u2029]/g;
/** @type {Record<string, string>} */
const SHORT = { "\n": "\\n", "\t": "\\t", "\r": "\\r" };

/** A name on one line, with escapes for what breaks lines or can't be seen. @param {string} name */
export const oneLine = (name) =>
  visible(name).replace(BREAKS, (one) => SHORT[one] ?? (one > "\xff" ? `\\u${one.charCodeAt(0).toString(16)}` : `\\x${one.charCodeAt(0).toString(16).padStart(2, "0")}`));

/**
 * Make an element. `on` holds its listeners, `vars` its CSS variables, `true` is an attribute without value, and
 * `false`, `null` and `undefined` leave a prop or a child out.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Props} [props]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) setProp(node, name, value);
  append(node, children);
  return node;
}

/** @param {Element} node @param {Child[]} children */
export function append(node, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : visible(String(child)));
  }
}

/** Put `children` in the place of all that is in `node`. @param {Element} node @param {...Child} children */
export function fill(node, ...children) {
  node.replaceChildren();
  append(node, children);
}

/** Set a text only where it differs, so that a selection in it survives. @param {Node} node @param {string} text */
export function setText(node, text) {
  const shown = visible(text);
  if (node.textContent !== shown) node.textContent = shown;
}

/** @param {HTMLElement} node @param {string} name @param {unknown} value */
function setProp(node, name, value) {
  if (value === null || value === undefined || value === false) return;
  if (name === "on") {
    for (const [event, listener] of Object.entries(/** @type {Record<string, EventListener>} */ (value)))
      node.addEventListener(event, listener);
  } else if (name === "vars") {
    setVars(node, /** @type {Record<string, string>} */ (value));
  } else if (name.toLowerCase().startsWith("on") || name === "style" || name === "srcdoc") {
    throw new TypeError(`${name} is not for el()`);
  } else if (name === "href" && /^\s*(javascript|data|vbscript):/i.test(String(value))) {
    throw new TypeError("a link to code");
  } else {
    const text = value === true ? "" : String(value);
    node.setAttribute(name, READ_ALOUD.has(name) ? visible(text) : text);
  }
}

/** Set CSS variables; through the object model, which the policy allows where attributes are not. @param {HTMLElement | SVGElement} node @param {Record<string, string>} vars */
export function setVars(node, vars) {
  for (const [name, value] of Object.entries(vars)) node.style.setProperty(name, value);
}

/** The first ancestor-or-self that matches, for one listener on many elements. @param {Event} event @param {string} selector @returns {HTMLElement | null} */
export function hit(event, selector) {
  return event.target instanceof Element ? event.target.closest(selector) : null;
}
