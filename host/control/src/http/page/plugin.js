// Shows one plugin: its state, buttons for commands, and its details.

import { ansi } from "./ansi.js";
import { ask, send } from "./api.js";
import { busy, el, keepFocus, list, setText, show } from "./dom.js";
import { Logs } from "./logs.js";
import { Methods } from "./methods.js";
import { Spark } from "./spark.js";
import { isDetail } from "./problems.js";
import { Problem, Timeline } from "./timeline.js";
import { bytes, count, millis, rate, seconds } from "./text.js";

const FACTS = [
  ["generation", ({ info }) => (info.generation === null ? "–" : `g${info.generation}`)],
  ["mode", ({ info }) => info.runs_in ?? info.mode],
  ["up for", ({ info }) => (info.uptime === null ? "–" : seconds(info.uptime))],
  ["calls", ({ info }) => count(info.calls)],
  ["failed", ({ info }) => failed(info)],
  ["running", ({ info }) => count(info.in_flight)],
  ["restarts", ({ info }) => count(info.restarts)],
  ["memory", ({ info }) => (info.memory === null ? "–" : bytes(info.memory))],
  ["lane", ({ info }) => lane(info)],
];

/** Describes how calls reach the plugin's process. Empty if the plugin has no process, or was not called yet. */
function lane({ lane, lane_reason }) {
  return lane ? `${lane}${lane_reason === "no-memory" ? " (no shared memory)" : ""}` : "";
}

/** Describes how many calls failed, by kind of failure. */
function failed({ errors, failed }) {
  const why = Object.entries(failed ?? {}).filter(([, number]) => number > 0);
  return why.length === 0 ? count(errors) : why.map(([kind, number]) => `${count(number)} ${kind}`).join(", ");
}

export class PluginView {
  /** The generation for which methods and versions were last requested. Undefined if they must be requested again. */
  #asked = undefined;

  constructor(id, notify) {
    this.id = id;
    this.notify = notify;
    this.name = el("bdi", {});
    this.status = el("span", { class: "status alive" });
    this.words = el("p", { class: "words" });
    this.detail = el("p", { class: "detail alive" });
    this.reload = this.#button("Reload", "reload", "primary");
    this.start = this.#button("Start", "start", "primary");
    this.stop = this.#button("Stop", "stop", "");
    this.actions = el("div", { class: "row actions orders alive" }, this.reload, this.start, this.stop);
    this.heading = el("h2", { tabindex: "-1" }, this.name, this.status);
    this.facts = FACTS.map(([label]) => {
      const value = el("dd", {});
      return { value, node: el("div", {}, el("dt", {}, label), value) };
    });
    this.calls = chart("calls per second");
    this.latency = chart("mean duration of a call");
    this.problem = new Problem();
    this.timeline = new Timeline("Reloads", { most: 8, named: false });
    this.methods = new Methods(id);
    this.versions = el("ol", { class: "versions orders" });
    this.logs = new Logs(id);
    this.node = el("article", {},
      el("a", { class: "back", href: "#/" }, "All plugins"),
      el("header", { class: "plugin-head" },
        el("div", {}, this.heading, this.words, this.detail), this.actions),
      el("dl", { class: "facts alive" }, ...this.facts.map(({ node }) => node)),
      this.problem.node,
      el("div", { class: "charts alive" }, this.calls.node, this.latency.node),
      el("div", { class: "columns" },
        el("div", { class: "alive" }, this.methods.node),
        el("div", {},
          this.timeline.node,
          el("section", { class: "card alive" }, el("h3", {}, "Versions"), this.versions))),
      this.logs.node);
  }

  open() {
    this.logs.open();
    this.#asked = undefined;
  }

  close() {
    this.logs.close();
  }

  /** Returns the element to which the focus moves from the removed element `gone`: for a button, the button that replaces it. */
  heir(gone) {
    const version = this.versions.contains(gone) && gone.closest("li");
    if (version) return version.querySelector(".serves");
    const next = this.actions.contains(gone) && [...this.actions.children].find((button) => button.checkVisibility());
    return next || this.heading;
  }

