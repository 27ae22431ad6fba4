// Functions for the types of a method's parameters and results, in the form in which the host describes them.

const DEEPEST = 4;

/** Matches the name of an integer type. */
const WHOLE = /^(NonZero)?([IUiu])(\d+|size)$/;

/** The types of libraries whose values are texts in JSON, with an example of each. */
const TEXTS = {
  PathBuf: "/tmp",
  IpAddr: "127.0.0.1",
  Ipv4Addr: "127.0.0.1",
  Ipv6Addr: "::1",
  SocketAddr: "127.0.0.1:80",
  SocketAddrV4: "127.0.0.1:80",
  SocketAddrV6: "[::1]:80",
  Uuid: "00000000-0000-0000-0000-000000000000",
};

/** Formats a type in Rust syntax. */
export function rust(type) {
  if (typeof type === "string") return { unit: "()", string: "String", duration: "Duration" }[type] ?? type;
  const [kind, of] = Object.entries(type)[0];
  switch (kind) {
    case "option":
      return `Option<${rust(of)}>`;
    case "list":
      return `Vec<${rust(of)}>`;
    case "array":
      return `[${rust(of[0])}; ${of[1]}]`;
    case "tuple":
      return of.length === 1 ? `(${rust(of[0])},)` : `(${of.map(rust).join(", ")})`;
    case "map":
    case "result":
      return `${kind === "map" ? "Map" : "Result"}<${of.map(rust).join(", ")}>`;
    default:
      return of;
  }
}

/** Returns the smallest and the largest value of an integer type, or null for other types. */
export function range(name) {
  const [, nonZero, sign, size] = WHOLE.exec(name) ?? [];
  if (sign === undefined) return null;
  const bits = BigInt(size === "size" ? 64 : size);
  if (sign.toLowerCase() === "u") return [nonZero ? 1n : 0n, 2n ** bits - 1n];
  return [-(2n ** (bits - 1n)), 2n ** (bits - 1n) - 1n];
}

/** Whether a value of a type of a library is a text in JSON. */
export function isText(type) {
  return TEXTS[type?.library] !== undefined;
}

/** Returns the names of the variants of an enum if none of them has fields, or null for other types. */
export function plainVariants(type, types) {
  const variants = types[type?.named]?.shape?.enum;
  return variants?.every(({ shape }) => shape === "unit") ? variants.map(({ name }) => name) : null;
}

/** Whether a value of a type can be the key of a JSON object. */
export function isKey(type, types) {
  return ["string", "char", "bool"].includes(type) || (type?.number !== undefined && range(type.number) !== null) ||
    isText(type) || plainVariants(type, types) !== null;
}

/** Makes an example value of a type, which the user can edit. */
export function example(type, types, depth = 0) {
  if (typeof type === "string") {
    return { unit: null, bool: false, char: "a", string: "", duration: { secs: 1, nanos: 0 } }[type] ?? null;
  }
  const [kind, of] = Object.entries(type)[0];
  switch (kind) {
    case "number":
      return of.startsWith("NonZero") ? 1 : 0;
    case "library":
      return of === "SystemTime" ? { secs_since_epoch: 0, nanos_since_epoch: 0 } : TEXTS[of] ?? null;
    case "list":
      return [];
    case "map":
      return {};
    case "array":
      return Array.from({ length: Math.min(of[1], 64) }, () => example(of[0], types, depth));
    case "tuple":
      return of.map((part) => example(part, types, depth));
    case "result":
      return { Ok: example(of[0], types, depth) };
    case "named":
      return depth > DEEPEST || !types[of] ? null : shaped(types[of].shape, types, depth + 1);
    default:
      return null;
  }
}

function shaped(shape, types, depth) {
  if (shape === "unit" || shape === "encoded") return null;
  if (shape.struct) return Object.fromEntries(shape.struct.map(({ name, type }) => [name, example(type, types, depth)]));
  if (shape.tuple) {
    const parts = shape.tuple.map((type) => example(type, types, depth));
    return parts.length === 1 ? parts[0] : parts;
  }
  // A variant without fields ends the recursion.
  const first = shape.enum.find(({ shape }) => shape === "unit") ?? shape.enum[0];
  if (!first) return null;
  return first.shape === "unit" ? first.name : { [first.name]: shaped(first.shape, types, depth) };
}
