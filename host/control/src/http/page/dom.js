// Makes elements. No script of the page parses text as markup, so the text of a plugin is always shown as text.

const SVG = "http://www.w3.org/2000/svg";

// The only attributes that the page sets, besides `href`. None of them can run or load anything.
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

/** Makes an element with attributes, listeners (`on`) and children. Strings become text. */
export function el(name, attributes = {}, ...children) {
  return put(document.createElement(name), attributes, children);
}

/** Makes an SVG element, with the same parameters as `el`. */
export function svg(name, attributes = {}, ...children) {
  return put(document.createElementNS(SVG, name), attributes, children);
}

/** Makes an element for text from a plugin. The text cannot change the direction of the text around it. */
export function foreign(text, attributes = {}) {
  return el("bdi", attributes, text);
}

/** Makes an element for a doc comment, with text in backticks shown as code. */
export function prose(text, attributes = {}) {
  const parts = text.split(/(`[^`\n]+`)/).map((part, at) => (at % 2 ? el("code", {}, part.slice(1, -1)) : part));
  return el("bdi", attributes, ...parts);
}

/** Sets the text of a node if it differs, so that a browser does not draw unchanged text again and a screen reader does not read it again. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function show(node, visible) {
  if (node.hidden === visible) node.hidden = !visible;
}

/** Enables or disables a button. A button with the attribute `disabled` would lose the focus, so `aria-disabled` is used. */
export function enable(button, can) {
  if (can) button.removeAttribute("aria-disabled");
  else button.setAttribute("aria-disabled", "true");
}

/** Marks a button as busy until the promise that `doing()` returns is fulfilled. */
export async function busy(button, doing) {
  button.setAttribute("aria-busy", "true");
  enable(button, false);
  await doing();
  button.removeAttribute("aria-busy");
  enable(button, true);
}

/** Runs `change()`. If this removes or hides the focused element, the focus moves to the element that `heir(element)` returns. */
export function keepFocus(change, heir) {
  const held = document.activeElement;
  change();
  if (held && held !== document.body && !held.checkVisibility()) heir(held)?.focus();
}

/**
 * Makes the children of a node match a list. The child of an item that stays in the list is kept, with its focus and input.
 * `key(item)` identifies an item, `make(item)` returns a new node, and `update(node, item)` shows the item in a node.
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
  // Unwanted children are removed first. Otherwise, wanted children would be moved, and a moved child loses the focus.
  const wanted = new Set(children);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  let place = parent.firstElementChild;
  for (const child of children) {
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
  }
}
