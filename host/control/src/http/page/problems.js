// The problems of plugins: what keeps the newest version of a plugin's source or configuration from serving.

/** Whether the detail of a plugin describes what it does at the moment, and not a problem. */
export function isBusy(detail) {
  return /^(building$|in stage )/.test(detail);
}

/** Whether the detail of a plugin describes that problem. */
export function isDetail({ detail }, event) {
  // In the detail, the plugin and the stage precede the reason; in an event, the place does.
  const reason = detail.replace(/^\S+: \w+ failed: /, "");
  return reason !== "" && event.error.endsWith(reason);
}

export class Problems {
  /**
   * By plugin and kind: the `source`, the `configuration`, or, as with a restart, a `start` of an existing artifact.
   * Solving one of them does not solve the others.
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

  /** Adds an event; `building` is whether that plugin was being built. */
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
        // A configuration that was sent by a command has left no problem behind.
        if (event.file) put("configuration");
        return;
      case "configured":
        known.delete("configuration");
        // The configuration may have been what kept the source from serving; only the host knows.
        if (known.get("source")?.event.event === "reload_failed") known.get("source").doubted = true;
        return;
      case "build_unchanged":
        known.delete("source");
        known.delete("start");
        return;
      case "reloaded":
        known.delete("configuration");
        known.delete("start");
        // If an earlier version serves again, the problem of the newest one remains.
        if (event.stages.build > 0) known.delete("source");
        return;
      case "plugin_stopped":
        known.clear();
    }
  }

  /** Adds the states of plugins, by id. They do not include events since the request. */
  listed(infos, asked) {
    for (const [plugin, known] of this.#all) {
      const info = infos.get(plugin);
      // A stopped plugin has no problem that keeps it from serving.
      const idle = !info || (info.generation === null && info.status !== "error");
      for (const [what, { event, number, doubted }] of known) {
        const over = idle || (doubted && !isBusy(info.detail) && !isDetail(info, event));
        if (number <= asked && over) known.delete(what);
      }
    }
  }
}
