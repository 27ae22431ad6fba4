// Makes elements. Neither this file nor the rest of the page turns text into markup: what comes from a plugin stays
// text.

const SVG = "http://www.w3.org/2000/svg";

// The only attributes that are ever set. None of them runs or loads anything.
const SAFE =
  /^(class|id|for|type|title|role|name|value|placeholder|rows|min|max|step|inputmode|tabindex|spellcheck|autocomplete|autocapitalize|scope|open|disabled|hidden|checked|selected|readonly|aria-[a-z]+|data-[a-z]+|viewBox|preserveAspectRatio|points|d|x|y|x1|x2|y1|y2|width|height|datetime)$/;

function put(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") {
      for (const [kind, act] of Object.entries(value)) node.addEventListener(kind, act);
    } else if (name === "href") {
      if (!/^#\/[a-z0-9.-]*$/.test(value)) throw new Error("a link must lead to a plugin or to the list");
      node.setAttribute("href", value);
    } else if (!SAFE.test(name)) {
      throw new Error(`this page does not set the attribute ${name}`);
    } else if (value !== false && value !== null && value !== undefined) {
      node.setAttribute(name, value === true ? "" : value);
    }
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** An element with attributes, listeners (`on`) and children; strings become text. */
export function el(name, attributes = {}, ...children) {
  return put(document.createElement(name), attributes, children);
}

/** The same for SVG elements. */
export function svg(name, attributes = {}, ...children) {
  return put(document.createElementNS(SVG, name), attributes, children);
}

/** Text from a plugin: it cannot change the direction of the text around it. */
export function foreign(text, attributes = {}) {
  return el("bdi", attributes, text);
}

/** A doc comment, with text in backticks shown as code. */
export function prose(text, attributes = {}) {
  const parts = text.split(/(`[^`\n]+`)/).map((part, at) => (at % 2 ? el("code", {}, part.slice(1, -1)) : part));
  return el("bdi", attributes, ...parts);
}

/** Sets the text if it differs: unchanged text is neither drawn nor read out again. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function show(node, visible) {
  if (node.hidden === visible) node.hidden = !visible;
}

/** Enables or disables a button. A disabled one keeps the focus, which it would lose with the attribute `disabled`. */
export function enable(button, can) {
  if (can) button.removeAttribute("aria-disabled");
  else button.setAttribute("aria-disabled", "true");
}

/** Marks a button as busy until its command has ended. */
export async function busy(button, doing) {
  button.setAttribute("aria-busy", "true");
  enable(button, false);
  await doing();
  button.removeAttribute("aria-busy");
  enable(button, true);
}

/** Changes what is shown. If the focused element is removed, the focus moves to the element that `heir(gone)` returns. */
export function keepFocus(change, heir) {
  const held = document.activeElement;
  change();
  if (held && held !== document.body && !held.checkVisibility()) heir(held)?.focus();
}

/**
 * Makes the children of a node match a list. An existing child is kept, with its focus and what was typed into it.
 * `make(item)` returns a node, and `update(node, item)` fills it in.
 */
export function list(parent, items, { key, make, update }) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const children = items.map((item) => {
    const name = String(key(item));
    const child = old.get(name) ?? make(item);
    old.delete(name);
    child.dataset.key = name;
    update?.(child, item);
    return child;
  });
  // Comes first, because a child that is replaced by another loses its focus.
  const wanted = new Set(children);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  let place = parent.firstElementChild;
  for (const child of children) {
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
  }
}
