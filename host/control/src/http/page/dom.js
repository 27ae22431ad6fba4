// Making elements. Nothing here, nor anywhere on the page, turns text into markup: what a plugin says is text.

const SVG = "http://www.w3.org/2000/svg";

// No attribute beside these is ever set: none of them runs anything or loads anything.
const SAFE =
  /^(class|id|for|type|title|role|name|value|placeholder|rows|min|max|step|inputmode|tabindex|spellcheck|autocomplete|autocapitalize|scope|open|disabled|hidden|checked|selected|readonly|aria-[a-z]+|data-[a-z]+|viewBox|preserveAspectRatio|points|d|x|y|x1|x2|y1|y2|width|height|datetime)$/;

function put(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") {
      for (const [kind, act] of Object.entries(value)) node.addEventListener(kind, act);
    } else if (name === "href") {
      if (!/^#\/[a-z0-9.-]*$/.test(value)) throw new Error("a link leads to a plugin, or nowhere");
      node.setAttribute("href", value);
    } else if (!SAFE.test(name)) {
      throw new Error(`the attribute ${name} is not one that this page sets`);
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

/** The same for drawings. */
export function svg(name, attributes = {}, ...children) {
  return put(document.createElementNS(SVG, name), attributes, children);
}

/** Text of a plugin's: it cannot change the direction of what stands around it. */
export function foreign(text, attributes = {}) {
  return el("bdi", attributes, text);
}

/** A doc comment: what stands in backticks as code. */
export function prose(text, attributes = {}) {
  const parts = text.split(/(`[^`\n]+`)/).map((part, at) => (at % 2 ? el("code", {}, part.slice(1, -1)) : part));
  return el("bdi", attributes, ...parts);
}

/** Sets the text, if it is another: what has not changed is neither drawn nor read out again. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function show(node, visible) {
  if (node.hidden === visible) node.hidden = !visible;
}

/** Whether a button does what it says. One that waits keeps the keyboard, which one that is `disabled` would lose. */
export function enable(button, can) {
  if (can) button.removeAttribute("aria-disabled");
  else button.setAttribute("aria-disabled", "true");
}

/** Has a button wait for what it has begun. */
export async function busy(button, doing) {
  button.setAttribute("aria-busy", "true");
  enable(button, false);
  await doing();
  button.removeAttribute("aria-busy");
  enable(button, true);
}

/** Changes what is shown. If the keyboard was on something that is gone then, it goes to the one that `heir(gone)` gives. */
export function keepFocus(change, heir) {
  const held = document.activeElement;
  change();
  if (held && held !== document.body && !held.checkVisibility()) heir(held)?.focus();
}

/**
 * Makes the children of a node those of a list, and no others. A child that is there already is kept, with its focus and
 * what was typed into it. `make(item)` gives a node, and `update(node, item)` fills it in.
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
  // First of all, since a child that makes way for another one loses its focus.
  const wanted = new Set(children);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  let place = parent.firstElementChild;
  for (const child of children) {
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
  }
}
