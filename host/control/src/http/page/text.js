// Formats numbers, times and values.

export function count(value) {
  if (value < 10_000) return value.toLocaleString("en");
  const [unit, size] = value < 1e6 ? ["k", 1e3] : value < 1e9 ? ["M", 1e6] : ["G", 1e9];
  return `${(value / size).toFixed(value / size < 10 ? 2 : value / size < 100 ? 1 : 0)} ${unit}`;
}

export function rate(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0/s";
  return value < 10 ? `${value.toFixed(1)}/s` : `${count(Math.round(value))}/s`;
}

export function bytes(value) {
  if (value < 1 << 20) return `${Math.round(value / 1024)} KiB`;
  return `${(value / (1 << 20)).toFixed(1)} MiB`;
}

export function millis(value) {
  // Calls in process take nanoseconds.
  if (value > 0 && value < 0.001) return `${Math.max(1, Math.round(value * 1e6))} ns`;
  if (value > 0 && value < 0.01) return `${(value * 1000).toFixed(1)} µs`;
  if (value < 1) return `${Math.round(value * 1000)} µs`;
  if (value < 10) return `${value.toFixed(1)} ms`;
  return value < 10_000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(1)} s`;
}

export function seconds(value) {
  const s = Math.floor(value);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

/** Returns the text, truncated to `most` characters. */
export function clip(text, most) {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

/** Formats the time of day of a timestamp. */
export function clock(at) {
  const time = new Date(at);
  return Number.isNaN(time.getTime()) ? "" : time.toLocaleTimeString("en-GB");
}

/** A number with all its digits as text. A JavaScript number cannot represent every u64. */
export class Exact {
  constructor(source) {
    this.source = source;
  }
}

/** Parses JSON without changing a digit of its numbers, if the browser supports that. */
export function parseExact(text) {
  return JSON.parse(text, (_, value, context) =>
    typeof value === "number" && context?.source !== undefined && context.source !== String(value)
      ? new Exact(context.source)
      : value,
  );
}

/** Formats a value as JSON, with line breaks only where a line would be long. */
export function pretty(value, indent = "") {
  if (value instanceof Exact) return value.source;
  if (value === null || typeof value !== "object") return JSON.stringify(value) ?? "null";
  const inner = `${indent}  `;
  const isList = Array.isArray(value);
  const parts = isList
    ? value.map((item) => pretty(item, inner))
    : Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}: ${pretty(item, inner)}`);
  if (parts.length === 0) return isList ? "[]" : "{}";
  const line = isList ? `[${parts.join(", ")}]` : `{ ${parts.join(", ")} }`;
  if (line.length + indent.length <= 76 && !line.includes("\n")) return line;
  const [open, close] = isList ? "[]" : "{}";
  return `${open}\n${parts.map((part) => inner + part).join(",\n")}\n${indent}${close}`;
}
