// Charts by uPlot where it is installed. Rules: colours are the stylesheet's, so that both themes and
// whoever prints get theirs; every chart has a table beside it that says the same; a chart that cannot
// be drawn leaves that table open. Keyboard: the arrow keys move the cursor of a focused chart.

import { time } from "/assets/format.js";

export const isAvailable = () => typeof globalThis.uPlot === "function";

const FONT = "11px system-ui, sans-serif";
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const lonely = (ys) => ys.map((_, at) => at).filter((at) => ys[at] !== null && (ys[at - 1] ?? null) === null && (ys[at + 1] ?? null) === null);

export class Chart {
  // `series`: [{label, color (a CSS variable), isArea}]; `format(y)`; `x`: "time" or {format}.
  constructor(holder, legend, options) {
    this.holder = holder;
    this.legend = legend;
    this.options = options;
    this.points = null;
    this.plot = null;
    if (!isAvailable()) {
      holder.hidden = true;
      return;
    }
    holder.tabIndex = 0;
    holder.setAttribute("role", "img");
    holder.addEventListener("keydown", (event) => this.#key(event));
    // Who moves the cursor by keys hears its point; nobody else is told each renewal.
    holder.addEventListener("focus", () => legend.setAttribute("aria-live", "polite"));
    holder.addEventListener("blur", () => {
      legend.removeAttribute("aria-live");
      this.#point(null);
    });
    document.addEventListener("theme", () => this.#build());
    new ResizeObserver(() => this.#resize()).observe(holder);
  }

  // `points`: [x values, y values of each series]; `summary` is what a screen reader hears.
  set(points, { stepS = 60, summary = "", mark = null } = {}) {
    this.stepS = stepS;
    this.mark = mark;
    this.points = points;
    if (!isAvailable()) return;
    this.holder.setAttribute("aria-label", summary);
    if (this.plot === null) this.#build();
    else this.plot.setData(points);
    this.#show(this.plot?.cursor.idx);
  }

  #build() {
    if (!isAvailable() || this.points === null) return;
    this.plot?.destroy();
    const grid = { stroke: color("--line"), width: 1 };
    const axis = { stroke: color("--muted"), font: FONT, grid, ticks: { show: false } };
    const isTime = this.options.x === "time";
    this.plot = new globalThis.uPlot({
      ...this.#size(),
      padding: [8, 24, 0, 0], // room for half of the last label
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
      scales: {
        x: isTime ? { time: true } : { time: false, distr: 3, log: 2 },
        y: { range: this.options.range ?? ((_plot, _low, high) => [0, high > 0 ? high * 1.08 : 1]) },
      },
      axes: [
        { ...axis, size: 26, grid: { show: false }, space: isTime ? 64 : 48, values: (_plot, splits) => splits.map((at) => this.#tick(at)) },
        { ...axis, size: this.options.axisWidth ?? 72, incrs: this.options.steps, values: (_plot, splits) => splits.map((y) => (y === null ? "" : this.options.format(y))) },
      ],
      series: [{}, ...this.options.series.map((each) => this.#series(each))],
      hooks: {
        setCursor: [(plot) => this.#show(plot.cursor.idx)],
        draw: [(plot) => this.#drawMark(plot)],
      },
    }, this.points, this.holder);
  }

  #series({ label, color: name, isArea }) {
    const stroke = color(name);
    return {
      label, stroke, width: 1.75, spanGaps: false,
      fill: isArea ? `${stroke}26` : undefined,
      // Only what no line would show: a point without neighbours.
      points: { show: true, size: 5, fill: stroke, filter: (plot, which) => lonely(plot.data[which]) },
    };
  }

  #tick(at) {
    if (at === null) return "";
    if (this.options.x !== "time") return this.options.x.format(at);
    const text = time(at, this.stepS);
    return this.stepS >= 3600 ? text.slice(5, 10) : text.slice(11);
  }

  #drawMark(plot) {
    if (this.mark === null || this.mark < plot.scales.x.min || this.mark > plot.scales.x.max) return;
    const at = Math.round(plot.valToPos(this.mark, "x", true));
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.strokeStyle = color("--accent");
    ctx.setLineDash([4, 4]);
    ctx.beginPath();
    ctx.moveTo(at, bbox.top);
    ctx.lineTo(at, bbox.top + bbox.height);
    ctx.stroke();
    ctx.restore();
  }

  // The legend tells the point under the cursor, or the newest.
  #show(index) {
    const [xs, ...ys] = this.points;
    const at = index ?? xs.length - 1;
    const where = xs[at] === undefined ? "" : this.options.x === "time" ? time(xs[at], this.stepS) : this.options.x.format(xs[at]);
    const items = this.options.series.map(({ label, color: name }, which) => {
      const item = document.createElement("span");
      item.className = `item ${name.slice(2)}`;
      const value = ys[which]?.[at];
      item.append(`${label} `, Object.assign(document.createElement("b"), {
        textContent: value === null || value === undefined ? "–" : this.options.format(value),
      }));
      return item;
    });
    const when = document.createElement("span");
    when.className = "muted when";
    when.textContent = index === null || index === undefined ? "" : where;
    this.legend.replaceChildren(when, ...items);
  }

  #key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (step === undefined || this.plot === null) return;
    event.preventDefault();
    const last = this.points[0].length - 1;
    const from = this.plot.cursor.idx ?? (step < 0 ? last + 1 : -1);
    this.#point(Math.min(last, Math.max(0, from + step)));
  }

  #point(index) {
    if (this.plot === null) return;
    const left = index === null ? -10 : this.plot.valToPos(this.points[0][index], "x");
    this.plot.setCursor({ left, top: index === null ? -10 : 10 });
  }

  #size() {
    return { width: Math.max(120, this.holder.clientWidth), height: Math.max(100, this.holder.clientHeight) };
  }

  #resize() {
    if (this.plot !== null && this.plot.width !== this.#size().width) this.plot.setSize(this.#size());
  }
}
