// Makes the form for a method from its types: an input for each plain value, a group for each composite value, and rows for
// lists and maps. Values of recursive or deeply nested types are entered as JSON.

import { el, foreign, prose, show } from "./dom.js";
import { choice, input, json } from "./inputs.js";
import { isKey, rust } from "./types.js";

// The number of nested groups beyond which a value is entered as JSON.
const DEEPEST = 6;
const LONGEST_ARRAY = 16;

let ids = 0;

function fresh() {
  ids += 1;
  return `field-${ids}`;
}

/**
 * Makes the part of the form for a parameter. A part has a `node` and `read()`, which returns JSON text. If the input is
 * invalid, `read()` shows the error at the input and throws it.
 */
export function field(param, types) {
  const made = part(param.name, param.type, { types, above: [] }, param.rust);
  made.node.dataset.param = param.name;
  return made;
}

/** Makes the part for a value. `above` has an entry for each enclosing group: its named type, or null. */
function part(name, type, { types, above }, shown = rust(type)) {
  const single = input(type, types);
  if (single) return leaf(name, shown, single);
  const [kind, of] = typeof type === "string" ? [type, null] : Object.entries(type)[0];
  const within = { types, above: [...above, kind === "named" ? of : null] };
  const title = { name, shown };
  if (above.length < DEEPEST) {
    if (kind === "unit") return group(title, "", { nodes: [], read: () => "null" });
    if (kind === "option") return optional(title, of, within);
    if (kind === "tuple") return group(title, "", positions(of, within));
    if (kind === "array" && of[1] <= LONGEST_ARRAY) return group(title, "", positions(Array(of[1]).fill(of[0]), within));
    // A list of bytes is entered as JSON, because a row for each byte is useless.
    if (kind === "list" && of.number !== "u8") return items(title, of, within);
    if (kind === "map" && isKey(of[0], types)) return pairs(title, of, within);
    if (kind === "result") return variants(title, "", results(of), within);
    const isKnown = kind === "named" && types[of] && types[of].shape !== "encoded";
    if (isKnown && !above.includes(of)) return named(title, types[of], within);
  }
  return leaf(name, shown, json(type, types));
}

function named(title, { docs, shape }, within) {
  if (shape.enum) return variants(title, docs, shape.enum, within);
  // A newtype is entered as its inner type.
  if (shape.tuple?.length === 1) return part(title.name, shape.tuple[0], within, title.shown);
  return group(title, docs, content(shape, within));
}

function results([ok, error]) {
  return [{ name: "Ok", shape: { tuple: [ok] } }, { name: "Err", shape: { tuple: [error] } }];
}

/** Makes the parts for the fields of a struct or a variant. */
function content(shape, within) {
  if (shape === "unit") return { nodes: [], read: () => "null" };
  if (!shape.struct) return positions(shape.tuple, within);
  const parts = shape.struct.map(({ name, type }) => [name, part(name, type, within)]);
  return {
    nodes: parts.map(([, { node }]) => node),
    read: () => `{${parts.map(([name, { read }]) => `${JSON.stringify(name)}:${read()}`).join(",")}}`,
  };
}

function positions(types, within) {
  const parts = types.map((type, at) => part(String(at), type, within));
  return { nodes: parts.map(({ node }) => node), read: () => `[${parts.map(({ read }) => read()).join(",")}]` };
}

/** Makes a part that has one input, with its label and its error. */
function leaf(name, shown, { input, read }) {
  const id = fresh();
  const wrong = el("p", { class: "error field-error", id: `${id}-error`, role: "alert" });
  const { nodes, label } = heading(name, shown);
  input.id = id;
  input.setAttribute("aria-describedby", `${id}-error`);
  const refuse = (message) => {
    wrong.textContent = message;
    input.setAttribute("aria-invalid", "true");
    input.focus();
    throw new Error(message);
  };
  const node = el("div", { class: input.type === "checkbox" ? "field ticked" : "field", "data-name": name },
    el("label", { for: id }, ...nodes), input, wrong);
  return {
    node,
    label,
    refuse,
    read() {
      wrong.textContent = "";
      input.removeAttribute("aria-invalid");
      try {
        return read();
      } catch (error) {
        return refuse(error.message);
      }
    },
  };
}

function heading(name, shown) {
  const label = foreign(name, { class: "param" });
  return { label, nodes: [label, el("code", {}, shown)] };
}

