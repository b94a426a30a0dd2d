"use strict";

// Numbers for people: `unit` is "bytes", "rate" or nothing.
function format(value, unit) {
  if (unit === "bytes") {
    const [scale, name] = value >= 2 ** 30 ? [2 ** 30, "GiB"] : [2 ** 20, "MiB"];
    return `${(value / scale).toFixed(value >= 100 * scale ? 0 : 1)} ${name}`;
  }
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) {
    return value.toExponential(2).replace(/\.?0+e/, "e").replace("e+", "e");
  }
  return String(Number(value.toPrecision(size >= 1000 ? 6 : 3)));
}

// Round values between two others, about so many: powers of ten and their halves and fifths.
function ticks(from, to, about, logarithmic) {
  if (logarithmic && Math.log10(to / from) > 1) {
    const every = Math.max(1, Math.ceil(Math.log10(to / from) / about));
    const first = Math.ceil(Math.log10(from) - 1e-9);
    const all = [];
    for (let i = first; 10 ** i <= to; i += every) all.push(10 ** i);
    return all;
  }
  const rough = (to - from) / about;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((x) => x * power).find((x) => x >= rough);
  const all = [];
  for (let i = Math.ceil(from / step); i * step <= to; i++) all.push(i * step);
  return all;
}

// An exponential mean over about so many steps, whatever lies between two points; its beginning is not drawn
// towards anything.
function smoothed(series, over) {
  if (!over) return series.mean;
  let sum = 0, weight = 0, last = null;
  return series.mean.map((value, i) => {
    const step = series.steps[i];
    const kept = last === null ? 0 : Math.exp((last - step) / over);
    const share = last === null ? 1 : 1 - kept;
    last = step;
    sum = kept * sum + share * value;
    weight = kept * weight + share;
    return sum / weight;
  });
}

// Where the step that is nearest to another is among ascending ones.
function nearest(steps, at) {
  let [low, high] = [0, steps.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (steps[middle] < at) low = middle + 1;
    else high = middle;
  }
  return low > 0 && at - steps[low - 1] < steps[low] - at ? low - 1 : low;
}

