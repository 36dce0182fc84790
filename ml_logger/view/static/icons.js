// @ts-check
/** Icons drawn with lines on a grid of 16, in the colour of the text beside them. */

const PATHS = {
  running: "M8 2.5a5.5 5.5 0 1 1-5.5 5.5",
  finished: "M3.5 8.5 6.5 11.5 12.5 4.5",
  failed: "M4.5 4.5l7 7M11.5 4.5l-7 7",
  killed: "M4.5 4.5h7v7h-7z",
  silent: "M3 8h2.5M7 8h2.5M11 8h2",
  pin: "M6 2.5h4l-.5 4 2 2.5h-7l2-2.5zM8 9v4.5",
  search: "M7 3a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM10 10l3.5 3.5",
  close: "M4.5 4.5l7 7M11.5 4.5l-7 7",
  down: "M4 6.5l4 4 4-4",
  right: "M6.5 4l4 4-4 4",
  up: "M4 9.5l4-4 4 4",
  columns: "M3 3.5h10v9H3zM6.5 3.5v9M9.5 3.5v9",
  link: "M6.5 9.5l3-3M7 5l1.5-1.5a2.5 2.5 0 0 1 4 4L11 9M9 11l-1.5 1.5a2.5 2.5 0 0 1-4-4L5 7",
  bookmark: "M4.5 2.5h7v11L8 10.5l-3.5 3z",
  leave: "M9.5 3H3.5v10h6M7 8h6M11 5.5 13.5 8 11 10.5",
  compare: "M5.5 3v10M10.5 3v10M2.5 6h3M10.5 10h3",
  note: "M3.5 3h9v7l-3 3h-6zM9.5 13v-3h3",
  keys: "M6 6a2 2 0 1 1 2.6 1.9c-.4.1-.6.5-.6.9v.7M8 11.8v.2",
  list: "M5.5 4h8M5.5 8h8M5.5 12h8M2.5 4h.5M2.5 8h.5M2.5 12h.5",
  alert: "M8 2.5 14 13H2zM8 6.5v3M8 11.2v.2",
  plus: "M8 3.5v9M3.5 8h9",
  minus: "M3.5 8h9",
  wide: "M9.5 3H13v3.5M13 3 9 7M6.5 13H3V9.5M3 13l4-4",
  table: "M8 2.5v7M5 7l3 3 3-3M3 12.5h10",
  picture: "M2.5 3.5h11v9h-11zM2.5 10.5l3.5-3 2.5 2 2-1.5 3 2.5M10 6.2v.1",
  trash: "M3 4.5h10M6.5 4V2.5h3V4M4.5 4.5l.6 9h5.8l.6-9",
  left: "M10 4 6 8l4 4",
  play: "M5 3.5v9l7.5-4.5z",
  pause: "M5.5 3.5v9M10.5 3.5v9",
  download: "M8 2.5v7.5M4.5 7 8 10.5 11.5 7M3 13.5h10",
  image: "M2.5 3.5h11v9h-11zM2.5 10.5l3-3 3 3 2-2 3 3M10 6h.2",
  histogram: "M2.5 13.5h11M4 13V9M7 13V3.5M10 13V6M13 13v-2",
  folder: "M2 4.5h4.5L8 6h6v7H2z",
  file: "M4 2.5h5l3 3v8H4zM9 2.5v3h3",
  differs: "M3 6h10M3 10h10M10.5 3l-5 10",
};

/** @typedef {keyof typeof PATHS} IconName */

const SVG = "http://www.w3.org/2000/svg";

/** Draw an icon; it says nothing to a screen reader, so put a text or label beside it. @param {IconName} name @returns {SVGSVGElement} */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("class", `icon icon-${name}`);
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}
