// Selects the plugins in the list: those that match the search, and a limited number of them at first.

import { el, setText, show } from "./dom.js";

// The number of entries that are shown at first and that the button adds. A browser draws more of them too slowly.
const PAGE = 100;
// With fewer plugins than this, there is no search field.
const MANY = 12;

/** The search field above the list, and the button below it that shows more entries. */
export class Finder {
  #shown = PAGE;

  /** `changed()` is called when the user has changed the selection. */
  constructor(changed) {
    this.field = el("input", {
      class: "find", type: "search", placeholder: "Find a plugin", "aria-label": "Find a plugin by name, id, status or problem", spellcheck: "false", autocomplete: "off",
      on: {
        input: () => {
          this.#shown = PAGE;
          changed();
        },
      },
    });
    this.none = el("p", { class: "found-none", role: "status" });
    this.more = el("button", {
      type: "button",
      on: {
        click: () => {
          this.#shown += PAGE;
          changed();
        },
      },
    });
  }

  /** Returns the selected plugins of `all`, and updates the field and the button. `hasProblem(info)` tells whether a plugin has a problem. */
  select(all, hasProblem) {
    const terms = this.field.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = all.filter(({ info }) => {
      const text = [info.id, info.name, info.status, info.runs_in ?? info.mode, hasProblem(info) ? "problem" : ""].join(" ").toLowerCase();
      return terms.every((term) => text.includes(term));
    });
    const hidden = Math.max(found.length - this.#shown, 0);
    show(this.field, all.length >= MANY || terms.length > 0);
    show(this.none, all.length > 0 && found.length === 0);
    setText(this.none, "No plugin matches.");
    show(this.more, hidden > 0);
    setText(this.more, `Show ${Math.min(hidden, PAGE)} more of ${hidden.toLocaleString("en")}`);
    return found.slice(0, this.#shown);
  }
}