// Numbers of one group over steps. `host` has what all charts share: `view` ([from, to] or null), `smoothing`,
// `logarithmic`, `at` (the step pointed at, or null), `zoom(from, to)`, `unzoom()`, `point(step)`.
class Chart {
  constructor(title, unit, host) {
    Object.assign(this, { title, unit, host, series: [], off: new Set(), drag: null });
    this.card = document.createElement("article");
    this.card.className = "chart";
    const heading = document.createElement("h3");
    heading.textContent = title;
    this.legend = document.createElement("div");
    this.legend.className = "legend";
    this.canvas = document.createElement("canvas");
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "img");
    this.card.append(heading, this.legend, this.canvas);
    this.listen();
  }

  set(series) {
    const names = (list) => list.map((s) => s.name).join();
    const changed = names(series) !== names(this.series);
    this.series = series;
    if (!changed) return;
    this.legend.replaceChildren(...series.map((s, i) => {
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-pressed", "true");
      const swatch = document.createElement("i");
      swatch.style.background = `var(--c${i % 6})`;
      const value = document.createElement("b");
      button.append(swatch, document.createTextNode(s.name), value);
      button.addEventListener("click", () => {
        const hide = !this.off.delete(s.name);
        if (hide) this.off.add(s.name);
        button.setAttribute("aria-pressed", String(!hide));
        this.draw();
      });
      return button;
    }));
  }

  // The steps that are shown.
  range() {
    const steps = this.series.flatMap((s) => (s.steps.length ? [s.steps[0], s.steps.at(-1)] : []));
    const [first, last] = [Math.min(...steps), Math.max(...steps)];
    const [from, to] = this.host.view ?? [first, last];
    return to > from ? [from, to] : [from - 1, from + 1];
  }

  listen() {
    const { canvas, host } = this;
    const step = (event) => {
      const { left, right } = this.plot;
      const [from, to] = this.range();
      const x = (event.offsetX - left) / (right - left);
      return from + Math.min(1, Math.max(0, x)) * (to - from);
    };
    canvas.addEventListener("pointermove", (event) => this.plot && host.point(step(event)));
    canvas.addEventListener("pointerleave", () => this.drag === null && host.point(null));
    canvas.addEventListener("pointerdown", (event) => {
      if (!this.plot || event.button !== 0 || event.pointerType === "touch") return;
      this.drag = step(event);
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointerup", (event) => {
      if (this.drag === null) return;
      const [from, to] = [this.drag, step(event)].sort((a, b) => a - b);
      const [first, last] = this.range();
      this.drag = null;
      if (to - from > (last - first) / 100) host.zoom(from, to);
      else this.draw();
    });
    canvas.addEventListener("pointercancel", () => { this.drag = null; });
    canvas.addEventListener("dblclick", () => host.unzoom());
    canvas.addEventListener("blur", () => host.point(null));
    canvas.addEventListener("keydown", (event) => {
      const [from, to] = this.range();
      const at = host.at ?? (from + to) / 2;
      const closer = (factor) => host.zoom(at - (at - from) * factor, at + (to - at) * factor);
      const move = (share) => host.point(Math.min(to, Math.max(from, at + share * (to - from))));
      const does = {
        ArrowLeft: () => move(-0.01),
        ArrowRight: () => move(0.01),
        Home: () => host.point(from),
        End: () => host.point(to),
        "+": () => closer(0.5),
        "=": () => closer(0.5),
        "-": () => closer(2),
        Escape: () => host.unzoom(),
      }[event.key];
      if (!does || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      does();
    });
  }

  // The values that the axis spans: all that is smoothed, and of the others all but the rarest.
  extent(lines, logarithmic) {
    const usable = (value) => Number.isFinite(value) && (!logarithmic || value > 0);
    const all = lines.flatMap(({ series: s }) => (s.min.length ? [...s.min, ...s.max] : s.mean));
    const sorted = all.filter(usable).sort((a, b) => a - b);
    const rank = (share) => sorted[Math.round(share * (sorted.length - 1))];
    const few = sorted.length < 50;
    const firm = lines.flatMap(({ mean }) => mean).filter(usable);
    let low = Math.min(rank(few ? 0 : 0.01), ...firm);
    let high = Math.max(rank(few ? 1 : 0.99), ...firm);
    if (!(high > low)) {
      const around = Math.abs(high) / 2 || 1;
      [low, high] = logarithmic ? [low / 2, high * 2] : [low - around, high + around];
    }
    if (logarithmic) return [low * (low / high) ** 0.04, high * (high / low) ** 0.04];
    // Amounts and rates are told by their height.
    if (this.unit) return [0, high * 1.06];
    const margin = (high - low) * 0.06;
    // What is never negative need not look so.
    return [low >= 0 && low - margin < 0 ? 0 : low - margin, high + margin];
  }

  draw() {
    this.plot = null;
    const { canvas, host } = this;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!width || !this.series.length) return;
    const ratio = window.devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const c = canvas.getContext("2d");
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, width, height);
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name);
    const [from, to] = this.range();
    const lines = this.series
      .map((series, i) => ({ series, colour: colour(`--c${i % 6}`), mean: smoothed(series, host.smoothing) }));
    const shown = lines.filter(({ series }) => !this.off.has(series.name) && series.steps.length);
    this.lines = lines;
    this.say();
    if (!shown.length) return;
    const positive = !this.unit && shown.every(({ mean }) => mean.every((value) => value >= 0));
    const logarithmic = host.logarithmic && positive;
    const [low, high] = this.extent(shown, logarithmic);

    c.font = "11px system-ui, sans-serif";
    const scaled = this.unit !== "bytes" ? 1 : high >= 2 ** 30 ? 2 ** 30 : 2 ** 20;
    const labels = ticks(low / scaled, high / scaled, 5, logarithmic)
      .map((value) => [value * scaled, format(value * scaled, this.unit)]);
    const left = Math.ceil(Math.max(24, ...labels.map(([, text]) => c.measureText(text).width))) + 8;
    const [right, top, bottom] = [width - 8, 6, height - 20];
    const scale = logarithmic ? Math.log : (value) => value;
    const x = (step) => left + ((step - from) / (to - from)) * (right - left);
    const y = (value) => bottom - ((scale(value) - scale(low)) / (scale(high) - scale(low))) * (bottom - top);

    c.fillStyle = colour("--soft");
    c.strokeStyle = colour("--rule");
    c.lineWidth = 1;
    c.textBaseline = "middle";
    c.textAlign = "right";
    for (const [value, text] of labels) {
      const at = Math.round(y(value)) + 0.5;
      c.beginPath();
      c.moveTo(left, at);
      c.lineTo(right, at);
      c.stroke();
      c.fillText(text, left - 6, at);
    }
    c.textBaseline = "alphabetic";
    for (const step of ticks(from, to, Math.max(2, Math.floor(width / 90)), false)) {
      const text = step.toLocaleString("en");
      const half = c.measureText(text).width / 2;
      c.textAlign = x(step) + half > right ? "right" : x(step) - half < left ? "left" : "center";
      c.fillText(text, Math.min(right, Math.max(left, x(step))), height - 5);
    }

    c.save();
    c.beginPath();
    c.rect(left, top - 2, right - left, bottom - top + 4);
    c.clip();
    c.lineJoin = "round";
    const path = (series, values) => {
      c.beginPath();
      values.forEach((value, i) => c.lineTo(x(series.steps[i]), y(logarithmic ? Math.max(value, low) : value)));
    };
    for (const { series, colour, mean } of shown) {
      c.strokeStyle = c.fillStyle = colour;
      c.globalAlpha = 0.22;
      if (series.min.length) {
        path(series, series.max);
        for (let i = series.steps.length - 1; i >= 0; i--) {
          c.lineTo(x(series.steps[i]), y(logarithmic ? Math.max(series.min[i], low) : series.min[i]));
        }
        c.fill();
      } else if (mean !== series.mean) {
        path(series, series.mean);
        c.stroke();
      }
      c.globalAlpha = 1;
      c.lineWidth = 1.6;
      path(series, mean);
      c.stroke();
      c.lineWidth = 1;
      if (series.steps.length < 40) {
        mean.forEach((value, i) => {
          c.beginPath();
          c.arc(x(series.steps[i]), y(value), 2, 0, 2 * Math.PI);
          c.fill();
        });
      }
    }
    c.restore();
    // What is drawn so far stays while the pointer moves.
    this.base ??= document.createElement("canvas");
    this.base.width = canvas.width;
    this.base.height = canvas.height;
    this.base.getContext("2d").drawImage(canvas, 0, 0);
    this.plot = { left, right, top, bottom, x, accent: colour("--accent"), soft: colour("--soft"), ratio };
    this.point();
  }

  // The step that is pointed at, and what is being chosen, over what was drawn.
  point() {
    if (!this.plot) return;
    const { left, right, top, bottom, x, accent, soft, ratio } = this.plot;
    const { at } = this.host;
    const c = this.canvas.getContext("2d");
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.clearRect(0, 0, this.canvas.width, this.canvas.height);
    c.drawImage(this.base, 0, 0);
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.say();
    if (at === null || x(at) < left || x(at) > right) return;
    if (this.drag !== null) {
      c.fillStyle = accent;
      c.globalAlpha = 0.15;
      c.fillRect(x(this.drag), top, x(at) - x(this.drag), bottom - top);
      c.globalAlpha = 1;
    }
    c.strokeStyle = soft;
    c.beginPath();
    c.moveTo(x(at), top);
    c.lineTo(x(at), bottom);
    c.stroke();
  }

  // Values in the legend, at the step that is pointed at or at the last.
  say() {
    const { at } = this.host;
    const said = this.lines.map(({ series, mean }, i) => {
      const steps = series.steps;
      let index = steps.length - 1;
      if (at !== null && steps.length) {
        index = nearest(steps, at);
      }
      const text = index < 0 ? "" : format(mean[index], this.unit);
      const button = this.legend.children[i];
      if (button) button.lastChild.textContent = text;
      return `${series.name} ${text}`;
    });
    const when = at === null ? "last" : `at step ${Math.round(at)}`;
    this.canvas.setAttribute("aria-label", `${this.title}, ${when}: ${said.join(", ")}`);
  }
}
