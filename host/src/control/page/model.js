// What the page knows: the plugins as they were last listed, and what has happened since.

import { SPAN } from "./spark.js";

const KEPT = 200;

/** The events that the page wants; logs come in a stream of their own. */
export const KINDS = [
  "host_started", "host_stopped", "plugin_discovered", "discovery_failed", "build_started", "build_failed",
  "build_superseded", "build_unchanged", "reloaded", "reload_failed", "rolled_back", "configured", "plugin_crashed",
  "plugin_restarted", "plugin_demoted", "plugin_quarantined", "plugin_stuck", "plugin_stopped", "checkpoint_lost",
  "host_crashed", "config_changed", "config_refused",
];

/** The stages of a reload, in their order. */
export const STAGES = ["detect", "build", "store", "preflight", "load", "migrate", "swap"];

export class Model {
  /** By id, in the order of the list. */
  plugins = new Map();
  /** What happened to plugins, the newest first: `{ id, event, cause }`. */
  history = [];
  /** By plugin: what keeps its newest source from serving. */
  problems = new Map();
  /** By plugin: the events of builds that run. */
  builds = new Map();
  #run = null;

  /** Takes over a list of plugins, and how long their calls took. */
  listed(infos, durations) {
    const now = performance.now();
    const before = this.plugins;
    this.plugins = new Map();
    for (const info of infos) {
      const known = before.get(info.id);
      this.plugins.set(info.id, { info, ...rates(known, info, now), ...latency(known, durations.get(info.id)) });
    }
  }

  /** There was a while of which nothing is known. */
  gap() {
    for (const plugin of this.plugins.values()) plugin.counted = null;
  }

  /** Takes over something that happened; says whether the methods or versions of a plugin may be others now. */
  happened(event, id) {
    const run = id?.split("-")[0] ?? this.#run;
    if (run !== this.#run) {
      // Another run of the host: what was under way is not any more.
      this.#run = run;
      this.problems.clear();
      this.builds.clear();
    }
    const plugin = event.plugin;
    const cause = this.builds.get(plugin)?.cause ?? null;
    switch (event.event) {
      case "build_started":
        this.builds.set(plugin, event);
        return false;
      case "build_superseded":
        this.builds.delete(plugin);
        return false;
      case "build_unchanged":
        this.builds.delete(plugin);
        this.problems.delete(plugin);
        break;
      case "build_failed":
      case "reload_failed":
        this.builds.delete(plugin);
        this.problems.set(plugin, event);
        break;
      case "reloaded":
      case "plugin_stopped":
        this.builds.delete(plugin);
        this.problems.delete(plugin);
        break;
      case "plugin_discovered":
        return true;
      case "host_stopped":
        this.builds.clear();
        break;
    }
    this.history.unshift({ id: id ?? `${event.at}-${event.event}`, event, cause });
    this.history.length = Math.min(this.history.length, KEPT);
    return true;
  }
}

/** Calls per second of the last minute, with what was counted last, and when. */
function rates(known, info, now) {
  const counted = { calls: info.calls, at: now };
  if (!known) return { calls: [], counted };
  const { calls, counted: last } = known;
  if (last === null) return { calls: [...calls, null].slice(-SPAN), counted };
  // A list that was asked for in between is no second of its own.
  if (now - last.at < 900) return { calls, counted: last };
  const made = info.calls - last.calls;
  // Fewer than before: the host is another.
  const rate = made < 0 ? null : (made / (now - last.at)) * 1000;
  return { calls: [...calls, rate].slice(-SPAN), counted };
}

/** What a call took on average, second by second. Not every call is timed: where none was, the last average holds. */
function latency(known, timed) {
  const latency = known?.latency ?? [];
  if (!timed) return { latency, timed: null };
  const count = timed.count - (known?.timed?.count ?? 0);
  const sum = timed.sum - (known?.timed?.sum ?? 0);
  const last = latency.at(-1) ?? null;
  return { latency: [...latency, count > 0 ? sum / count : last].slice(-SPAN), timed };
}
