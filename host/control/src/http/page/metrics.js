// Reads the durations of calls from a histogram in the host's `/metrics`.

import { ApiError, request } from "./api.js";

const LINE = /^replug_call_duration_sampled_seconds_(sum|count)\{(.*)\} (\S+)$/;
const PLUGIN = /(?:^|,)plugin="([^"]*)"/;

let isThere = true;

/** Returns, for each plugin, `sum`, the total duration of its timed calls in milliseconds, and `count`, their number. Empty if there are no measurements. */
export async function durations() {
  if (!isThere) return new Map();
  try {
    const answer = await request("/metrics", { signal: AbortSignal.timeout(10_000) });
    return parse(await answer.text());
  } catch (error) {
    // If the host has no metrics, this function does not request them again.
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
    // A plugin may have several lines, one for each mode and outcome.
    timed[what] += Number(number) * (what === "sum" ? 1000 : 1);
    found.set(plugin, timed);
  }
  return found;
}
