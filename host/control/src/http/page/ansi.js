// Shows text with the colours of a terminal as elements, so that output of rustc looks as it does in a terminal.

import { el } from "./dom.js";

const NAMES = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];
// Matches the sequences for colours and weights, and also other sequences, such as links. The latter are dropped.
const SEQUENCE = /\u001b(?:\[([\d;]*)m|\[[\d;?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\))/g;

/** Returns the nodes that show the text. */
export function ansi(text) {
  const nodes = [];
  const style = { colour: null, bold: false, dim: false, italic: false, underline: false };
  let from = 0;
  const flush = (to) => {
    if (to > from) nodes.push(span(text.slice(from, to), style));
  };
  for (const match of text.matchAll(SEQUENCE)) {
    flush(match.index);
    from = match.index + match[0].length;
    if (match[1] !== undefined) apply(style, match[1].split(";").map(Number));
  }
  flush(text.length);
  return nodes;
}

function span(text, { colour, bold, dim, italic, underline }) {
  const classes = [colour && `c-${colour}`, bold && "c-bold", dim && "c-dim", italic && "c-italic", underline && "c-underline"];
  const named = classes.filter(Boolean).join(" ");
  return named ? el("span", { class: named }, text) : document.createTextNode(text);
}

function apply(style, codes) {
  for (let at = 0; at < codes.length; at += 1) {
    const code = codes[at];
    if (code === 0) Object.assign(style, { colour: null, bold: false, dim: false, italic: false, underline: false });
    else if (code === 1) style.bold = true;
    else if (code === 2) style.dim = true;
    else if (code === 3) style.italic = true;
    else if (code === 4) style.underline = true;
    else if (code === 22) style.bold = style.dim = false;
    else if (code === 23) style.italic = false;
    else if (code === 24) style.underline = false;
    else if (code === 39) style.colour = null;
    else if (code >= 30 && code <= 37) style.colour = NAMES[code - 30];
    else if (code >= 90 && code <= 97) style.colour = NAMES[code - 90];
    else if (code === 38 || code === 48) {
      // Only the first 16 of the 256 colours have names. rustc uses no others.
      const indexed = codes[at + 1] === 5;
      if (indexed && code === 38) style.colour = codes[at + 2] < 16 ? NAMES[codes[at + 2] % 8] : null;
      at += indexed ? 2 : 4;
    }
  }
}
