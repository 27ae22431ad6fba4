// What is wrong with plugins: what keeps the newest that their authors have written from serving.

/** Whether a host says of a plugin what it does at the moment, and not what is wrong with it. */
export function isBusy(detail) {
  return /^(building$|in stage )/.test(detail);
}

/** Whether what the host says of a plugin is that problem. */
export function isSaid({ detail }, event) {
  // Before the reason stands to whom it happened, and when; before the reason in an event, where.
  const reason = detail.replace(/^\S+: \w+ failed: /, "");
  return reason !== "" && event.error.endsWith(reason);
}

export class Problems {
  /**
   * By plugin, by what is wrong with it: the `source`, the `configuration` or, as with a restart, a `start` from what is built
   * already. What puts one of them right says nothing of the others.
   */
  #all = new Map();

  /** The newest problem of a plugin. */
  get(plugin) {
    return [...(this.#all.get(plugin)?.values() ?? [])].at(-1)?.event ?? null;
  }

  has(plugin) {
    return this.get(plugin) !== null;
  }

  clear() {
    this.#all.clear();
  }

  /** Takes over what has happened; `building` is whether that plugin was being built. */
  happened(event, number, building) {
    const known = this.#all.get(event.plugin) ?? new Map();
    const put = (what) => {
      known.delete(what);
      known.set(what, { event, number, doubted: what === "start" });
      this.#all.set(event.plugin, known);
    };
    switch (event.event) {
      case "build_failed":
        return put("source");
      case "reload_failed":
        return put(building ? "source" : "start");
      case "configure_failed":
        // One that was given by order has left nothing behind.
        if (event.file) put("configuration");
        return;
      case "configured":
        known.delete("configuration");
        // It may have been the configuration that kept the source from serving; only the host knows.
        if (known.get("source")?.event.event === "reload_failed") known.get("source").doubted = true;
        return;
      case "build_unchanged":
        known.delete("source");
        known.delete("start");
        return;
      case "reloaded":
        known.delete("configuration");
        known.delete("start");
        // An earlier version that serves again does not make the newest any better.
        if (event.stages.build > 0) known.delete("source");
        return;
      case "plugin_stopped":
        known.clear();
    }
  }

  /** Takes over how the host says that plugins are, by id; what has happened since it was asked, it cannot know. */
  listed(infos, asked) {
    for (const [plugin, known] of this.#all) {
      const info = infos.get(plugin);
      // What is not to run is not kept from it.
      const idle = !info || (info.generation === null && info.status !== "error");
      for (const [what, { event, number, doubted }] of known) {
        const over = idle || (doubted && !isBusy(info.detail) && !isSaid(info, event));
        if (number <= asked && over) known.delete(what);
      }
    }
  }
}
