// The inputs for plain values. An input is an object with the element `input` and the function `read()`, which returns JSON
// text or throws an error.

import { el } from "./dom.js";
import { example, isText, plainVariants, range } from "./types.js";

const JSON_NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;
const SECONDS = /^(\d+)(?:\.(\d{1,9}))?$/;
// The number of bits that an `<input type="number">` keeps exactly. It rounds larger integers.
const EXACT_BITS = 53n;

/** Makes the input for a type whose values need only one input. Returns null for other types. */
export function input(type, types) {
  if (type === "bool") return tick();
  if (type === "string") return text();
  if (isText(type)) return text(example(type, types));
  if (type === "char") return character();
  if (type === "duration") return duration();
  if (type?.number) return number(type.number);
  const variants = plainVariants(type, types);
  return variants ? choice(variants) : null;
}

/** Makes an input that selects one of several names. */
export function choice(names) {
  const node = el("select", {}, ...names.map((name) => el("option", { value: name }, name)));
  return { input: node, read: () => JSON.stringify(node.value) };
}

/** Makes an input for JSON text, for types without other inputs. */
export function json(type, types) {
  const sample = JSON.stringify(example(type, types), null, 2);
  const rows = String(Math.min(10, sample.split("\n").length));
  const node = el("textarea", { rows, spellcheck: "false", class: "json", title: "JSON" });
  node.value = sample;
  return {
    input: node,
    read: () => {
      try {
        JSON.parse(node.value);
      } catch (error) {
        throw new Error(`This is not JSON: ${error.message}`);
      }
      return node.value;
    },
  };
}

function tick() {
  const node = el("input", { type: "checkbox" });
  return { input: node, read: () => String(node.checked) };
}

function text(value = "") {
  const node = el("textarea", { rows: "1", spellcheck: "false", title: "Shift+Enter inserts a new line" });
  node.value = value;
  node.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    node.form?.requestSubmit();
  });
  return { input: node, read: () => JSON.stringify(node.value) };
}

function character() {
  const node = el("input", { type: "text", spellcheck: "false", autocomplete: "off" });
  return {
    input: node,
    read: () => {
      if ([...node.value].length !== 1) throw new Error("Must be one character.");
      return JSON.stringify(node.value);
    },
  };
}

function number(name) {
  const limits = range(name);
  const common = { value: String(example({ number: name })), autocomplete: "off", class: "number" };
  if (limits === null) {
    const node = el("input", { ...common, type: "number", step: "any" });
    return { input: node, read: () => decimal(node.value) };
  }
  const [least, most] = limits;
  const bounds = `from ${least} to ${most}`;
  const isExact = most < 2n ** EXACT_BITS;
  const node = isExact
    ? el("input", { ...common, type: "number", step: "1", min: String(least), max: String(most), title: bounds })
    : el("input", { ...common, type: "text", inputmode: "numeric", title: bounds });
  return {
    input: node,
    read: () => {
      const value = node.value.trim();
      if (!/^-?\d+$/.test(value)) throw new Error(`Must be a whole number ${bounds}.`);
      const whole = BigInt(value);
      if (whole < least || whole > most) throw new Error(`Must be a number ${bounds}.`);
      return isExactInJson(whole) ? String(whole) : JSON.stringify(String(whole));
    },
  };
}

/** Whether JSON contains the integer as a number. The host rounds other integers, and reads them from strings. */
function isExactInJson(whole) {
  return whole >= -(2n ** 63n) && whole < 2n ** 64n;
}

function decimal(written) {
  const value = written.trim();
  if (JSON_NUMBER.test(value)) return value;
  if (value === "" || !Number.isFinite(Number(value))) throw new Error("Must be a number, such as 1.5.");
  return String(Number(value));
}

function duration() {
  const node = el("input", { type: "text", inputmode: "decimal", value: "1", autocomplete: "off", class: "number", title: "in seconds" });
  return {
    input: node,
    read: () => {
      const [, secs, nanos] = SECONDS.exec(node.value.trim()) ?? [];
      if (secs === undefined) throw new Error("Must be seconds, such as 1.5.");
      return `{"secs":${BigInt(secs)},"nanos":${Number((nanos ?? "").padEnd(9, "0"))}}`;
    },
  };
}
