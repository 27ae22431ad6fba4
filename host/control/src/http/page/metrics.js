// The durations of calls, from one histogram of the host's `/metrics`.

import { ApiError, request } from "./api.js";

const LINE = /^replug_call_duration_sampled_seconds_(sum|count)\{(.*)\} (\S+)$/;
const PLUGIN = /(?:^|,)plugin="([^"]*)"/;

let isThere = true;

/** By plugin, the total duration of its timed calls in milliseconds, and their number; empty without measurements. */
export async function durations() {
  if (!isThere) return new Map();
  try {
    const answer = await request("/metrics", { signal: AbortSignal.timeout(10_000) });
    return parse(await answer.text());
  } catch (error) {
    // A host without metrics is not asked again.
    if (error instanceof ApiError && error.status === 404) isThere = false;
    return new Map();
  }
}

function parse(text) {
  const found = new Map();
  for (const line of text.split("\n")) {
    const [, what, labels, number] = LINE.exec(line) ?? [];
    const plugin = PLUGIN.exec(labels ?? "")?.[1];
    if (plugin === undefined) continue;
    const timed = found.get(plugin) ?? { sum: 0, count: 0 };
    // A plugin may have several lines: by mode and by outcome.
    timed[what] += Number(number) * (what === "sum" ? 1000 : 1);
    found.set(plugin, timed);
  }
  return found;
}
