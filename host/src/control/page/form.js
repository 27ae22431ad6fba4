// A form for a method, made from its types: an input for each plain type, JSON for all others.

import { el } from "./dom.js";

const INTEGER = /^[iu](8|16|32|64|128|size)$/;
const JSON_NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;

let ids = 0;

/** A field for a parameter: `node`, and `read()`, which gives JSON as text or throws what is wrong. */
export function field(param, types) {
  ids += 1;
  const id = `field-${ids}`;
  const wrong = el("p", { class: "error field-error", id: `${id}-error`, role: "alert" });
  const { input, read } = control(param.type, types, { id, "aria-describedby": `${id}-error` });
  const label = el("label", { for: id }, el("span", { class: "param" }, param.name), el("code", {}, param.rust));
  const node = el("div", { class: "field", "data-param": param.name }, label, input, wrong);
  return {
    node,
    read() {
      wrong.textContent = "";
      input.removeAttribute("aria-invalid");
      try {
        return read();
      } catch (error) {
        wrong.textContent = error.message;
        input.setAttribute("aria-invalid", "true");
        node.querySelector(`[id="${id}"]`).focus();
        throw error;
      }
    },
  };
}

function control(type, types, attributes) {
  if (type === "bool") {
    const input = el("input", { ...attributes, type: "checkbox" });
    return { input, read: () => String(input.checked) };
  }
  if (type === "string" || type === "char") return text(type, attributes);
  if (type?.number) return number(type.number, attributes);
  const variants = plainVariants(type, types);
  if (variants) {
    const input = el("select", attributes, ...variants.map((name) => el("option", { value: name }, name)));
    return { input, read: () => JSON.stringify(input.value) };
  }
  if (type?.option && isPlain(type.option, types)) return optional(type.option, types, attributes);
  return json(type, types, attributes);
}

function text(type, attributes) {
  if (type === "char") {
    const input = el("input", { ...attributes, type: "text", spellcheck: "false", autocomplete: "off" });
    return {
      input,
      read: () => {
        if ([...input.value].length !== 1) throw new Error("One character, please.");
        return JSON.stringify(input.value);
      },
    };
  }
  const input = el("textarea", { ...attributes, rows: "1", spellcheck: "false", title: "Shift+Enter makes a new line" });
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    input.form?.requestSubmit();
  });
  return { input, read: () => JSON.stringify(input.value) };
}

function number(name, attributes) {
  const whole = INTEGER.test(name);
  // Not type=number: its value has fewer digits than a u64.
  const input = el("input", {
    ...attributes, type: "text", inputmode: whole ? "numeric" : "decimal", value: "0", autocomplete: "off", class: "number",
  });
  return {
    input,
    read: () => {
      const value = input.value.trim();
      if (!JSON_NUMBER.test(value)) throw new Error(`A number, please, such as ${whole ? "42" : "1.5"}.`);
      if (whole && !/^-?\d+$/.test(value)) throw new Error("A whole number, please.");
      if (whole && name.startsWith("u") && value.startsWith("-")) throw new Error("A number that is not negative, please.");
      return value;
    },
  };
}

function optional(inner, types, attributes) {
  const given = el("input", { type: "checkbox", "aria-label": "Give a value" });
  const made = control(inner, types, attributes);
  const follow = () => {
    made.input.disabled = !given.checked;
  };
  given.addEventListener("change", follow);
  follow();
  return {
    input: el("div", { class: "optional" }, given, made.input),
    read: () => (given.checked ? made.read() : "null"),
  };
}

function json(type, types, attributes) {
  const sample = JSON.stringify(example(type, types, 0), null, 2);
  const rows = String(Math.min(10, sample.split("\n").length));
  const input = el("textarea", { ...attributes, rows, spellcheck: "false", class: "json" });
  input.value = sample;
  return {
    input,
    read: () => {
      try {
        JSON.parse(input.value);
      } catch (error) {
        throw new Error(`This is not JSON: ${error.message}`);
      }
      return input.value;
    },
  };
}

function isPlain(type, types) {
  return ["bool", "string", "char"].includes(type) || Boolean(type?.number) || Boolean(plainVariants(type, types));
}

/** The variants of an enum that has nothing but names. */
function plainVariants(type, types) {
  const variants = types[type?.named]?.shape?.enum;
  return variants?.every(({ shape }) => shape === "unit") ? variants.map(({ name }) => name) : null;
}

/** A value of a type, to be filled in. */
function example(type, types, depth) {
  if (typeof type === "string") {
    return { unit: null, bool: false, char: "a", string: "", duration: { secs: 1, nanos: 0 } }[type] ?? null;
  }
  const [kind, inner] = Object.entries(type)[0];
  switch (kind) {
    case "number":
      return 0;
    case "list":
      return [];
    case "map":
      return {};
    case "array":
      return Array.from({ length: Math.min(inner[1], 64) }, () => example(inner[0], types, depth));
    case "tuple":
      return inner.map((part) => example(part, types, depth));
    case "result":
      return { Ok: example(inner[0], types, depth) };
    case "named":
      return depth > 4 || !types[inner] ? null : shaped(types[inner].shape, types, depth + 1);
    default:
      return null;
  }
}

function shaped(shape, types, depth) {
  if (shape === "unit") return null;
  if (shape.struct) return Object.fromEntries(shape.struct.map(({ name, type }) => [name, example(type, types, depth)]));
  if (shape.tuple) {
    const parts = shape.tuple.map((type) => example(type, types, depth));
    return parts.length === 1 ? parts[0] : parts;
  }
  const first = shape.enum[0];
  if (!first) return null;
  return first.shape === "unit" ? first.name : { [first.name]: shaped(first.shape, types, depth) };
}
