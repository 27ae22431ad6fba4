// A line chart of the last minute, with a constant size.

import { setText, svg } from "./dom.js";

/** The number of seconds that a chart shows. */
export const SPAN = 60;
const WIDTH = 120;
const HEIGHT = 32;

export class Spark {
  constructor(label) {
    this.area = svg("path", { class: "spark-area" });
    this.line = svg("path", { class: "spark-line" });
    this.title = svg("title", {}, label);
    this.label = label;
    this.node = svg(
      "svg",
      { class: "spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
      this.title,
      this.area,
      this.line,
    );
  }

  /** Draws `values`, the newest last. A null is drawn as a gap. `words` describes the newest value. */
  draw(values, words) {
    setText(this.title, `${this.label}: ${words}`);
    const most = Math.max(...values.filter((value) => value !== null), 0) || 1;
    const step = WIDTH / (SPAN - 1);
    const x = (at) => (WIDTH - (values.length - 1 - at) * step).toFixed(1);
    const y = (value) => (HEIGHT - 2 - (value / most) * (HEIGHT - 5)).toFixed(1);
    let line = "";
    let area = "";
    let begin = null;
    const close = (last) => {
      if (begin !== null) area += `L${x(last)} ${HEIGHT}L${x(begin)} ${HEIGHT}Z`;
      begin = null;
    };
    values.forEach((value, at) => {
      if (value === null) return close(at - 1);
      const step = `${begin === null ? "M" : "L"}${x(at)} ${y(value)}`;
      line += step;
      area += step;
      begin ??= at;
    });
    close(values.length - 1);
    this.line.setAttribute("d", line);
    this.area.setAttribute("d", area);
  }
}
