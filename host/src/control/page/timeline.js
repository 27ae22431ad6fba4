// What happened, the newest first: reloads with a bar of their stages, and what went wrong.

import { el, foreign, list, say, show } from "./dom.js";
import { STAGES } from "./model.js";
import { clock, millis } from "./text.js";

const WORDS = {
  build_unchanged: () => ["unchanged", "the build gave what serves already"],
  build_failed: (event) => ["does not compile", event.error],
  reload_failed: (event) => [`refused at ${event.stage}`, event.error],
  discovery_failed: (event) => ["cannot be used", event.error],
  rolled_back: (event) => ["rolled back", `from g${event.from}: ${event.reason}`],
  configured: (event) => ["configured", event.how === "live" ? "while it runs" : "as a new generation"],
  plugin_crashed: (event) => ["crashed", crash(event)],
  plugin_restarted: () => ["restarted", "in a new process"],
  plugin_demoted: (event) => ["moved to a process of its own", event.reason],
  plugin_stuck: (event) => ["stuck", `${event.method} has not come back for ${millis(event.for_ms)}`],
  checkpoint_lost: (event) => ["lost its checkpoint", event.reason],
  host_crashed: (event) => ["the host crashed", event.reason],
  config_changed: (event) => ["configuration changed", [...event.applied, ...event.restart_needed].join(", ")],
  config_refused: (event) => ["configuration refused", event.error],
  plugin_quarantined: (event) => ["quarantined", event.reason],
  plugin_stopped: (event) => ["stopped", event.reason],
  host_started: (event) => ["host started", `${event.running} plugin${event.running === 1 ? " runs" : "s run"}`],
  host_stopped: () => ["host stopped", ""],
};
const BAD = new Set(["build_failed", "reload_failed", "discovery_failed", "plugin_crashed", "plugin_quarantined",
  "plugin_demoted", "plugin_stuck", "host_crashed", "config_refused"]);
const QUIET = new Set(["host_started", "host_stopped", "build_unchanged", "plugin_stopped", "configured", "config_changed"]);

function crash(event) {
  const end = event.signal ?? (event.exit === undefined ? "its process ended" : `exit status ${event.exit}`);
  return event.restart_in_ms === undefined ? end : `${end}; started again in ${millis(event.restart_in_ms)}`;
}

export class Timeline {
  /** `most` entries, with the plugins' names or not. */
  constructor(most, named) {
    this.most = most;
    this.named = named;
    this.entries = el("ol", { class: "timeline" });
    this.empty = el("p", { class: "quiet" }, "Nothing has happened yet. Edit a plugin's source and save it.");
    this.legend = el("p", { class: "legend", "aria-hidden": "true" },
      ...STAGES.map((stage) => el("span", {}, el("i", { class: `stage s-${stage}` }), stage)));
    this.node = el("div", {}, this.legend, this.entries, this.empty);
  }

  /** Shows those of one plugin, or of all. */
  draw(model, id) {
    const mine = model.history.filter(({ event }) => !id || event.plugin === id || !event.plugin).slice(0, this.most);
    const builds = [...model.builds.entries()].filter(([plugin]) => !id || plugin === id);
    const running = builds.map(([plugin, event]) => ({ id: `build-${plugin}`, event, cause: event.cause, runs: true }));
    const longest = Math.max(1, ...mine.map(({ event }) => event.total_ms ?? 0));
    show(this.empty, mine.length + running.length === 0);
    show(this.legend, mine.some(({ event }) => event.event === "reloaded"));
    list(this.entries, [...running, ...mine], {
      key: (entry) => entry.id,
      make: (entry) => this.#entry(entry, model),
      update: (node, entry) => {
        const bar = node.querySelector(".bar");
        // Bars have one scale, so that they can be compared; a short one is still seen.
        if (bar && !entry.runs) bar.style.width = `${Math.max(2, (100 * entry.event.total_ms) / longest)}%`;
      },
    });
  }

  #entry({ event, cause, runs }, model) {
    const name = this.named && event.plugin ? (model.plugins.get(event.plugin)?.info.name ?? event.plugin) : null;
    const time = el("time", { datetime: event.at }, clock(event.at));
    const head = el("div", { class: "entry-head" }, time);
    const entry = el("li", { class: "entry" }, head);
    if (name) head.append(el("a", { href: `#/${event.plugin}`, class: "entry-name" }, foreign(name)));
    if (runs) {
      entry.dataset.kind = "builds";
      head.append(el("span", { class: "entry-what" }, "building"), file(cause));
      entry.append(el("div", { class: "track" }, el("div", { class: "bar moving" })));
    } else if (event.event === "reloaded") {
      const total = millis(event.total_ms);
      head.append(el("span", { class: "entry-what" }, `g${event.generation} serves`), file(cause),
        el("span", { class: "entry-total" }, total));
      entry.append(bar(event.stages, total));
    } else {
      const [what, more] = WORDS[event.event]?.(event) ?? [event.event, ""];
      entry.dataset.kind = BAD.has(event.event) ? "bad" : QUIET.has(event.event) ? "quiet" : "note";
      head.append(el("span", { class: "entry-what" }, what), foreign(more.split("\n")[0], { class: "entry-more", title: more }));
    }
    return entry;
  }
}

function file(path) {
  return path ? foreign(path.split("/").slice(-2).join("/"), { class: "entry-more", title: path }) : "";
}

function bar(stages, total) {
  const sum = STAGES.reduce((sum, stage) => sum + (stages[stage] ?? 0), 0) || 1;
  const words = STAGES.map((stage) => `${stage} ${millis(stages[stage] ?? 0)}`).join(", ");
  const parts = STAGES.map((stage) => {
    const part = el("span", { class: `stage s-${stage}` });
    part.style.flexGrow = String((stages[stage] ?? 0) / sum);
    return part;
  });
  const drawn = el("div", { class: "bar", role: "img", "aria-label": `${total}: ${words}`, title: words }, ...parts);
  return el("div", { class: "track" }, drawn);
}

/** What keeps a plugin's newest source from serving. */
export class Problem {
  #shown = null;

  constructor() {
    this.title = el("h3", {});
    this.note = el("p", {});
    this.text = el("pre", { class: "terminal", tabindex: "0", "aria-label": "What the compiler says" });
    this.node = el("section", { class: "problem", hidden: true }, this.title, this.note, this.text);
  }

  draw(event, info, paint) {
    show(this.node, Boolean(event));
    if (event === this.#shown) return;
    this.#shown = event;
    if (!event) return;
    const build = event.event === "build_failed";
    say(this.title, build ? "It does not compile" : `It was refused at ${event.stage}`);
    const goesOn = info?.generation === null || info?.generation === undefined ? "Nothing serves." : `g${info.generation} goes on serving.`;
    say(this.note, goesOn);
    const said = build ? event.diagnostics.filter(({ level }) => level !== "warning").map(({ rendered }) => rendered).join("\n") : "";
    this.text.replaceChildren(...paint((said || event.error).trimEnd()));
  }
}
