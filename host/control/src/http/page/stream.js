// A stream of server-sent events that reconnects automatically. It replaces EventSource, which cannot send a token.

import { ApiError, request, wantsToken } from "./api.js";

// The time in milliseconds without data after which the connection counts as lost. The host sends a comment every 15 s.
const SILENCE = 40_000;
const SHORTEST = 500;
const LONGEST = 5_000;

export class Stream {
  #path;
  #on;
  #last;
  #running = null;
  #wait = SHORTEST;
  #wake = () => {};

  /**
   * `from` is the id of the event after which to begin. The stream calls `on.event(event, id)` for each event, `on.up()`
   * when it is connected, and `on.lost(milliseconds)` when the connection is lost, with the time until the next attempt.
   * If the host rejects the request, the stream calls `on.refused(error)` and does not reconnect.
   */
  constructor(path, from, on) {
    this.#path = path;
    this.#last = from;
    this.#on = on;
  }

  open() {
    if (this.#running) return;
    const ending = new AbortController();
    this.#running = ending;
    this.#run(ending.signal);
  }

  close() {
    this.#running?.abort();
    this.#running = null;
    this.#wake();
  }

  /** Reconnects immediately. */
  hurry() {
    this.#wait = SHORTEST;
    this.#wake();
  }

  async #run(ended) {
    while (!ended.aborted) {
      try {
        await this.#read(ended);
      } catch (error) {
        if (ended.aborted) return;
        const refused = error instanceof ApiError && error.status < 500 && error.status !== 429;
        if (refused || wantsToken(error)) {
          this.#running = null;
          this.#on.refused?.(error);
          return;
        }
      }
      if (ended.aborted) return;
      this.#on.lost?.(this.#wait);
      await new Promise((wake) => {
        this.#wake = wake;
        setTimeout(wake, this.#wait);
      });
      this.#wait = Math.min(this.#wait * 2, LONGEST);
    }
  }

  async #read(ended) {
    const stale = new AbortController();
    const headers = this.#last === null ? {} : { "last-event-id": this.#last };
    let timer = setTimeout(() => stale.abort(), SILENCE);
    try {
      const answer = await request(this.#path, { headers, signal: AbortSignal.any([ended, stale.signal]) });
      this.#wait = SHORTEST;
      this.#on.up?.();
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        clearTimeout(timer);
        timer = setTimeout(() => stale.abort(), SILENCE);
        const parts = (rest + value).split("\n\n");
        rest = parts.pop();
        for (const part of parts) this.#take(part);
      }
    } finally {
      clearTimeout(timer);
    }
  }

  #take(part) {
    let id = null;
    let data = "";
    for (const line of part.split("\n")) {
      if (line.startsWith("id: ")) id = line.slice(4);
      if (line.startsWith("data: ")) data += line.slice(6);
    }
    if (id !== null && this.#last !== null) this.#last = id;
    if (data !== "") this.#on.event(JSON.parse(data), id);
  }
}