  draw(model) {
    const plugin = model.plugins.get(this.id);
    // For a removed plugin, only its logs and events are shown.
    this.node.classList.toggle("gone", !plugin);
    this.timeline.draw(model, this.id);
    if (!plugin) {
      this.#asked = undefined;
      if (this.name.textContent === "") setText(this.name, this.id);
      setText(this.words, model.isListed ? `There is no plugin ${this.id}: no folder in the plugins folder has a manifest with that id.` : "");
      return;
    }
    const { info } = plugin;
    const building = model.builds.has(this.id);
    setText(this.name, info.name);
    drawStatus(this.status, info, building);
    setText(this.words, [info.id, info.version, info.description].filter(Boolean).join("  ·  "));
    const problem = model.problems.get(this.id);
    // The detail is not repeated if the problem or the status already shows it.
    const isShown = building || info.detail === "building" || (problem !== null && isDetail(info, problem));
    setText(this.detail, isShown ? "" : info.detail);
    const runs = info.generation !== null;
    // Methods and versions change only with the generation.
    if (this.#asked !== info.generation) this.#learn(info.generation);
    show(this.reload, runs);
    // The host retries a plugin with an error until the plugin is stopped.
    show(this.stop, runs || info.status === "error");
    show(this.start, !runs);
    this.facts.forEach(({ value, node }, at) => {
      const text = FACTS[at][1](plugin);
      setText(value, text);
      show(node, text !== "");
    });
    drawChart(this.calls, plugin.calls, rate);
    show(this.latency.node, plugin.latency.some((value) => value !== null));
    drawChart(this.latency, plugin.latency, (value) => (value === null ? "–" : millis(value)));
    this.problem.draw(problem, info, ansi);
  }

  /** Requests the methods and versions of a generation. If there is no answer, the next call to `draw` requests them again. */
  async #learn(generation) {
    this.#asked = generation;
    const answered = await Promise.all([this.methods.load(generation !== null), this.#loadVersions()]);
    if (this.#asked === generation && answered.includes(false)) this.#asked = undefined;
  }

  async #loadVersions() {
    const found = await ask("generations", { id: this.id }).catch(() => null);
    if (!found) return false;
    const newest = [...found.generations].reverse();
    const draw = () => list(this.versions, newest, {
      key: ({ generation, digest }) => `${generation}-${digest}`,
      make: ({ generation, digest }) => {
        const serves = el("span", { class: "serves", tabindex: "-1" }, "serves");
        const back = el("button", { type: "button", "data-back": String(generation) }, "Roll back");
        back.setAttribute("aria-label", `Roll back to g${generation}`);
        back.addEventListener("click", () => this.#act(back, "rollback", { id: this.id, to: digest }));
        return el("li", {}, el("b", {}, `g${generation}`), el("code", { title: digest }, digest.slice(0, 12)), serves, back);
      },
      update: (node, { is_serving: serving }) => {
        show(node.querySelector(".serves"), serving);
        show(node.querySelector("button"), !serving);
      },
    });
    keepFocus(draw, (gone) => this.heir(gone));
    return true;
  }

  #button(label, what, kind) {
    const button = el("button", { type: "button", class: kind, "data-act": what, hidden: true }, label);
    button.addEventListener("click", () => this.#act(button, what, { id: this.id }));
    return button;
  }

  async #act(button, what, body) {
    const name = this.name.textContent;
    await busy(button, async () => {
      try {
        const { generation, status } = await send(what, body);
        this.notify(generation === null ? `${name}: ${status}` : `${name}: g${generation} serves`, "good");
      } catch (error) {
        this.notify(`${name}: ${error.message.split("\n")[0]}`, "bad");
      }
    });
  }
}

/** Shows the status of a plugin as a word and a colour. */
export function drawStatus(node, info, building) {
  node.dataset.status = building ? "building" : info.status;
  setText(node, building ? "building" : info.status.replace("_", " "));
}

function chart(label) {
  const spark = new Spark(label);
  const most = el("span", { class: "chart-most" });
  const value = el("span", { class: "chart-value" });
  const caption = el("figcaption", {}, el("span", {}, label), most, value);
  return { spark, most, value, node: el("figure", { class: "chart card" }, caption, spark.node) };
}

function drawChart({ spark, most, value }, values, words) {
  const known = values.filter((value) => value !== null);
  const text = words(values.at(-1) ?? null);
  setText(value, text);
  setText(most, known.length > 1 ? `at most ${words(Math.max(...known))}` : "");
  spark.draw(values, text);
}
