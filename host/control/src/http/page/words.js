// Describes events. There is one line for each kind of event that a host emits.

import { clip, millis, seconds } from "./text.js";

/** For each kind of event: a title, a text and the severity. Events with the severity `detail` are shown on demand only. */
export const WORDS = {
  host_started: (event) => ["host started", `${event.running} plugin${event.running === 1 ? " runs" : "s run"}`, "quiet"],
  host_stopped: () => ["host stopped", "", "quiet"],
  host_crashed: (event) => ["the host crashed", event.reason, "bad"],
  plugin_discovered: (event) => ["found", event.path, "detail"],
  discovery_failed: (event) => ["cannot be used", event.error, "bad"],
  build_started: (event) => ["building", file(event.cause), "detail"],
  build_progress: (event) => ["building", event.total === undefined ? event.doing : `${event.done}/${event.total}: ${event.doing}`, "detail"],
  build_failed: (event) => ["does not compile", event.error, "bad"],
  build_superseded: () => ["build cancelled", "the source has changed again", "detail"],
  build_unchanged: (event) => (event.rolled_back
    ? ["still rolled back", "the build result is the version that was rolled back; edit or reload the source to load it again", "quiet"]
    : ["unchanged", "the build result is the version that serves already", "quiet"]),
  reloaded: (event, cause) => [`g${event.generation} serves`, file(cause), "note"],
  reload_failed: (event) => [`rejected at ${event.stage}`, event.error, "bad"],
  rolled_back: (event) => ["rolled back", `from g${event.from}: ${event.reason}`, "note"],
  limits_applied: (event) => ["limits", limits(event), "detail"],
  generation_retired: (event) => [`g${event.generation} retired`, RETIRED[event.outcome] ?? event.outcome, "detail"],
  call_result: (event) => [event.error === undefined ? "answered" : "failed", `${event.method}: ${value(event.error ?? event.result)}`, "detail"],
  configured: (event) => ["configured", event.how === "live" ? "while it runs" : "as a new generation", "quiet"],
  configure_failed: (event) => ["configuration rejected", event.error, "bad"],
  plugin_panicked: (event) => ["panicked", `at ${event.location}: ${event.message}`, "bad"],
  plugin_crashed: (event) => ["crashed", crash(event), "bad"],
  plugin_restarted: (event) => ["restarted", `in a new process${event.deaths > 1 ? `; it has ended ${event.deaths} times recently` : ""}`, "note"],
  plugin_stuck: (event) => ["stuck", `${event.method} has not returned for ${millis(event.for_ms)}`, "bad"],
  plugin_demoted: (event) => ["moved to a child process", event.reason, "bad"],
  plugin_quarantined: (event) => ["quarantined", event.reason, "bad"],
  plugin_stopped: (event) => ["stopped", event.reason, "quiet"],
  checkpoint_lost: (event) => ["lost its checkpoint", event.reason, "bad"],
  log: (event) => [`logged ${event.level.toLowerCase()}`, event.message, "detail"],
  config_changed: (event) => ["configuration changed", changed(event), "quiet"],
  config_refused: (event) => ["configuration rejected", event.error, "bad"],
  control_listening: (event) => ["listening", [event.socket, event.http].filter(Boolean).join(" and "), "detail"],
  audit: (event) => ["requested", `${event.command}, by ${event.who}: ${event.outcome}`, "detail"],
  events_lost: (event) => ["events lost", `${event.count} came faster than this page read them`, "bad"],
};

const RETIRED = {
  kept: "its code stays mapped",
  unloaded: "its code was unmapped",
  threads: "its code could not be unmapped, because a thread may still run it",
  pinned_tls: "its code could not be unmapped, because a thread of the program has its thread-locals",
  nodelete: "its code could not be unmapped, because of how it was linked",
  ended: "its process has ended",
  drop_panicked: "it panicked when it was dropped",
};

/** The kinds of events that the page's main stream contains. Logs have a separate stream. */
export const KINDS = Object.keys(WORDS).filter((kind) => kind !== "log");

/** Describes an event by a title `what`, a text `more`, and its severity `matter`: `bad`, `note`, `quiet` or `detail`. */
export function words(event, cause = null) {
  // A newer host may emit kinds that this page does not know.
  const [what, more, matter] = WORDS[event.event]?.(event, cause) ?? [event.event.replaceAll("_", " "), "", "detail"];
  return { what, more, matter };
}

function crash(event) {
  const end = event.signal ?? (event.exit === undefined ? "its process ended" : `exit status ${event.exit}`);
  const pause = event.restart_in_ms;
  if (pause === undefined) return end;
  return `${end}; started again in ${pause < 60_000 ? millis(pause) : seconds(pause / 1000)}`;
}

function changed({ applied, restart_needed: later }) {
  const parts = [applied.join(", "), later.length > 0 ? `${later.join(", ")} (after a restart of the host)` : ""];
  return parts.filter(Boolean).join("; ") || "it matches the running host again";
}

function limits({ bounds, lacking = [] }) {
  const all = bounds.map(({ of, value, by }) => `${of.replaceAll("_", " ")} ${value} (${by})`);
  return [...all, ...lacking.map((why) => `not as configured: ${why}`)].join(", ");
}

function value(result) {
  return clip(JSON.stringify(result) ?? "null", 200);
}

function file(path) {
  return path ? path.split("/").slice(-2).join("/") : "";
}
