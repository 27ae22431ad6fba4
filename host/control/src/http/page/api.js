// Requests to the host: adds the token, unwraps the envelope, and reports the errors of the host.

import { parseExact } from "./text.js";

const KEPT = "replug-token";
const NO_ANSWER = "The host does not answer; it is unknown whether the request was executed.";
const PREFIX = "/api/v1/plugin/";

/** The error of a request. */
export class ApiError extends Error {
  constructor(status, body) {
    super(body.message ?? `the host answered with status ${status}`);
    this.status = status;
    this.code = body.code ?? status * 100;
    this.details = body.details ?? null;
  }
}

/** Whether the token is missing or wrong. */
export function wantsToken(error) {
  return error instanceof ApiError && error.status === 401;
}

export function keepToken(token) {
  sessionStorage.setItem(KEPT, token);
}

export function hasToken() {
  return sessionStorage.getItem(KEPT) !== null;
}

/** Moves the token from the address to the session's storage, so that a user who shares the address does not share the token. Returns whether the address had a token. */
export function takeTokenFromAddress() {
  const found = /^#token=([\w.~-]+)$/.exec(location.hash);
  if (!found) return false;
  keepToken(found[1]);
  history.replaceState(null, "", location.pathname + location.search);
  return true;
}

/** Waits for the host's answer. If there is no answer, throws an error with the text `words` instead of the browser's message, such as `Failed to fetch`. */
async function awaitAnswer(answer, words) {
  try {
    return await answer;
  } catch (error) {
    throw error instanceof TypeError ? new Error(words, { cause: error }) : error;
  }
}

/** Sends a request with the token. Returns the answer of a successful request, and throws an `ApiError` otherwise. */
export async function request(path, options = {}) {
  const headers = new Headers(options.headers);
  const token = sessionStorage.getItem(KEPT);
  if (token !== null) headers.set("authorization", `Bearer ${token}`);
  const asked = fetch(path, { ...options, headers, cache: "no-store", credentials: "omit", redirect: "error" });
  const answer = await awaitAnswer(asked, options.method === "POST" ? NO_ANSWER : "The host does not answer.");
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => ({}));
  throw new ApiError(answer.status, body);
}

/** Sends the read-only command `what`, and returns its data. */
export async function ask(what, query = {}) {
  const answer = await request(`${PREFIX}${what}?${new URLSearchParams(query)}`, { signal: AbortSignal.timeout(10_000) });
  return (await answer.json()).data;
}

/** Sends the command `what`, which changes something, and returns its data. */
export async function send(what, body) {
  return JSON.parse(await post(what, JSON.stringify(body))).data;
}

/** Calls a method, and returns the data of the answer. `args` is JSON text. */
export async function call(id, method, args) {
  const body = `{"id":${JSON.stringify(id)},"method":${JSON.stringify(method)},"args":${args}}`;
  return parseExact(await post("execute", body)).data;
}

async function post(what, body) {
  const answer = await request(PREFIX + what, { method: "POST", headers: { "content-type": "application/json" }, body });
  return awaitAnswer(answer.text(), NO_ANSWER);
}

/** All plugins, from all pages, and the settings that the host has not applied. */
export async function listed() {
  const all = [];
  for (let page = 1; ; page += 1) {
    const { registered, unregistered, total, configuration } = await ask("list", { page_no: page, page_size: 100 });
    all.push(...registered, ...unregistered);
    if (all.length >= total || registered.length + unregistered.length === 0) return { plugins: all, configuration };
  }
}
