// A form for a method, made from its types: an input for each plain value, a group for a composite one, rows for lists
// and maps. Recursive or deeply nested types are entered as JSON.

import { el, foreign, prose, show } from "./dom.js";
import { choice, input, json } from "./inputs.js";
import { isKey, rust } from "./types.js";

// Deeper nesting than this is entered as JSON.
const DEEPEST = 6;
const LONGEST_ARRAY = 16;

let ids = 0;

function fresh() {
  ids += 1;
  return `field-${ids}`;
}

/** The part for a parameter: `node`, and `read()`, which returns JSON text, or shows the error at the input and throws. */
export function field(param, types) {
  const made = part(param.name, param.type, { types, above: [] }, param.rust);
  made.node.dataset.param = param.name;
  return made;
}

/** The part for a value; `above` are the enclosing groups, each with its type if that has a name. */
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
    // Rows for single bytes are of no use.
    if (kind === "list" && of.number !== "u8") return items(title, of, within);
    if (kind === "map" && isKey(of[0], types)) return pairs(title, of, within);
    if (kind === "result") return variants(title, "", results(of), within);
    if (kind === "named" && types[of] && !above.includes(of)) return named(title, types[of], within);
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

/** The parts of the fields of a struct or a variant. */
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

/** One input, with its label and its error. */
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

/** Several parts under one title. */
function group({ name, shown }, docs, { nodes, read }) {
  const { nodes: title, label } = heading(name, shown);
  const node = el("fieldset", { class: "group", "data-name": name }, el("legend", {}, ...title),
    docs ? el("p", { class: "docs" }, prose(docs.split("\n\n")[0])) : null, ...nodes);
  return { node, label, read };
}

/** An optional value. Its part is made when it is enabled, and keeps what was typed. */
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

/** One of several variants, with the fields of the selected one. */
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
  // A variant without fields is the shortest choice.
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
      // In JSON, every key is a string, whatever it is in Rust.
      const name = read.startsWith('"') ? read : JSON.stringify(read);
      if (seen.has(name)) from.refuse("This key exists already.");
      seen.add(name);
      return `${name}:${to.read()}`;
    });
    return `{${written.join(",")}}`;
  });
}

/** Any number of parts. `add()` makes one, `join(parts)` reads them. */
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