/** Makes a part that groups several parts under one title. */
function group({ name, shown }, docs, { nodes, read }) {
  const { nodes: title, label } = heading(name, shown);
  const node = el("fieldset", { class: "group", "data-name": name }, el("legend", {}, ...title),
    docs ? el("p", { class: "docs" }, prose(docs.split("\n\n")[0])) : null, ...nodes);
  return { node, label, read };
}

/** Makes the part for an optional value, with a check box. The part of the inner value is made when the box is first checked, and keeps its input. */
function optional({ name, shown }, type, within) {
  const id = fresh();
  const given = el("input", { type: "checkbox", id, class: "given" });
  const { nodes: title, label } = heading(name, shown);
  const place = el("div", { class: "inner", hidden: true });
  let inner = null;
  given.addEventListener("change", () => {
    if (inner === null) place.append((inner = part(name, type, within)).node);
    show(place, given.checked);
  });
  const node = el("fieldset", { class: "group optional", "data-name": name },
    el("legend", {}, el("label", { for: id }, given, ...title)), place);
  return { node, label, read: () => (given.checked ? inner.read() : "null") };
}

/** Makes the part for one of several variants, with the fields of the selected variant. */
function variants(title, docs, all, within) {
  const names = choice(all.map(({ name }) => name));
  const which = leaf("variant", "", names);
  const place = el("div", { class: "inner" });
  const made = new Map();
  const picked = () => all[names.input.selectedIndex];
  const fields = () => {
    const variant = picked();
    if (!made.has(variant)) made.set(variant, fieldsOf(variant, within));
    return made.get(variant);
  };
  const follow = () => place.replaceChildren(...fields().nodes);
  names.input.addEventListener("change", follow);
  // By default, a variant without fields is selected, if there is one.
  names.input.selectedIndex = Math.max(0, all.findIndex(({ shape }) => shape === "unit"));
  follow();
  const read = () => (picked().shape === "unit" ? which.read() : `{${which.read()}:${fields().read()}}`);
  return group(title, docs, { nodes: [which.node, place], read });
}

function fieldsOf({ shape }, within) {
  if (shape.tuple?.length !== 1) return content(shape, within);
  const { node, read } = part("value", shape.tuple[0], within);
  return { nodes: [node], read };
}

function items(title, type, within) {
  return rows(title, () => part("", type, within, ""), (parts) => `[${parts.map(({ read }) => read()).join(",")}]`);
}

function pairs(title, [key, value], within) {
  const add = () => {
    const [from, to] = [part("key", key, within), part("value", value, within)];
    return { node: el("div", { class: "pair" }, from.node, to.node), from, to };
  };
  return rows(title, add, (parts) => {
    const seen = new Set();
    const written = parts.map(({ from, to }) => {
      const read = from.read();
      // In JSON, every key is a string, even if the key is a number in Rust.
      const name = read.startsWith('"') ? read : JSON.stringify(read);
      if (seen.has(name)) from.refuse("This key exists already.");
      seen.add(name);
      return `${name}:${to.read()}`;
    });
    return `{${written.join(",")}}`;
  });
}

/** Makes a part that has any number of inner parts. `add()` makes an inner part, and `join(parts)` reads all of them. */
function rows(title, add, join) {
  const parts = [];
  const list = el("ol", { class: "items" });
  const more = el("button", { type: "button", class: "small", "data-do": "add", "aria-label": `Add to ${title.name}` }, "Add");
  const number = () => parts.forEach(({ label, away }, at) => {
    if (label) label.textContent = String(at);
    away.setAttribute("aria-label", `Remove ${at} from ${title.name}`);
  });
  more.addEventListener("click", () => {
    const made = add();
    const away = el("button", { type: "button", class: "small", "data-do": "remove" }, "×");
    const entry = { ...made, away, row: el("li", { class: "item" }, made.node, away) };
    away.addEventListener("click", () => {
      const at = parts.indexOf(entry);
      parts.splice(at, 1);
      entry.row.remove();
      number();
      (parts[at]?.away ?? more).focus();
    });
    parts.push(entry);
    list.append(entry.row);
    number();
    made.node.querySelector("input, textarea, select, button")?.focus();
  });
  return group(title, "", { nodes: [list, more], read: () => join(parts) });
}
