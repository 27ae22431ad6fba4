// The problems of plugins: the errors that keep the newest version of a plugin's source or configuration from serving.

/** Whether the detail of a plugin describes a step in progress instead of a problem. */
export function isBusy(detail) {
  return /^(building$|in stage )/.test(detail);
}

/** Whether the detail of a plugin describes the problem that `event` has reported. */
export function isDetail({ detail }, event) {
  // In the detail, the plugin's id and the stage precede the reason. In the event, a file and a line may precede it.
  const reason = detail.replace(/^\S+: \w+ failed: /, "");
  return reason !== "" && event.error.endsWith(reason);
}

export class Problems {
  /**
   * The problems, by plugin and by kind. The kinds are `source`, `configuration`, and `start`, which is a failed start of an
   * existing artifact, for example in a restart. Solving a problem of one kind does not solve the others.
   */
  #all = new Map();

  /** The event of the newest problem of a plugin, or null. */
  get(plugin) {
    return [...(this.#all.get(plugin)?.values() ?? [])].at(-1)?.event ?? null;
  }

  has(plugin) {
    return this.get(plugin) !== null;
  }

  clear() {
    this.#all.clear();
  }

  /** Adds an event. `building` is whether a build of the event's plugin was running. */
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
        // An event without a file is about a configuration that a command has sent. If it is rejected, no problem remains.
        if (event.file) put("configuration");
        return;
      case "configured":
        known.delete("configuration");
        // The previous configuration may have been the cause of the failed reload. The next list of plugins shows whether it was.
        if (known.get("source")?.event.event === "reload_failed") known.get("source").doubted = true;
        return;
      case "build_unchanged":
        known.delete("source");
        known.delete("start");
        return;
      case "reloaded":
        known.delete("configuration");
        known.delete("start");
        // A reload without a build, such as a rollback, does not solve the problem of the newest source.
        if (event.stages.build > 0) known.delete("source");
        return;
      case "plugin_stopped":
        known.clear();
    }
  }

  /** Removes the problems that are solved, according to the listed states of the plugins. `asked` is the number of events before the request. */
  listed(infos, asked) {
    for (const [plugin, known] of this.#all) {
      const info = infos.get(plugin);
      // A stopped or removed plugin has no problem.
      const idle = !info || (info.generation === null && info.status !== "error");
      for (const [what, { event, number, doubted }] of known) {
        const over = idle || (doubted && !isBusy(info.detail) && !isDetail(info, event));
        if (number <= asked && over) known.delete(what);
      }
    }
  }
}
