// Shows the log entries of a plugin as they are written.

import { wantsToken } from "./api.js";
import { el, foreign, setText, show } from "./dom.js";
import { Stream } from "./stream.js";
import { clock } from "./text.js";

const LEVELS = ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"];
const MOST = 500;
// The time in milliseconds after which a refused stream is opened again. A removed plugin, for example, may be added again.
const REFUSED_WAIT = 5_000;

export class Logs {
  #seen = new Set();
  #again = null;

  constructor(id) {
    const level = el("select", { id: "log-level" }, ...LEVELS.map((name) => el("option", { value: name }, name.toLowerCase())));
    level.value = "TRACE";
    this.follows = el("input", { type: "checkbox", id: "log-follow", checked: true });
    this.lines = el("ol", { class: "logs", tabindex: "0", "aria-label": "Log entries", "data-least": "TRACE" });
    level.addEventListener("change", () => {
      this.lines.dataset.least = level.value;
      this.#toEnd();
    });
    this.follows.addEventListener("change", () => this.#toEnd());
    // Scrolling back disables `follow`, and scrolling to the end enables it.
    this.lines.addEventListener("scroll", () => {
      const { scrollTop, scrollHeight, clientHeight } = this.lines;
      this.follows.checked = scrollHeight - scrollTop - clientHeight < 8;
    });
    const tools = el("div", { class: "tools" },
      el("label", { for: "log-level" }, "from"), level,
      el("label", { for: "log-follow", class: "check" }, this.follows, "follow"));
    this.quiet = el("p", { class: "quiet", role: "status", hidden: true });
    this.node = el("section", { class: "card" }, el("div", { class: "card-head" }, el("h3", {}, "Logs"), tools), this.quiet, this.lines);
    const path = `/api/v1/plugin/logs?${new URLSearchParams({ id, follow: "true", lines: "200" })}`;
    this.stream = new Stream(path, null, {
      up: () => this.#interrupted(""),
      event: (event, number) => this.#take(event, number),
      refused: (error) => {
        // If the token is missing or wrong, the whole page asks for it.
        if (wantsToken(error)) return;
        this.#interrupted(`New log entries are not shown: ${error.message}`);
        this.#again = setTimeout(() => this.stream.open(), REFUSED_WAIT);
      },
    });
  }

  open() {
    clearTimeout(this.#again);
    this.stream.open();
  }

  close() {
    clearTimeout(this.#again);
    this.stream.close();
  }

  #interrupted(why) {
    setText(this.quiet, why);
    show(this.quiet, why !== "");
  }

  #take(event, number) {
    // After a reconnection, the host sends the last entries again.
    if (number !== null && this.#seen.has(number)) return;
    this.#seen.add(number);
    const [level, message] = words(event);
    const entry = el("li", { "data-level": level }, el("time", { datetime: event.at }, clock(event.at)),
      el("span", { class: "level" }, level.toLowerCase()), foreign(message, { class: "message" }));
    const fields = Object.entries(event.fields ?? {}).map(([key, value]) => `${key}=${typeof value === "string" ? value : JSON.stringify(value)}`);
    if (fields.length > 0) entry.lastChild.append(el("span", { class: "fields" }, ` ${fields.join(" ")}`));
    this.lines.append(entry);
    while (this.lines.childElementCount > MOST) this.lines.firstElementChild.remove();
    if (this.#seen.size > 4 * MOST) this.#seen = new Set([...this.#seen].slice(-MOST));
    this.#toEnd();
  }

  #toEnd() {
    if (this.follows.checked) this.lines.scrollTop = this.lines.scrollHeight;
  }
}

function words(event) {
  switch (event.event) {
    case "log":
      return [LEVELS.includes(event.level) ? event.level : "INFO", event.message];
    case "plugin_panicked":
      return ["ERROR", `panicked at ${event.location}: ${event.message}`];
    case "plugin_crashed":
      return ["ERROR", `its process ended (${event.signal ?? `status ${event.exit}`})\n${event.stderr_tail}`.trimEnd()];
    case "events_lost":
      return ["WARN", `${event.count} entries were written too fast and are not shown`];
    default:
      return ["INFO", event.event === "host_stopped" ? "the host has stopped" : event.event];
  }
}
