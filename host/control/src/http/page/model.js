// The state of the page: the last list of plugins, and the events since the page was opened.

import { Problems, isBusy } from "./problems.js";
import { SPAN } from "./spark.js";
import { words } from "./words.js";

// The maximum number of entries in `history`, and in `details`.
const KEPT = 200;
// Events of these kinds may occur many times a second. Equal events are combined into one entry with a count.
const REPEATED = new Set(["plugin_panicked", "audit", "call_result"]);

const UNTIMED = { sum: 0, count: 0 };

/** The stages of a reload, in order. */
export const STAGES = ["detect", "build", "store", "preflight", "load", "migrate", "swap"];

export class Model {
  /** The plugins, by id, in the order of the list. */
  plugins = new Map();
  /** Whether the plugins have been listed at least once. */
  isListed = false;
  /** The events, the newest first: `{ event, words, times, number }`. */
  history = [];
  /** Further events, which are shown with "every detail". */
  details = [];
  /** The problems of plugins. */
  problems = new Problems();
  /** The running builds, by plugin: `{ event, number, progress }`. `progress` is missing until cargo reports progress. */
  builds = new Map();
  /** The number of events that were added. */
  number = 0;
  #run = null;

  /** Sets the list of plugins and the durations of their calls. `asked` is the value of `number` when they were requested. */
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
    // If the host rejects the result of a build for a reason that it has already reported, it emits no event. Such a build
    // is removed here.
    for (const { id, status, detail } of infos) {
      if (status === "error" && !isBusy(detail) && this.builds.get(id)?.number <= asked) this.builds.delete(id);
    }
  }

  /** Interrupts the charts, because the page was not connected for some time. */
  gap() {
    for (const plugin of this.plugins.values()) plugin.counted = null;
  }

  /** Adds an event. Returns whether the list of plugins must be requested again. */
  happened(event, id) {
    const run = id?.split("-")[0] ?? this.#run;
    if (run !== this.#run) {
      // The host was restarted, so the builds of its previous run have ended.
      this.#run = run;
      this.problems.clear();
      this.builds.clear();
    }
    const plugin = event.plugin;
    if (event.event === "build_progress") {
      // The progress is shown at the running build. An entry for each report would displace all others in the list.
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
    // One audit event may count several calls.
    entry.times = before + (entry.event.event === "audit" ? (entry.event.count ?? 1) : 1);
    list.unshift(entry);
    list.length = Math.min(list.length, KEPT);
  }
}

function isSame(old, { event, words }) {
  return old.event.event === event.event && old.event.plugin === event.plugin && old.words.what === words.what && old.words.more === words.more;
}

/**
 * Adds a second to the charts of the last minute: calls per second, and the mean duration of a call in milliseconds. Also
 * returns `counted`, the counts of this second, from which the next second is calculated. The host does not time every
 * call. For a second without a timed call, the previous mean is repeated.
 */
function charted(known, counted) {
  if (!known) return { calls: [null], latency: [mean(counted.timed)], counted };
  const { calls, latency, counted: last } = known;
  // A list that follows the previous one in less than a second adds nothing.
  if (last !== null && counted.at - last.at < 900) return { calls, latency, counted: last };
  const next = (rate, time) => ({ calls: [...calls, rate].slice(-SPAN), latency: [...latency, time].slice(-SPAN), counted });
  // The chart has a gap if the page was disconnected, or if the host was restarted, so that the number of calls is smaller.
  if (last === null || counted.calls < last.calls) return next(null, null);
  const timed = { sum: counted.timed.sum - last.timed.sum, count: counted.timed.count - last.timed.count };
  const held = latency.findLast((time) => time !== null) ?? null;
  return next(((counted.calls - last.calls) / (counted.at - last.at)) * 1000, mean(timed) ?? held);
}

function mean({ sum, count }) {
  return count > 0 ? sum / count : null;
}
