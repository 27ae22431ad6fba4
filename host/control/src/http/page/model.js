// What the page knows: the plugins as they were last listed, and what has happened since.

import { Problems, isBusy } from "./problems.js";
import { SPAN } from "./spark.js";
import { words } from "./words.js";

// Of what is always shown, and of the rest.
const KEPT = 200;
// What may happen many times in a second is one entry, with how often.
const REPEATED = new Set(["plugin_panicked", "audit", "call_result"]);

const UNTIMED = { sum: 0, count: 0 };

/** The stages of a reload, in their order. */
export const STAGES = ["detect", "build", "store", "preflight", "load", "migrate", "swap"];

export class Model {
  /** By id, in the order of the list. */
  plugins = new Map();
  /** Whether they were listed yet. */
  isListed = false;
  /** What happened, the newest first: `{ event, words, times, number }`. */
  history = [];
  /** What happened beside that, which is shown to those who want to know all. */
  details = [];
  /** What is wrong with plugins. */
  problems = new Problems();
  /** By plugin: the builds that run, each `{ event, number, progress }`; the last is missing until cargo reports some. */
  builds = new Map();
  /** How many events were taken over. */
  number = 0;
  #run = null;

  /** Takes over a list of plugins and how long their calls took, asked for when `asked` events had been taken over. */
  listed(infos, durations, asked) {
    const now = performance.now();
    const before = this.plugins;
    this.plugins = new Map();
    this.isListed = true;
    for (const info of infos) {
      const known = before.get(info.id);
      const counted = { calls: info.calls, timed: durations.get(info.id) ?? known?.counted?.timed ?? UNTIMED, at: now };
      this.plugins.set(info.id, { info, ...charted(known, counted) });
    }
    this.problems.listed(new Map(infos.map((info) => [info.id, info])), asked);
    // Of a build whose result the host will not let in, for what is known of it since before, no event tells.
    for (const { id, status, detail } of infos) {
      if (status === "error" && !isBusy(detail) && this.builds.get(id)?.number <= asked) this.builds.delete(id);
    }
  }

  /** There was a while of which nothing is known. */
  gap() {
    for (const plugin of this.plugins.values()) plugin.counted = null;
  }

  /** Takes over something that happened; says whether the list of plugins is another now. */
  happened(event, id) {
    const run = id?.split("-")[0] ?? this.#run;
    if (run !== this.#run) {
      // Another run of the host: what was under way is not any more.
      this.#run = run;
      this.problems.clear();
      this.builds.clear();
    }
    const plugin = event.plugin;
    if (event.event === "build_progress") {
      // Shown at the build that runs: one a second would push all else out of the list.
      const build = this.builds.get(plugin);
      if (build !== undefined) build.progress = event;
      return false;
    }
    const cause = this.builds.get(plugin)?.event.cause ?? null;
    const said = words(event, cause);
    this.#write({ event, words: said });
    this.problems.happened(event, this.number, this.builds.has(plugin));
    switch (event.event) {
      case "build_started":
        this.builds.set(plugin, { event, number: this.number });
        return false;
      case "build_superseded":
        this.builds.delete(plugin);
        return false;
      case "build_failed":
      case "build_unchanged":
      case "reloaded":
      case "reload_failed":
      case "plugin_quarantined":
      case "plugin_stopped":
        this.builds.delete(plugin);
        return true;
      case "host_stopped":
        this.builds.clear();
        return true;
      case "plugin_discovered":
        return true;
      default:
        return said.matter !== "detail" && !REPEATED.has(event.event);
    }
  }

  #write(entry) {
    this.number += 1;
    entry.number = this.number;
    const list = entry.words.matter === "detail" ? this.details : this.history;
    const same = REPEATED.has(entry.event.event) ? list.findIndex((old, at) => at < 16 && isSame(old, entry)) : -1;
    const before = same < 0 ? 0 : list.splice(same, 1)[0].times;
    // An audit event may stand for many calls.
    entry.times = before + (entry.event.event === "audit" ? (entry.event.count ?? 1) : 1);
    list.unshift(entry);
    list.length = Math.min(list.length, KEPT);
  }
}

function isSame(old, { event, words }) {
  return old.event.event === event.event && old.event.plugin === event.plugin && old.words.what === words.what && old.words.more === words.more;
}

/**
 * The last minute, second by second, with what was counted last, and when: calls per second, and what a call took on average.
 * Not every call is timed: where none was, the last average holds.
 */
function charted(known, counted) {
  if (!known) return { calls: [null], latency: [mean(counted.timed)], counted };
  const { calls, latency, counted: last } = known;
  // A list that was asked for in between is no second of its own.
  if (last !== null && counted.at - last.at < 900) return { calls, latency, counted: last };
  const next = (rate, time) => ({ calls: [...calls, rate].slice(-SPAN), latency: [...latency, time].slice(-SPAN), counted });
  // Of a while of which nothing is known, or with fewer calls than before, because the host is another.
  if (last === null || counted.calls < last.calls) return next(null, null);
  const timed = { sum: counted.timed.sum - last.timed.sum, count: counted.timed.count - last.timed.count };
  const held = latency.findLast((time) => time !== null) ?? null;
  return next(((counted.calls - last.calls) / (counted.at - last.at)) * 1000, mean(timed) ?? held);
}

function mean({ sum, count }) {
  return count > 0 ? sum / count : null;
}
