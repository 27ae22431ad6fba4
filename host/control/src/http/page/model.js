// The state of the page: the plugins as they were last listed, and the events since.

import { Problems, isBusy } from "./problems.js";
import { SPAN } from "./spark.js";
import { words } from "./words.js";

// The number of entries that are always shown, and of the others.
const KEPT = 200;
// Kinds that may come many times a second are one entry with a count.
const REPEATED = new Set(["plugin_panicked", "audit", "call_result"]);

const UNTIMED = { sum: 0, count: 0 };

/** The stages of a reload, in order. */
export const STAGES = ["detect", "build", "store", "preflight", "load", "migrate", "swap"];

export class Model {
  /** By id, in the order of the list. */
  plugins = new Map();
  /** Whether the plugins were listed yet. */
  isListed = false;
  /** The events, the newest first: `{ event, words, times, number }`. */
  history = [];
  /** Further events, which are shown with "every detail". */
  details = [];
  /** The problems of plugins. */
  problems = new Problems();
  /** By plugin: the running builds, each `{ event, number, progress }`; `progress` is missing until cargo reports some. */
  builds = new Map();
  /** How many events were added. */
  number = 0;
  #run = null;

  /** Adds a list of plugins and the durations of their calls, requested when `asked` events had been added. */
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
    // If the host will not load the result of a build, for a reason that it knew before, no event reports it.
    for (const { id, status, detail } of infos) {
      if (status === "error" && !isBusy(detail) && this.builds.get(id)?.number <= asked) this.builds.delete(id);
    }
  }

  /** Events of an unknown period are missing. */
  gap() {
    for (const plugin of this.plugins.values()) plugin.counted = null;
  }

  /** Adds an event; returns whether the list of plugins has changed. */
  happened(event, id) {
    const run = id?.split("-")[0] ?? this.#run;
    if (run !== this.#run) {
      // Another run of the host: the builds of the last one have ended.
      this.#run = run;
      this.problems.clear();
      this.builds.clear();
    }
    const plugin = event.plugin;
    if (event.event === "build_progress") {
      // Shown at the running build: one entry a second would displace all others in the list.
      const build = this.builds.get(plugin);
      if (build !== undefined) build.progress = event;
      return false;
    }
    const cause = this.builds.get(plugin)?.event.cause ?? null;
    const described = words(event, cause);
    this.#write({ event, words: described });
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
        return described.matter !== "detail" && !REPEATED.has(event.event);
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
 * The last minute, by second: calls per second and the mean duration of a call, with the last counts and their time.
 * Not each call is timed: in a second without a timed call, the last mean stays.
 */
function charted(known, counted) {
  if (!known) return { calls: [null], latency: [mean(counted.timed)], counted };
  const { calls, latency, counted: last } = known;
  // A list that was requested in between adds no second.
  if (last !== null && counted.at - last.at < 900) return { calls, latency, counted: last };
  const next = (rate, time) => ({ calls: [...calls, rate].slice(-SPAN), latency: [...latency, time].slice(-SPAN), counted });
  // After an unknown period, or with fewer calls than before because the host was restarted.
  if (last === null || counted.calls < last.calls) return next(null, null);
  const timed = { sum: counted.timed.sum - last.timed.sum, count: counted.timed.count - last.timed.count };
  const held = latency.findLast((time) => time !== null) ?? null;
  return next(((counted.calls - last.calls) / (counted.at - last.at)) * 1000, mean(timed) ?? held);
}

function mean({ sum, count }) {
  return count > 0 ? sum / count : null;
}
