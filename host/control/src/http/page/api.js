// Asking the host: the token, the envelope, and errors as they are.

import { parseExact } from "./text.js";

const KEPT = "replug-token";
const UNHEARD = "The host does not answer; nothing is known to have been done.";
const PREFIX = "/api/v1/plugin/";

/** Why the host did not do it. */
export class ApiError extends Error {
  constructor(status, body) {
    super(body.message ?? `the host answered with status ${status}`);
    this.status = status;
    this.code = body.code ?? status * 100;
    this.details = body.details ?? null;
  }
}

/** Whether what failed is that there is no token, or a wrong one. */
export function wantsToken(error) {
  return error instanceof ApiError && error.status === 401;
}

export function keepToken(token) {
  sessionStorage.setItem(KEPT, token);
}

export function hasToken() {
  return sessionStorage.getItem(KEPT) !== null;
}

/** Takes the token out of the address that the host printed, so that it is not passed on with it; says whether it was there. */
export function takeTokenFromAddress() {
  const found = /^#token=([\w.~-]+)$/.exec(location.hash);
  if (!found) return false;
  keepToken(found[1]);
  history.replaceState(null, "", location.pathname + location.search);
  return true;
}

/** Waits for the host. What a browser says of one that is gone, as `Failed to fetch`, tells nobody anything. */
async function heard(answer, words) {
  try {
    return await answer;
  } catch (error) {
    throw error instanceof TypeError ? new Error(words, { cause: error }) : error;
  }
}

/** A request with the token. What comes back succeeded; anything else is thrown. */
export async function request(path, options = {}) {
  const headers = new Headers(options.headers);
  const token = sessionStorage.getItem(KEPT);
  if (token !== null) headers.set("authorization", `Bearer ${token}`);
  const asked = fetch(path, { ...options, headers, cache: "no-store", credentials: "omit", redirect: "error" });
  const answer = await heard(asked, options.method === "POST" ? UNHEARD : "The host does not answer.");
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => ({}));
  throw new ApiError(answer.status, body);
}

/** What can be known of plugins. */
export async function ask(what, query = {}) {
  const answer = await request(`${PREFIX}${what}?${new URLSearchParams(query)}`, { signal: AbortSignal.timeout(10_000) });
  return (await answer.json()).data;
}

/** Has something done. */
export async function tell(what, body) {
  return JSON.parse(await post(what, JSON.stringify(body))).data;
}

/** Calls a method; `args` is JSON as text. */
export async function call(id, method, args) {
  const body = `{"id":${JSON.stringify(id)},"method":${JSON.stringify(method)},"args":${args}}`;
  return parseExact(await post("execute", body)).data;
}

async function post(what, body) {
  const answer = await request(PREFIX + what, { method: "POST", headers: { "content-type": "application/json" }, body });
  return heard(answer.text(), UNHEARD);
}

/** All plugins, from all pages, and what of its configuration the host has not applied. */
export async function listed() {
  const all = [];
  for (let page = 1; ; page += 1) {
    const { registered, unregistered, total, configuration } = await ask("list", { page_no: page, page_size: 100 });
    all.push(...registered, ...unregistered);
    if (all.length >= total || registered.length + unregistered.length === 0) return { plugins: all, configuration };
  }
}
