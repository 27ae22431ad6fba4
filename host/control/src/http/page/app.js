// The page: connects to the host, follows its events, and shows the list of plugins and the selected one.

import { hasToken, keepToken, listed, takeTokenFromAddress } from "./api.js";
import { el, enable, keepFocus, list, setText, show } from "./dom.js";
import { Finder } from "./finder.js";
import { durations } from "./metrics.js";
import { Model } from "./model.js";
import { PluginView, drawStatus } from "./plugin.js";
import { Spark } from "./spark.js";
import { Stream } from "./stream.js";
import { Timeline } from "./timeline.js";
import { rate } from "./text.js";
import { KINDS } from "./words.js";

const at = (id) => document.getElementById(id);
const model = new Model();
const sparks = new WeakMap();
let view = null;
let isUp = false;
let drawing = false;
let polling = false;

const stream = new Stream(`/events?kind=${KINDS.join(",")}`, "0", {
  up() {
    isUp = true;
    keepFocus(() => {
      show(at("ask"), false);
      show(at("main"), true);
      show(at("banner"), false);
    }, () => at("stage"));
    link("live");
    model.gap();
    view?.open();
    poll();
    draw();
  },
  event(event, id) {
    const changed = model.happened(event, id);
    if (event.event === "host_stopped") setText(at("banner-text"), "The host has stopped.");
    if (changed) refresh();
    draw();
  },
  lost(milliseconds) {
    const stopped = model.history[0]?.event.event === "host_stopped";
    isUp = false;
    link("lost");
    setText(at("banner-text"), stopped ? "The host has stopped. Waiting for it to start again." : "The connection is lost. Reconnecting.");
    at("banner").dataset.wait = milliseconds;
    show(at("banner"), true);
    draw();
  },
  refused(error) {
    isUp = false;
    link("lost");
    if (error.status === 401) return askForToken();
    setText(at("banner-text"), error.message);
    show(at("banner"), true);
    draw();
  },
});

function link(state) {
  at("link").dataset.state = state;
  setText(at("link"), { live: "live", lost: "not connected", connecting: "connecting" }[state]);
}

function askForToken() {
  const given = hasToken();
  show(at("main"), false);
  show(at("banner"), false);
  show(at("ask"), true);
  setText(at("ask-error"), given ? "The host does not accept this token." : "");
  at("token").value = "";
  at("token").focus();
}

at("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const token = at("token").value.trim().replace(/^.*#token=/, "");
  if (!/^[\x21-\x7e]+$/.test(token)) return setText(at("ask-error"), "This is not a token: a token has no spaces and only ASCII characters.");
  keepToken(token);
  stream.open();
});
at("again").addEventListener("click", () => {
  stream.open();
  stream.hurry();
});

/** Reads the state of all plugins once, unless a read is in progress. */
async function poll() {
  if (polling || !isUp || document.hidden) return;
  polling = true;
  const asked = model.number;
  try {
    const [{ plugins, configuration }, times] = await Promise.all([listed(), durations()]);
    model.listed(plugins, times, asked);
    sayUnmet(configuration);
    draw();
  } catch {
    // The stream detects and reports problems of the connection.
  }
  polling = false;
}

/** Shows the settings that the host has not applied. */
function sayUnmet({ refused, restart_needed: waiting }) {
  const lines = [];
  if (refused !== null) lines.push(`configuration rejected, keeping the previous one: ${refused}`);
  if (waiting.length > 0) lines.push(`configuration needs a restart: ${waiting.join(", ")}`);
  setText(at("unmet"), lines.join("\n"));
  show(at("unmet"), lines.length > 0);
}

let refreshing = null;
/** Reads the state again shortly after a change, so that several changes cause one request. */
function refresh() {
  refreshing ??= setTimeout(() => {
    refreshing = null;
    poll();
  }, 60);
}

function draw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    drawNow();
  });
}

function drawNow() {
  keepFocus(() => {
    drawList();
    (view ?? overview).draw(model);
  }, (gone) => (view?.node.contains(gone) ? view.heir(gone) : at("stage")));
  drawSummary();
  // Buttons that send commands are disabled until the host is connected.
  for (const button of document.querySelectorAll(".orders button")) enable(button, isUp && !button.hasAttribute("aria-busy"));
  document.title = view ? `${model.plugins.get(view.id)?.info.name ?? view.id} · replug` : "replug";
}

const happened = new Timeline("Events", { most: 40, named: true });
const overview = { node: happened.node, draw: (model) => happened.draw(model, null) };

