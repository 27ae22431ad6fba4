// Shows events, the newest first. An entry for a reload has a bar of its stages. Also shows the problem of a plugin.

import { el, foreign, list, setText, show } from "./dom.js";
import { STAGES } from "./model.js";
import { clock, count, millis } from "./text.js";
import { words } from "./words.js";

// The maximum number of entries that are shown with "every detail".
const ALL = 200;

let ids = 0;

export class Timeline {
  #again = null;

  /** Shows at most `most` entries, or more with "every detail". With `named`, entries show the plugin's name. */
  constructor(title, { most, named }) {
    this.most = most;
    this.named = named;
    this.entries = el("ol", { class: "timeline" });
    this.empty = el("p", { class: "quiet" }, "Nothing has happened yet. Edit a plugin's source and save it.");
    this.legend = el("p", { class: "legend", "aria-hidden": "true" },
      ...STAGES.map((stage) => el("span", {}, el("i", { class: `stage s-${stage}` }), stage)));
    ids += 1;
    const id = `details-${ids}`;
    this.details = el("input", { type: "checkbox", id });
    this.details.addEventListener("change", () => this.#again?.());
    const tools = el("div", { class: "tools" }, el("label", { for: id, class: "check" }, this.details, "every detail"));
    this.node = el("section", { class: "card" },
      el("div", { class: "card-head" }, el("h3", {}, title), tools), this.legend, this.entries, this.empty);
  }

  /** Shows the events of the plugin `id`, or of all plugins if `id` is null. */
  draw(model, id) {
    this.#again = () => this.draw(model, id);
    const isMine = (plugin) => !id || !plugin || plugin === id;
    const all = this.details.checked ? [...model.history, ...model.details].sort((a, b) => b.number - a.number) : model.history;
    const mine = all.filter(({ event }) => isMine(event.plugin)).slice(0, this.details.checked ? ALL : this.most);
    const builds = [...model.builds.entries()].filter(([plugin]) => isMine(plugin));
    const running = builds.map(([plugin, { event, progress }]) => ({ number: `build-${plugin}`, event, words: words(progress ?? event), runs: true }));
    const longest = Math.max(1, ...mine.map(({ event }) => event.total_ms ?? 0));
    show(this.empty, mine.length + running.length === 0);
    show(this.legend, mine.some(({ event }) => event.event === "reloaded"));
    list(this.entries, [...running, ...mine], {
      key: (entry) => entry.number,
      make: (entry) => this.#entry(entry),
      update: (node, entry) => {
        const link = node.querySelector(".entry-name");
        if (link) setText(link.firstElementChild, nameOf(entry.event.plugin, model));
        const bar = node.querySelector(".bar");
        // All bars have the same scale, so that they can be compared. A minimum width keeps short bars visible.
        if (bar && !entry.runs) bar.style.width = `${Math.max(2, (100 * entry.event.total_ms) / longest)}%`;
      },
    });
  }

  #entry({ event, words: { what, more, matter }, times, runs }) {
    const head = el("div", { class: "entry-head" }, el("time", { datetime: event.at }, clock(event.at)));
    const entry = el("li", { class: "entry", "data-kind": runs ? "builds" : matter }, head);
    if (this.named && event.plugin) head.append(el("a", { href: `#/${event.plugin}`, class: "entry-name" }, foreign("")));
    head.append(foreign(what, { class: "entry-what" }), foreign(more.split("\n")[0], { class: "entry-more", title: more }));
    if (times > 1) head.append(el("span", { class: "entry-total" }, `× ${count(times)}`));
    if (runs) entry.append(el("div", { class: "track" }, el("div", { class: "bar moving" })));
    if (event.event === "reloaded") {
      const total = millis(event.total_ms);
      head.append(el("span", { class: "entry-total" }, total));
      entry.append(bar(event.stages, total));
    }
    return entry;
  }
}

/** The name of a plugin or, if it is not listed yet, its id. */
function nameOf(plugin, model) {
  return model.plugins.get(plugin)?.info.name ?? plugin;
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

/** Shows the problem that keeps a plugin's newest source or configuration from serving. */
export class Problem {
  #shown = null;

  constructor() {
    this.title = el("h3", {});
    this.note = el("p", {});
    this.text = el("pre", { class: "terminal", tabindex: "0", "aria-label": "Compiler output" });
    this.node = el("section", { class: "problem alive", hidden: true }, this.title, this.note, this.text);
  }

  draw(event, info, paint) {
    show(this.node, event !== null);
    if (event === null) return;
    // The note states which generation serves. The title states the problem of the newest version.
    setText(this.note, info.generation === null ? "No generation serves." : `g${info.generation} keeps serving.`);
    if (event === this.#shown) return;
    this.#shown = event;
    const build = event.event === "build_failed";
    const refused = event.event === "configure_failed" ? "Its configuration was rejected" : `It was rejected at ${event.stage}`;
    setText(this.title, build ? "It does not compile" : refused);
    const output = build ? event.diagnostics.filter(({ level }) => level !== "warning").map(({ rendered }) => rendered).join("\n") : "";
    this.text.replaceChildren(...paint((output || event.error).trimEnd()));
  }
}
