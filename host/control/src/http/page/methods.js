// Shows the methods of a plugin, each with a form and its last result.

import { ask, call } from "./api.js";
import { busy, el, foreign, prose, setText, show } from "./dom.js";
import { field } from "./form.js";
import { millis, pretty } from "./text.js";

export class Methods {
  #drawn = "";

  constructor(id) {
    this.id = id;
    this.body = el("div", { class: "methods" });
    this.quiet = el("p", { class: "quiet" });
    this.node = el("section", { class: "card" }, el("h3", {}, "Methods"), this.quiet, this.body);
  }

  /**
   * Requests the methods if a generation serves, and shows them. The forms keep their input unless the methods have changed.
   * Returns whether the host answered.
   */
  async load(serves) {
    let found = [];
    let answered = true;
    let why = serves ? "" : "No generation serves: start the plugin to call it.";
    try {
      if (serves) found = (await ask("methods", { id: this.id })).interfaces;
    } catch (error) {
      answered = false;
      why = error.message;
    }
    const written = JSON.stringify(found);
    setText(this.quiet, why);
    show(this.quiet, why !== "");
    // While no generation serves, the forms stay as they are.
    if (why !== "" || written === this.#drawn) return answered;
    this.#drawn = written;
    const names = found.flatMap(({ methods }) => methods.map(({ name }) => name));
    const isShared = (name) => names.filter((other) => other === name).length > 1;
    this.body.replaceChildren(...found.flatMap((of) => [
      el("h4", {}, foreign(of.name), el("span", { class: "quiet" }, prose(firstLine(of.docs)))),
      ...of.methods.map((method) => this.#method(method, of.types ?? {}, isShared(method.name) ? `${of.name}.${method.name}` : method.name)),
    ]));
    return true;
  }

  #method(method, types, name) {
    const fields = method.params.map((param) => field(param, types));
    const output = el("div", { class: "result", "aria-live": "polite", hidden: true });
    const button = el("button", { type: "submit", class: "primary" }, "Call");
    const form = el("form", { autocomplete: "off", "data-method": name },
      method.docs ? el("p", { class: "docs" }, prose(method.docs)) : null,
      ...fields.map(({ node }) => node),
      el("div", { class: "row orders" }, button), output);
    // The form itself shows errors, so the browser must not show them in its own popups.
    form.noValidate = true;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      let args;
      try {
        args = `{${fields.map((it, at) => `${JSON.stringify(method.params[at].name)}:${it.read()}`).join(",")}}`;
      } catch {
        return;
      }
      await busy(button, () => run(output, () => call(this.id, name, args)));
    });
    return el("details", { class: "method" }, el("summary", {}, signature(method)), form);
  }
}

function firstLine(docs) {
  return docs.split("\n")[0];
}

function signature(method) {
  const [, params, returned] = /^fn [^(]*\(&self(?:, )?(.*?)\)( -> .*)?$/s.exec(method.signature) ?? [null, "", ""];
  return el("code", { class: "signature" }, el("b", {}, method.name), `(${params ?? ""})`,
    el("span", { class: "returns" }, returned ?? ""));
}

async function run(output, calling) {
  const begun = performance.now();
  let kind = "good";
  let words = "";
  let text = "";
  try {
    const { generation, result } = await calling();
    words = `g${generation} answered in ${millis(performance.now() - begun)}`;
    text = pretty(result);
  } catch (error) {
    kind = "bad";
    words = error.message;
    text = error.details === null || error.details === undefined ? "" : pretty(error.details);
  }
  output.dataset.kind = kind;
  output.replaceChildren(el("p", {}, foreign(words)), ...(text ? [el("pre", { tabindex: "0" }, text)] : []));
  show(output, true);
}