function drawSummary() {
  const all = [...model.plugins.values()];
  const serve = all.filter(({ info }) => info.generation !== null).length;
  const wrong = all.filter(({ info }) => info.status === "error" || model.problems.has(info.id)).length;
  if (!model.isListed) return;
  if (all.length === 0) return setText(at("summary"), "no plugins");
  setText(at("summary"), `${serve} of ${all.length} plugins serve${wrong ? `, ${wrong} ${wrong === 1 ? "has" : "have"} a problem` : ""}`);
}

const finder = new Finder(draw);
at("plugins").before(finder.field);
at("plugins").after(finder.none, finder.more);

function drawList() {
  const found = finder.select([...model.plugins.values()], ({ id, status }) => status === "error" || model.problems.has(id));
  list(at("plugins"), found, {
    key: ({ info }) => info.id,
    make: ({ info }) => {
      const spark = new Spark("calls per second");
      const node = el("a", { class: "plugin", href: `#/${info.id}` },
        el("bdi", { class: "plugin-name" }), el("span", { class: "status" }), el("span", { class: "plugin-where" }),
        el("span", { class: "plugin-rate" }), spark.node);
      sparks.set(node, spark);
      return node;
    },
    update: (node, { info, calls }) => {
      const [name, status, where, speed] = node.children;
      const problem = model.problems.get(info.id);
      setText(name, info.name);
      drawStatus(status, info, model.builds.has(info.id));
      const serves = info.generation === null ? "" : ` · g${info.generation}`;
      setText(where, problem ? `${problem.event === "build_failed" ? "does not compile" : "was rejected"}${serves}` : `${info.runs_in ?? info.mode}${serves}`);
      node.classList.toggle("has-problem", Boolean(problem));
      const words = rate(calls.at(-1) ?? null);
      setText(speed, words);
      sparks.get(node).draw(calls, words);
      if (view?.id === info.id) node.setAttribute("aria-current", "page");
      else node.removeAttribute("aria-current");
    },
  });
}

/** Shows the plugin that the address selects with `#/` and its id, or the overview for `#/`. Other addresses change nothing. */
function route() {
  const found = /^(?:#\/([a-z0-9.-]*))?$/.exec(location.hash);
  const id = found?.[1] || null;
  if ((view ?? overview).node.isConnected && (!found || (view?.id ?? null) === id)) return;
  view?.close();
  view = id ? new PluginView(id, notify) : null;
  document.body.classList.toggle("picked", id !== null);
  at("stage").replaceChildren((view ?? overview).node);
  if (view && isUp) view.open();
  drawNow();
  if (view && matchMedia("(max-width: 760px)").matches) scrollTo(0, 0);
}

/** Shows what the address selects, and moves the focus: to the selected plugin, or back to its entry in the list. */
function follow() {
  const left = view;
  keepFocus(route, () => [...at("plugins").children].find(({ dataset }) => dataset.key === left?.id) ?? at("stage"));
  if (view !== left) view?.heading.focus();
}

/** Shows the result of a command. A success disappears after 6 seconds or at the next result. An error stays until the user dismisses it or several newer errors follow. */
function notify(text, kind) {
  const away = el("button", { type: "button", "aria-label": "Dismiss" }, "×");
  const note = el("p", { class: "note", "data-kind": kind }, el("bdi", {}, text), away);
  away.addEventListener("click", () => putAway([note]));
  const older = [...at("notes").children];
  at("notes").append(note);
  putAway(older.filter((old, at) => old.dataset.kind === "good" || at < older.length - 3));
  if (kind === "good") setTimeout(() => putAway([note]), 6000);
}

function putAway(notes) {
  keepFocus(() => notes.forEach((note) => note.remove()), () => at("notes").querySelector("button") ?? at("stage"));
}

// A disabled button ignores clicks and submissions.
for (const kind of ["click", "submit"]) {
  addEventListener(kind, (event) => {
    const button = kind === "click" ? event.target.closest("button") : event.target.querySelector("[type=submit]");
    if (!button?.hasAttribute("aria-disabled")) return;
    event.preventDefault();
    event.stopImmediatePropagation();
  }, { capture: true });
}

// Following the link would change the address, and with it the shown plugin.
at("skip").addEventListener("click", (event) => {
  event.preventDefault();
  at("stage").focus();
});

// A hidden page closes its streams, because browsers and the host limit the number of connections and streams.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    isUp = false;
    stream.close();
    view?.close();
  } else if (at("ask").hidden) stream.open();
});
addEventListener("hashchange", () => {
  // If the new address has a token, the page connects with this token.
  if (takeTokenFromAddress()) stream.open();
  follow();
});

takeTokenFromAddress();
route();
stream.open();
setInterval(poll, 1000);
