"use strict";
// Draws the report from the data that stands in the page. Whatever a user has written comes in as text (`textContent`,
// `fillText`), never as markup. Marks are drawn on a canvas, axes and words above it in SVG.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const STATES = ["RUNNING", "COMPLETE", "PRUNED", "FAILED", "WAITING", "PAUSED"];
  const SVG = "http://www.w3.org/2000/svg";
  const charts = []; // all that have been drawn: each can be drawn anew, and shows the chosen trial
  let chosen = null; // a trial's number

  // --- elements and words

  function fill(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (name === "css") Object.assign(element.style, value);
      else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  }
  const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
  const shape = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

  function number(value) {
    if (value === null || value === undefined) return "";
    if (typeof value !== "number") return String(value);
    if (value === 0 || Number.isInteger(value) && Math.abs(value) < 1e7) return String(value);
    const size = Math.abs(value);
    const text = size >= 1e7 || size < 1e-4 ? value.toExponential(4) : value.toPrecision(6);
    return text.replace(/(\.\d*?)0+(e|$)/, "$1$2").replace(/\.(e|$)/, "$1").replace("e+", "e");
  }
  const whole = (value) => value.toLocaleString("en"); // 12,345
  const short = (text, most) => text.length <= most ? text : text.slice(0, most - 1) + "\u2026";
  const seconds = (value) => value === null ? "" : value === 0 ? "0 s"
    : value < 1e-3 ? `${number(+(1e6 * value).toPrecision(3))} \u00b5s` : value < 1 ? `${number(+(1000 * value).toPrecision(3))} ms`
    : value < 100 ? `${number(+value.toPrecision(3))} s`
    : value < 7200 ? `${Math.floor(Math.round(value) / 60)} min ${Math.round(value) % 60} s`
    : value < 172800 ? `${(value / 3600).toFixed(1)} h` : `${(value / 86400).toFixed(1)} d`;

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const stateColour = (state) => colour(STATES[state].toLowerCase());
  // viridis, which keeps its order for every kind of sight, and in grey; without the end that the page swallows
  const STOPS = [[68, 1, 84], [72, 40, 120], [62, 74, 137], [49, 104, 142], [38, 130, 142], [31, 158, 137],
    [53, 183, 121], [109, 205, 89], [180, 222, 44], [253, 231, 37]];
  const isDark = () => colour("page") === "#12161c";
  function shade(share) { // 0: bad, 1: good
    const at = (isDark() ? 0.18 + 0.82 * share : 0.92 * (1 - share)) * (STOPS.length - 1);
    const i = Math.min(Math.floor(at), STOPS.length - 2), rest = at - i;
    return `rgb(${STOPS[i].map((c, k) => Math.round(c + rest * (STOPS[i + 1][k] - c))).join(",")})`;
  }

  // --- scales

  const placed = (scale, value) => scale.log ? Math.log10(value) : value;
  function fraction(scale, value) {
    if (value === null || value === undefined) return null;
    if (typeof value === "string") value = value === "Infinity" ? Infinity : value === "-Infinity" ? -Infinity : NaN;
    if (Number.isNaN(value)) return null;
    const inside = Math.min(Math.max(value, scale.low), scale.high);
    const low = placed(scale, scale.low), high = placed(scale, scale.high);
    return (placed(scale, inside) / 2 - low / 2) / (high / 2 - low / 2);
  }
  function valueAt(scale, share) {
    const low = placed(scale, scale.low), high = placed(scale, scale.high);
    const at = low * (1 - share) + high * share;
    return scale.log ? 10 ** at : at;
  }
  function said(scale, value) {
    return scale.labels ? scale.labels[Math.round(value)] ?? "" : scale.seconds ? seconds(value)
      : scale.whole && Number.isInteger(value) ? whole(value) : number(value);
  }
  function ticks(scale, most) {
    if (scale.labels) {
      const every = Math.ceil(scale.labels.length / most);
      return scale.labels.map((text, i) => [i, text]).filter(([i]) => i % every === 0);
    }
    const found = [];
    if (scale.log) {
      const low = Math.floor(Math.log10(scale.low)), high = Math.ceil(Math.log10(scale.high));
      // the densest of these that has room
      for (const digits of [[1, 2, 3, 5, 7], [1, 2, 5], [1, 3], [1]]) {
        const inside = [];
        const every = digits.length > 1 ? 1 : Math.max(1, Math.ceil((high - low) / most));
        for (let k = low; k <= high; k++) if (k % every === 0)
          for (const digit of digits) inside.push(+`${digit}e${k}`);
        const there = inside.filter((v) => v >= scale.low * 0.9999 && v <= scale.high * 1.0001);
        if (there.length > 1 && there.length <= most + 1) return there.map((v) => [v, said(scale, v)]);
      }
    }
    found.length = 0;
    const width = scale.high - scale.low;
    if (!Number.isFinite(width)) return [scale.low, scale.high].map((v) => [v, said(scale, v)]);
    // times are round in the unit that they are read in
    const [unit, unitName] = (scale.seconds && [[86400, "d"], [3600, "h"], [60, "min"]].find(([u]) => width >= 2 * u)) || [1, ""];
    const raw = width / unit / most, power = 10 ** Math.floor(Math.log10(raw));
    let step = power * [1, 2, 5, 10].find((m) => m * power >= raw * 0.999);
    if (scale.whole) step = Math.max(1, Math.round(step));
    for (let k = Math.ceil(scale.low / unit / step - 1e-9); k <= scale.high / unit / step + 1e-9 && found.length < 50; k++)
      found.push(+(k * step).toPrecision(12));
    return found.map((v) => [v * unit, unitName ? `${number(v)} ${unitName}` : said(scale, v)]);
  }

  // --- trials, as far as they stand in the page

  const columns = data.trials.columns;
  const byName = new Map(columns.map((column) => [column.name, column]));
  const rowOf = new Map(columns[0].values.map((value, row) => [value, row]));
  function cell(column, row) {
    const value = column.values[row];
    if (value === null || value === undefined) return "";
    return column.labels ? column.labels[value] : column.seconds ? seconds(value) : number(value);
  }
  const trialLines = (n) => {
    const row = rowOf.get(n), lines = [`trial ${n}`];
    if (row === undefined) return lines;
    for (const column of columns.slice(1)) {
      const text = cell(column, row);
      if (text !== "" && lines.length < 16 && column.kind !== "metric" && column.name !== "error")
        lines.push(`${short(column.title, 28)}: ${short(text, 40)}`);
    }
    return lines;
  };

  // --- what is pointed at, and what is chosen

  const tip = document.getElementById("tip"), card = document.getElementById("picked");
  function point(event, lines) {
    if (!lines) { tip.style.visibility = "hidden"; return; }
    tip.textContent = lines.join("\n");
    const box = tip.getBoundingClientRect();
    const left = event.clientX + 14 + box.width > innerWidth ? event.clientX - 14 - box.width : event.clientX + 14;
    const top = Math.max(4, Math.min(event.clientY + 12, innerHeight - box.height - 4));
    Object.assign(tip.style, { left: `${Math.max(4, left)}px`, top: `${top}px`, visibility: "visible" });
  }
  function choose(n) {
    chosen = n === chosen ? null : n;
    card.hidden = chosen === null;
    card.replaceChildren();
    if (chosen !== null) {
      const row = rowOf.get(chosen);
      const close = el("button", { "aria-label": "close", onclick: () => choose(chosen) }, "\u00d7");
      card.append(el("div", { class: "cardhead" }, el("h3", {}, `Trial ${chosen}`), close));
      if (row === undefined) card.append(el("p", { class: "note" },
        "This page holds a part of the trials, and this one is none of them: fasthpo trials --filter number=" + chosen));
      else card.append(pairs(columns.slice(1).map((c) => [c.title, cell(c, row)]).filter(([, text]) => text !== "")));
    }
    for (const chart of charts) chart.mark();
    document.dispatchEvent(new Event("chosen"));
  }
  document.addEventListener("keydown", (event) => { if (event.key === "Escape" && chosen !== null) choose(chosen); });

  function pairs(list) {
    return el("table", { class: "pairs" }, el("tbody", {}, ...list.map(([name, value]) =>
      el("tr", {}, el("td", { title: name }, name), el("td", {}, value)))));
  }

  // --- a chart: a frame with two axes; `draw` paints, `near` finds what is pointed at, `at` finds a trial

  function chart(host, options) {
    const canvas = el("canvas"), layer = shape("svg", { role: "img", "aria-label": options.label });
    const frame = el("div", { class: options.near ? "frame picks" : "frame" }, canvas, layer);
    host.append(frame);
    const state = { marks: null, X: null, Y: null };
    function paint() {
      const width = Math.max(160, Math.floor(frame.clientWidth)), height = options.height;
      const yTicks = options.y ? ticks(options.y, Math.max(2, Math.floor(height / 48))) : [];
      const xShown = options.x ? ticks(options.x, Math.max(4, Math.floor(width / 90))) : [];
      const longest = Math.max(0, ...yTicks.map(([, text]) => short(text, 12).length));
      const left = options.left ?? Math.min(110, 14 + 7 * longest), right = options.right ?? 10;
      const top = options.top ?? (options.y && options.y.name ? 24 : 8);
      const bottom = options.bottom ?? (options.x ? 36 : 8);
      const pad = options.bare ? 0 : 5; // so that marks at the bounds are seen whole
      const strip = options.strip ?? 0; // below the axis, for what has no value
      const w = width - left - right, h = height - top - bottom - strip;
      layer.setAttribute("width", width); layer.setAttribute("height", height);
      layer.replaceChildren();
      const ratio = window.devicePixelRatio || 1;
      canvas.width = width * ratio; canvas.height = height * ratio;
      Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
      const ink = canvas.getContext("2d");
      ink.scale(ratio, ratio);
      ink.clearRect(0, 0, width, height);
      const X = (value) => { const f = fraction(options.x, value); return f === null ? null : left + pad + f * (w - 2 * pad); };
      const Y = (value) => { const f = fraction(options.y, value); return f === null ? null : top + pad + (1 - f) * (h - 2 * pad); };
      ink.fillStyle = colour("grid"); // the grid lies below all marks
      for (const [value, text] of yTicks) {
        const y = Y(value);
        if (options.bare) layer.append(shape("line", { class: "axis", x1: left - 4, x2: left, y1: y, y2: y }));
        else ink.fillRect(left, Math.round(y), w, 1);
        layer.append(shape("text", { x: left - 6, y: y + 4, "text-anchor": "end" }, short(text, 14)));
      }
      // labels that would run into each other are left out
      let free = -Infinity;
      for (const [value, text] of xShown) {
        const x = X(value), label = short(text, options.x.labels ? Math.max(3, Math.floor(w / xShown.length / 7)) : 12);
        const half = label.length * 3.4;
        if (!options.x.labels && !options.bare) ink.fillRect(Math.round(x), top, 1, h);
        if (x - half < free) continue;
        free = x + half + 6;
        const anchor = x + half > width ? "end" : "middle";
        layer.append(shape("text", { x: anchor === "end" ? width : x, y: top + h + strip + 16, "text-anchor": anchor }, label));
      }
      if (options.x) {
        layer.append(shape("line", { class: "axis", x1: left, x2: left + w, y1: top + h, y2: top + h }));
        if (options.x.name) layer.append(shape("text", { class: "name", x: left + w / 2, y: height - 4,
          "text-anchor": "middle" }, short(options.x.name, Math.floor(w / 7))));
      }
      if (options.y && options.y.name)
        layer.append(shape("text", { class: "name", x: 0, y: 13 }, short(options.y.name, Math.floor(width / 7))));
      if (options.y) layer.append(shape("line", { class: "axis", x1: left, x2: left, y1: top, y2: top + h }));
      Object.assign(state, { X, Y, left, top, w, h, strip, width, height, ink, layer });
      options.draw(state);
      state.marks = shape("g");
      layer.append(state.marks);
      self.mark();
    }
    const self = {
      paint,
      mark() {
        if (!state.marks) return;
        state.marks.replaceChildren();
        if (chosen === null || !options.at) return;
        const found = options.at(chosen, state);
        if (!found) return;
        if (typeof found === "string") state.marks.append(shape("path", { class: "picked", d: found }));
        else if (found[0] !== null && found[1] !== null)
          state.marks.append(shape("circle", { class: "ring", cx: found[0], cy: found[1], r: 7 }));
      },
    };
    if (options.near) {
      const find = (event) => {
        const box = frame.getBoundingClientRect();
        return options.near(event.clientX - box.left, event.clientY - box.top, state);
      };
      frame.addEventListener("pointermove", (event) => { const hit = find(event); point(event, hit && hit.lines); });
      frame.addEventListener("pointerleave", () => point(null, null));
      frame.addEventListener("click", (event) => {
        const hit = find(event);
        if (hit && hit.number !== undefined && hit.number >= 0) choose(hit.number);
      });
    }
    charts.push(self);
    paint();
    let before = frame.clientWidth;
    new ResizeObserver(() => { if (frame.clientWidth !== before) { before = frame.clientWidth; paint(); } }).observe(frame);
    return self;
  }
  const repaint = () => { for (const one of charts) one.paint(); };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);

  // --- clouds of trials: points, or cells with how many there are

  function paintCloud(cloud, state, ink, look) {
    if (cloud.count) {
      const most = Math.log1p(Math.max(1, ...cloud.cells.map((one) => one[2])));
      ink.fillStyle = look.colour;
      for (const [row, column, count] of cloud.cells) {
        // whole pixels: neighbours that overlapped would have a seam
        const x0 = Math.round(state.X(cloud.xe[column])), x1 = Math.round(state.X(cloud.xe[column + 1]));
        const y0 = Math.round(state.Y(cloud.ye[row + 1])), y1 = Math.round(state.Y(cloud.ye[row]));
        ink.globalAlpha = 0.12 + 0.8 * Math.log1p(count) / most;
        ink.fillRect(x0, y0, Math.max(1, x1 - x0), Math.max(1, y1 - y0));
      }
      ink.globalAlpha = 1;
      return;
    }
    const many = cloud.x.length > 400;
    ink.globalAlpha = many ? 0.55 : 0.8;
    ink.fillStyle = ink.strokeStyle = look.colour;
    ink.lineWidth = 1.3;
    for (let i = 0; i < cloud.x.length; i++) {
      const x = state.X(cloud.x[i]), y = state.Y(cloud.y[i]);
      if (x === null || y === null) continue;
      ink.beginPath();
      ink.arc(x, y, many ? 2.2 : 3, 0, 2 * Math.PI);
      if (look.hollow) ink.stroke(); else ink.fill();
    }
    ink.globalAlpha = 1;
  }
  function nearest(clouds, px, py, state) {
    let best = null, distance = 14 ** 2;
    for (const { cloud, name } of clouds) {
      if (cloud.count) {
        for (const [row, column, count, top] of cloud.cells) {
          const x0 = state.X(cloud.xe[column]), x1 = state.X(cloud.xe[column + 1]);
          const y0 = state.Y(cloud.ye[row + 1]), y1 = state.Y(cloud.ye[row]);
          if (px >= x0 && px <= x1 && py >= y0 && py <= y1)
            return { number: top, lines: [`${whole(count)} ${name} trials here; the best:`, ...trialLines(top)] };
        }
        continue;
      }
      for (let i = 0; i < cloud.x.length; i++) {
        const x = state.X(cloud.x[i]), y = state.Y(cloud.y[i]);
        const d = (x - px) ** 2 + (y - py) ** 2;
        if (d < distance) { distance = d; best = cloud.number[i]; }
      }
    }
    return best === null ? null : { number: best, lines: trialLines(best) };
  }
  function spot(clouds, n, state, own) {
    for (const { cloud } of clouds) {
      const i = cloud.number ? cloud.number.indexOf(n) : -1;
      if (i >= 0) return [state.X(cloud.x[i]), state.Y(cloud.y[i])];
    }
    const row = rowOf.get(n);
    return row === undefined || !clouds.some(({ cloud }) => cloud.count) ? null : own(row);
  }
  function line(ink, points, style, width, dash) {
    ink.strokeStyle = style; ink.lineWidth = width; ink.setLineDash(dash || []);
    ink.beginPath();
    let on = false;
    for (const [x, y] of points) {
      if (x === null || y === null) { on = false; continue; }
      if (on) ink.lineTo(x, y); else ink.moveTo(x, y);
      on = true;
    }
    ink.stroke();
    ink.setLineDash([]);
  }
  function legend(entries) {
    return el("div", { class: "legend" }, ...entries.filter(Boolean).map(([name, variable, kind]) =>
      el("span", {}, el("i", { class: kind || "", css: kind === "hollow" ? { borderColor: `var(--${variable})` }
        : { background: `var(--${variable})` } }), name)));
  }
  function figure(host, title, note, wide) {
    const head = el("div", { class: "cardhead" }, el("h3", {}, title));
    const made = el("figure", { class: wide ? "card wide" : "card" }, head, note ? el("p", { class: "note" }, note) : null);
    host.append(made);
    return { body: made, head };
  }
  const beyond = (scale) => scale.beyond ? ` ${whole(scale.beyond)} outside the axis ${scale.beyond === 1 ? "stands" : "stand"} at its edge.` : "";

  // --- the pictures

  const draw = {
    history(host, p) {
      const { body } = figure(host, "Optimisation history", `Values in the order of the trials; ${p.direction === "maximize"
        ? "higher" : "lower"} is better.${beyond(p.y)}`, true);
      const clouds = [{ cloud: p.partial, name: "pruned" }, { cloud: p.infeasible, name: "infeasible" },
        { cloud: p.complete, name: "complete" }];
      const most = Math.max(1, ...p.failed);
      chart(body, {
        label: "Optimisation history", height: 340, strip: 18, x: p.x, y: p.y,
        draw(s) {
          const ink = s.ink;
          paintCloud(p.partial, s, ink, { colour: colour("pruned"), hollow: true });
          paintCloud(p.infeasible, s, ink, { colour: colour("waiting"), hollow: true });
          paintCloud(p.complete, s, ink, { colour: colour("complete") });
          ink.fillStyle = colour("failed");
          p.failed.forEach((count, i) => {
            if (!count) return;
            const x0 = s.X(p.failedEdges[i]), x1 = s.X(p.failedEdges[i + 1]), tall = 3 + (s.strip - 5) * count / most;
            ink.fillRect(x0, s.top + s.h + s.strip - tall, Math.max(1.5, x1 - x0 - 0.5), tall);
          });
          const steps = [];
          p.best.forEach(([n, value], i) => {
            if (i) steps.push([s.X(n), s.Y(p.best[i - 1][1])]);
            steps.push([s.X(n), s.Y(value)]);
          });
          if (steps.length) steps.push([s.X(p.x.high), steps[steps.length - 1][1]]);
          line(ink, steps, colour("card"), 4.5);
          line(ink, steps, colour("best"), 2);
        },
        near: (px, py, s) => nearest(clouds, px, py, s),
        at: (n, s) => spot(clouds, n, s, (row) => [s.X(n), s.Y(byName.get(p.column).values[row])]),
      });
      body.append(legend([["complete", "complete"], [p.bestLabel, "best", "line"],
        p.infeasible.size && ["breaks a constraint", "waiting", "hollow"],
        p.partial.size && ["pruned or paused, at the last value", "pruned", "hollow"],
        most > 0 && p.failed.some(Boolean) && ["failed, by trial number", "failed"]]));
    },

    curves(host, p) {
      const { body } = figure(host, "Learning curves", `${p.curves.length} of ${whole(p.trials)} trials with reports, from all ranks.`
        + beyond(p.y));
      const path = (curve, s) => curve.step.map((step, i) => [s.X(step), s.Y(curve.value[i])]);
      const isPruned = (curve) => curve.state === 2;
      chart(body, {
        label: "Learning curves", height: 300, x: p.x, y: p.y,
        draw(s) {
          const ink = s.ink;
          ink.fillStyle = colour("band");
          ink.beginPath();
          p.bandStep.forEach((step, i) => ink.lineTo(s.X(step), s.Y(p.band[2][i])));
          for (let i = p.bandStep.length - 1; i >= 0; i--) ink.lineTo(s.X(p.bandStep[i]), s.Y(p.band[0][i]));
          ink.fill();
          ink.globalAlpha = 0.55;
          for (const curve of p.curves) {
            if (curve.number === p.best) continue;
            line(ink, path(curve, s), isPruned(curve) ? colour("pruned") : curve.state === 3 ? colour("failed")
              : colour("complete"), 1);
            const end = curve.step.length - 1;
            if (isPruned(curve) || end === 0) {
              ink.fillStyle = isPruned(curve) ? colour("pruned") : colour("complete");
              ink.beginPath(); ink.arc(s.X(curve.step[end]), s.Y(curve.value[end]), 2.6, 0, 2 * Math.PI); ink.fill();
            }
          }
          ink.globalAlpha = 1;
          const best = p.curves.find((curve) => curve.number === p.best);
          if (best) { line(ink, path(best, s), colour("card"), 4.5); line(ink, path(best, s), colour("best"), 2.2); }
        },
        near(px, py, s) {
          let hit = null, distance = 12 ** 2;
          for (const curve of p.curves) for (const [x, y] of path(curve, s)) {
            const d = x === null || y === null ? Infinity : (x - px) ** 2 + (y - py) ** 2;
            if (d < distance) { distance = d; hit = curve.number; }
          }
          return hit === null ? null : { number: hit, lines: trialLines(hit) };
        },
        at(n, s) {
          const curve = p.curves.find((one) => one.number === n);
          return curve ? trace(path(curve, s)) : null;
        },
      });
      body.append(legend([["complete", "complete", "line"], p.curves.some(isPruned) && ["pruned", "pruned", "line"],
        p.curves.some((one) => one.state === 3) && ["failed", "failed", "line"],
        p.best !== null && ["best", "best", "line"], ["eight in ten reports", "band"]]));
    },

    importance(host, p) {
      const { body, head } = figure(host, "Importance of the parameters", null);
      const note = el("p", { class: "note" });
      const list = el("div");
      const select = el("select", { "aria-label": "method", onchange: show }, ...p.methods.map((m, i) =>
        el("option", { value: i }, m.method === "fanova" ? "fANOVA" : "PED-ANOVA")));
      head.append(select);
      body.append(note, list);
      function show() {
        const m = p.methods[+select.value];
        note.textContent = m.method === "fanova"
          ? `Share of the variance over the whole space that each explains alone; from ${whole(m.trials)} trials.`
          : `How far the best tenth of ${whole(m.trials)} trials is distributed otherwise than all of them.`;
        const most = Math.max(1e-12, ...m.shares);
        list.replaceChildren(...m.names.map((name, i) => el("div", { css: { display: "grid", gap: "10px",
          gridTemplateColumns: "minmax(80px, 34%) 1fr 58px", alignItems: "center", padding: "3px 0" } },
          el("span", { title: name, css: { overflow: "hidden", textOverflow: "ellipsis", whiteSpace: "nowrap" } }, name),
          el("div", { class: "meter" }, el("i", { css: { width: `${100 * m.shares[i] / most}%` } })),
          el("span", { css: { textAlign: "right", whiteSpace: "nowrap" } }, m.shares[i] && m.shares[i] < 0.0005 ? "< 0.1 %"
            : `${(100 * m.shares[i]).toFixed(1)} %`))));
      }
      show();
    },

    slices(host, p) { panels(host, p, "Values against each parameter", "Completed trials"); },
    durations(host, p) { panels(host, p, "Time a trial against each parameter", "Trials that completed, were pruned or paused"); },

    parallel(host, p) {
      const { body, head } = figure(host, "Parallel coordinates", `The best of ${whole(p.trials)} trials and others from all ranks; `
        + "drag along an axis to choose a range.", true);
      const axes = p.scales, lines = p.position;
      const ranges = axes.map(() => null);
      const reset = el("button", { hidden: "", onclick: () => { ranges.fill(null); reset.hidden = true; made.paint(); } },
        "clear ranges");
      head.append(reset);
      const good = p.value.map((value) => {
        const f = fraction(p.valueScale, value) ?? 0;
        return p.direction === "maximize" ? f : 1 - f;
      });
      const isIn = (row) => ranges.every((range, k) => !range || (row[k] !== null && row[k] >= range[0] && row[k] <= range[1]));
      const across = (s, k) => s.left + (axes.length < 2 ? s.w / 2 : k * s.w / (axes.length - 1));
      const path = (row, s) => row.map((f, k) => f === null ? [null, null] : [across(s, k), s.top + (1 - f) * s.h]);
      let start = null;
      const made = chart(body, {
        label: "Parallel coordinates", height: 340, left: 60, right: 60, top: 34, bottom: 14,
        draw(s) {
          s.ink.lineWidth = 1.2;
          lines.forEach((row, i) => {
            const on = isIn(row);
            s.ink.globalAlpha = on ? 0.75 : 0.05;
            line(s.ink, path(row, s), shade(good[i]), on && good[i] > 0.97 ? 2 : 1.1);
          });
          s.ink.globalAlpha = 1;
          axes.forEach((scale, k) => {
            const x = across(s, k), room = Math.floor(s.w / Math.max(1, axes.length - 1) / 7);
            s.layer.append(shape("line", { x1: x, x2: x, y1: s.top, y2: s.top + s.h, stroke: colour("soft") }),
              shape("text", { class: "name", x, y: 14, "text-anchor": "middle" }, short(scale.name, Math.max(6, room))));
            for (const [value, text] of ticks(scale, 5)) {
              const y = s.top + (1 - fraction(scale, value)) * s.h;
              const words = shape("text", { x: x + 5, y: y + 4, css: { fontSize: "11px", paintOrder: "stroke",
                stroke: colour("card"), strokeWidth: "3px" } }, short(text, Math.max(4, room - 1)));
              s.layer.append(shape("line", { x1: x - 3, x2: x + 3, y1: y, y2: y, stroke: colour("soft") }), words);
            }
            if (ranges[k]) s.layer.append(shape("rect", { x: x - 6, width: 12, y: s.top + (1 - ranges[k][1]) * s.h,
              height: (ranges[k][1] - ranges[k][0]) * s.h, fill: colour("mark"), opacity: 0.35 }));
          });
        },
        near(px, py, s) {
          let hit = null, distance = 9;
          lines.forEach((row, i) => {
            if (!isIn(row)) return;
            const points = path(row, s);
            for (let k = 0; k + 1 < points.length; k++) {
              const [[x0, y0], [x1, y1]] = [points[k], points[k + 1]];
              if (y0 === null || y1 === null || px < x0 || px > x1) continue;
              const d = Math.abs(y0 + (y1 - y0) * (px - x0) / (x1 - x0) - py);
              if (d <= distance) { distance = d; hit = p.number[i]; }
            }
          });
          return hit === null ? null : { number: hit, lines: trialLines(hit) };
        },
        at(n, s) { const i = p.number.indexOf(n); return i < 0 ? null : trace(path(lines[i], s)); },
      });
      const frame = body.querySelector(".frame");
      const place = (event) => {
        const box = frame.getBoundingClientRect(), w = box.width - 120;
        const k = axes.length < 2 ? 0 : Math.round((event.clientX - box.left - 60) / w * (axes.length - 1));
        const x = 60 + (axes.length < 2 ? w / 2 : k * w / (axes.length - 1));
        const share = 1 - (event.clientY - box.top - 34) / (340 - 48);
        return { k, near: Math.abs(event.clientX - box.left - x) < 12, share: Math.min(1, Math.max(0, share)) };
      };
      frame.addEventListener("pointerdown", (event) => { const at = place(event); if (at.near && axes[at.k]) start = at; });
      frame.addEventListener("pointermove", (event) => {
        if (!start) return;
        const share = place(event).share;
        if (Math.abs(share - start.share) < 0.02) return;
        ranges[start.k] = [Math.min(share, start.share), Math.max(share, start.share)];
        reset.hidden = false;
        made.paint();
      });
      addEventListener("pointerup", () => { start = null; });
      body.append(colourBar(p.valueScale, p.direction));
    },

    contour(host, p) {
      const { body, head } = figure(host, "Two parameters together", null);
      const note = el("p", { class: "note" });
      const place = el("div");
      const select = el("select", { "aria-label": "parameters", onchange: show }, ...p.pairs.map((pair, i) =>
        el("option", { value: i }, `${short(pair.x.name, 30)} and ${short(pair.y.name, 30)}`)));
      head.append(select);
      body.append(note, place);
      function show() {
        const c = p.pairs[+select.value], cells = c.value;
        note.textContent = `What trials reach on average around each place; where there were none, nothing.${beyond(c.scale)}`;
        const clouds = [{ cloud: c.trials, name: "complete" }];
        const old = charts.findIndex((one) => one.host === place);
        if (old >= 0) charts.splice(old, 1);
        place.replaceChildren();
        const made = chart(place, {
          label: "Two parameters together", height: 300, x: c.x, y: c.y, bare: true,
          draw(s) {
            cells.forEach((row, i) => row.forEach((value, j) => {
              if (value === null) return;
              const f = fraction(c.scale, value);
              s.ink.fillStyle = shade(p.direction === "maximize" ? f : 1 - f);
              const x = s.left + j * s.w / row.length, y = s.top + s.h - (i + 1) * s.h / cells.length;
              s.ink.fillRect(x, y, s.w / row.length + 0.6, s.h / cells.length + 0.6);
            }));
            if (!c.trials.count && c.trials.x.length <= 400) {
              s.ink.strokeStyle = colour("card"); s.ink.fillStyle = colour("text"); s.ink.lineWidth = 1;
              for (let i = 0; i < c.trials.x.length; i++) {
                s.ink.beginPath(); s.ink.arc(s.X(c.trials.x[i]), s.Y(c.trials.y[i]), 2.6, 0, 2 * Math.PI);
                s.ink.fill(); s.ink.stroke();
              }
            }
            if (c.best) {
              const [x, y] = [s.X(c.best[0]), s.Y(c.best[1])];
              for (const [style, width] of [[colour("card"), 5], [colour("mark"), 2.4]]) {
                line(s.ink, [[x - 7, y], [x + 7, y]], style, width);
                line(s.ink, [[x, y - 7], [x, y + 7]], style, width);
              }
            }
          },
          near(px, py, s) {
            const hit = nearest(clouds, px, py, s);
            if (hit && !c.trials.count) return hit;
            const j = Math.floor((px - s.left) / s.w * cells[0].length);
            const i = Math.floor((s.top + s.h - py) / s.h * cells.length);
            const value = cells[i] && cells[i][j];
            if (value === null || value === undefined) return hit;
            const lines = [`about ${number(value)} on average`, `${short(c.x.name, 28)}: ${said(c.x, c.xs[j])}`,
              `${short(c.y.name, 28)}: ${said(c.y, c.ys[i])}`];
            return { number: hit ? hit.number : undefined, lines: hit ? [...lines, hit.lines[0]] : lines };
          },
          at: (n, s) => {
            const row = rowOf.get(n);
            return row === undefined ? null : [s.X(byName.get(c.xColumn).values[row]), s.Y(byName.get(c.yColumn).values[row])];
          },
        });
        made.host = place;
        place.append(colourBar(c.scale, p.direction), legend([["best trial", "mark", "line"]]));
      }
      show();
    },

    edf(host, p) {
      const { body } = figure(host, "Distribution of the values", "The share of the completed trials that are at least so good.");
      const y = { name: "% of the trials", low: 0, high: 100 };
      chart(body, {
        label: "Distribution of the values", height: 300, x: p.x, y,
        draw(s) {
          const steps = p.value.length ? [[s.X(p.value[0]), s.Y(0)]] : [];
          p.value.forEach((value, i) => {
            if (i) steps.push([s.X(value), s.Y(100 * p.share[i - 1])]);
            steps.push([s.X(value), s.Y(100 * p.share[i])]);
          });
          line(s.ink, steps, colour("complete"), 2);
        },
        near(px, py, s) {
          let hit = null, distance = 40;
          p.value.forEach((value, i) => {
            const d = Math.abs(s.X(value) - px);
            if (d < distance) { distance = d; hit = i; }
          });
          return hit === null ? null : { lines: [`${(100 * p.share[hit]).toFixed(1)} % reach ${number(p.value[hit])}`] };
        },
      });
    },

    timeline(host, p) {
      const { body } = figure(host, "Timeline", `At most ${p.lanes} ${p.lanes === 1 ? "trial" : "trials"} at a time; ${(100 * p.idle).toFixed(0)} % of their `
        + "lanes' time was idle.", true);
      const x = { name: "time since the first start", low: 0, high: p.seconds || 1, seconds: true };
      const kinds = [1, 2, 3, 0];
      if (p.lane.length) {
        const tall = Math.max(6, Math.min(26, 300 / p.lanes));
        chart(body, {
          label: "Timeline", height: 44 + tall * p.lanes, x, left: 10, top: 4,
          draw(s) {
            p.lane.forEach((lane, i) => {
              s.ink.fillStyle = stateColour(p.state[i] === 5 ? 1 : p.state[i]);
              const x0 = s.X(p.start[i]), x1 = s.X(p.end[i]);
              s.ink.fillRect(x0, s.top + lane * tall + 1, Math.max(1, x1 - x0 - 0.5), tall - 2);
            });
          },
          near(px, py, s) {
            const lane = Math.floor((py - s.top) / tall);
            let hit = -1, distance = 4;
            for (let i = 0; i < p.lane.length; i++) {
              if (p.lane[i] !== lane) continue;
              const d = Math.max(s.X(p.start[i]) - px, px - s.X(p.end[i]), 0);
              if (d < distance) { distance = d; hit = i; }
            }
            return hit < 0 ? null : { number: p.number[hit], lines: [...trialLines(p.number[hit]).slice(0, 4),
              `from ${seconds(p.start[hit])} to ${seconds(p.end[hit])}`] };
          },
          at(n, s) {
            const i = p.number.indexOf(n);
            return i < 0 ? null : [(s.X(p.start[i]) + s.X(p.end[i])) / 2, s.top + (p.lane[i] + 0.5) * tall];
          },
        });
      } else {
        const total = p.edges.slice(1).map((_, i) => p.busy.reduce((sum, kind) => sum + kind[i], 0));
        const y = { name: "trials at a time", low: 0, high: Math.max(1e-9, ...total) };
        chart(body, {
          label: "Timeline", height: 220, x, y,
          draw(s) {
            const base = total.map(() => 0);
            kinds.forEach((kind, k) => {
              s.ink.fillStyle = stateColour(kind);
              total.forEach((_, i) => {
                if (!p.busy[k][i]) return;
                const x0 = Math.round(s.X(p.edges[i])), x1 = Math.round(s.X(p.edges[i + 1]));
                const y0 = s.Y(base[i]), y1 = s.Y(base[i] + p.busy[k][i]);
                s.ink.fillRect(x0, y1, Math.max(1, x1 - x0), y0 - y1);
                base[i] += p.busy[k][i];
              });
            });
          },
        });
      }
      body.append(legend(kinds.map((kind, k) => p.busy[k].some(Boolean)
        && [STATES[kind].toLowerCase(), STATES[kind].toLowerCase()])));
    },

    front(host, p) {
      for (const pair of p.pairs) {
        const broken = p.infeasible ? ` ${whole(p.infeasible)} trials break a constraint and can't be on it.` : "";
        const { body } = figure(host, p.pairs.length > 1 ? `Front: objectives ${pair.a} and ${pair.b}` : "Front",
          `${whole(p.onFront)} trials, none of which is better than another in every objective; `
          + `${p.directions[pair.a] === "maximize" ? "right" : "left"} and ${p.directions[pair.b] === "maximize" ? "up" : "down"} `
          + `is better.${broken}${beyond(pair.x)}`);
        const clouds = [{ cloud: pair.infeasible, name: "infeasible" }, { cloud: pair.cloud, name: "complete" }];
        const spots = (s) => p.number.map((n, i) => [s.X(p.values[pair.a][i]), s.Y(p.values[pair.b][i])]);
        chart(body, {
          label: "Front", height: 320, x: pair.x, y: pair.y,
          draw(s) {
            paintCloud(pair.infeasible, s, s.ink, { colour: colour("waiting"), hollow: true });
            paintCloud(pair.cloud, s, s.ink, { colour: colour("complete"), hollow: !pair.cloud.count });
            const found = spots(s);
            if (p.pairs.length === 1) line(s.ink, found, colour("mark"), 1.2, [3, 3]);
            for (const [x, y] of found) {
              s.ink.fillStyle = colour("mark"); s.ink.strokeStyle = colour("card"); s.ink.lineWidth = 1;
              s.ink.beginPath(); s.ink.arc(x, y, 4, 0, 2 * Math.PI); s.ink.fill(); s.ink.stroke();
            }
          },
          near(px, py, s) {
            let hit = null, distance = 12 ** 2;
            spots(s).forEach(([x, y], i) => {
              const d = (x - px) ** 2 + (y - py) ** 2;
              if (d < distance) { distance = d; hit = p.number[i]; }
            });
            return hit === null ? nearest(clouds, px, py, s) : { number: hit, lines: trialLines(hit) };
          },
          at: (n, s) => {
            const row = rowOf.get(n);
            return row === undefined ? null : [s.X(byName.get(pair.xColumn).values[row]), s.Y(byName.get(pair.yColumn).values[row])];
          },
        });
        body.append(legend([["on the front", "mark"], ["complete", "complete", pair.cloud.count ? "" : "hollow"],
          pair.infeasible.size && ["breaks a constraint", "waiting", "hollow"]]));
      }
    },

    hypervolume(host, p) {
      const { body } = figure(host, "Hypervolume", `How much of the space that is better than (${p.reference.map(number).join(", ")}) `
        + "the front dominates.");
      const high = Math.max(1e-300, ...p.volume);
      const x = { name: "trial", low: 0, high: Math.max(1, p.trials - 1), whole: true }, y = { name: "", low: 0, high };
      chart(body, {
        label: "Hypervolume", height: 320, x, y,
        draw(s) { line(s.ink, p.n.map((n, i) => [s.X(n), s.Y(p.volume[i])]), colour("best"), 2); },
        near(px, py, s) {
          let hit = null, distance = 20;
          p.n.forEach((n, i) => { const d = Math.abs(s.X(n) - px); if (d < distance) { distance = d; hit = i; } });
          return hit === null ? null : { lines: [`after trial ${p.n[hit]}: ${number(p.volume[hit])}`] };
        },
      });
    },

    rungs(host, p) {
      const { body } = figure(host, "Rungs", `${p.strategy}: ${p.spent} of resource spent, as much as ${number(+p.full.toPrecision(3))} `
        + "trainings to the end.", true);
      const most = Math.max(1, ...p.rungs.map((rung) => rung.told));
      const head = ["bracket", "resource", "told", "promoted", "", "pruned", "failed", "running", "best", "spent"];
      body.append(el("div", { class: "trials" }, el("table", {},
        el("thead", {}, el("tr", {}, ...head.map((name) => el("th", { css: { padding: "5px 12px" } }, name)))),
        el("tbody", {}, ...p.rungs.map((r) => el("tr", {}, el("td", {}, r.bracket), el("td", {}, r.resource),
          el("td", {}, r.told), el("td", {}, r.promoted), el("td", { css: { minWidth: "160px" } }, el("div", { class: "meter" },
            el("i", { class: "all", css: { width: `${100 * r.told / most}%` } }),
            el("i", { css: { width: `${100 * r.promoted / most}%` } }))),
          el("td", {}, r.pruned), el("td", {}, r.failed), el("td", {}, r.running), el("td", {}, number(r.best)),
          el("td", {}, r.spent)))))));
    },
  };

  function panels(host, p, title, who) {
    const left = p.leftOut.length ? ` Without panels: ${p.leftOut.join(", ")}.` : "";
    const { body } = figure(host, title, `${who}; lines: the median, and the best, of those nearby.${beyond(p.y)}${left}`, true);
    const place = el("div", { class: "panels" });
    body.append(place);
    for (const panel of p.panels) {
      const box = el("div");
      place.append(box);
      const clouds = [{ cloud: panel.cloud, name: "" }];
      chart(box, {
        label: `${title}: ${panel.x.name}`, height: 200, x: panel.x, y: p.y,
        draw(s) {
          paintCloud(panel.cloud, s, s.ink, { colour: colour("complete") });
          const at = (values) => panel.trend.map((x, i) => [s.X(x), s.Y(values[i])]);
          if (panel.x.labels) {
            s.ink.lineWidth = 2.5;
            for (const [values, width, dash] of [[panel.median, 2.5, []], [panel.best, 1.8, [4, 3]]])
              for (const [x, y] of at(values)) line(s.ink, [[x - 12, y], [x + 12, y]], colour("best"), width, dash);
            return;
          }
          for (const [values, dash] of [[panel.median, []], [panel.best, [4, 3]]]) {
            line(s.ink, at(values), colour("card"), 4);
            line(s.ink, at(values), colour("best"), 1.8, dash);
          }
        },
        near: (px, py, s) => nearest(clouds, px, py, s),
        at: (n, s) => spot(clouds, n, s, (row) => [s.X(byName.get(panel.column).values[row]),
          s.Y(byName.get(p.column).values[row])]),
      });
    }
    body.append(legend([["trials", "complete"], ["median", "best", "line"], ["best", "best", "line dashed"]]));
  }
  function trace(points) {
    let on = false, d = "";
    for (const [x, y] of points) {
      if (x === null || y === null) { on = false; continue; }
      d += `${on ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
      on = true;
    }
    return d;
  }
  function colourBar(scale, direction) {
    const canvas = el("canvas", { width: 120, height: 10, css: { width: "120px", height: "10px", borderRadius: "3px" } });
    const paint = () => {
      const ink = canvas.getContext("2d");
      for (let i = 0; i < 120; i++) {
        ink.fillStyle = shade(direction === "maximize" ? i / 119 : 1 - i / 119);
        ink.fillRect(i, 0, 1, 10);
      }
    };
    paint();
    charts.push({ paint, mark() {} });
    return el("div", { class: "legend", css: { alignItems: "center" } }, el("span", {}, number(+scale.low.toPrecision(4))), canvas,
      el("span", {}, number(+scale.high.toPrecision(4))), el("span", {}, scale.name));
  }

  // --- the table of trials

  function table(host) {
    const size = 25;
    let sort = data.trials.sort, down = false, page = 0, rows = [];
    const head = el("tr"), body = el("tbody"), count = el("span", { class: "soft" });
    const states = el("select", { "aria-label": "state", onchange: again }, el("option", { value: "" }, "all states"),
      ...STATES.map((name, i) => [name, i]).filter(([, i]) => byName.get("state").values.includes(i))
        .map(([name, i]) => el("option", { value: i }, name.toLowerCase())));
    const filter = el("input", { type: "search", "aria-label": "filter", oninput: again,
      placeholder: "filter, such as  value < 0.1; " + short(columns[Math.min(4, columns.length - 1)].title, 20) + " >= 3" });
    const back = el("button", { onclick: () => { page--; show(); } }, "\u2190 previous");
    const next = el("button", { onclick: () => { page++; show(); } }, "next \u2192");
    const key = (column, row) => {
      const value = column.values[row];
      if (value === "Infinity") return Infinity;
      if (value === "-Infinity") return -Infinity;
      return value === null || value === undefined ? NaN : value;
    };
    function test(term) {
      const text = term.trim();
      if (!text) return () => true;
      for (const column of [...columns].sort((a, b) => b.title.length - a.title.length)) {
        const found = text.toLowerCase().startsWith(column.title.toLowerCase())
          && text.slice(column.title.length).match(/^\s*(<=|>=|!=|==|=|<|>|~)\s*(.*)$/);
        if (!found) continue;
        const [, sign, wanted] = found, limit = Number(wanted);
        if (!column.labels && sign !== "~" && (wanted.trim() === "" || Number.isNaN(limit))) return null;
        return (row) => {
          const value = key(column, row), words = cell(column, row).toLowerCase();
          if (words === "") return false;
          if (sign === "~") return words.includes(wanted.toLowerCase());
          if (column.labels) return (words === wanted.toLowerCase()) === (sign !== "!=");
          return sign === "<" ? value < limit : sign === ">" ? value > limit : sign === "<=" ? value <= limit
            : sign === ">=" ? value >= limit : (value === limit) === (sign !== "!=");
        };
      }
      return (row) => columns.some((column) => cell(column, row).toLowerCase().includes(text.toLowerCase()));
    }
    function again() {
      const tests = filter.value.split(";").map(test);
      filter.classList.toggle("wrong", tests.includes(null));
      const good = tests.filter(Boolean), state = states.value === "" ? null : +states.value;
      const column = columns[Math.abs(sort)], all = byName.get("state").values;
      rows = columns[0].values.map((_, row) => row)
        .filter((row) => (state === null || all[row] === state) && good.every((one) => one(row)));
      const sign = down ? -1 : 1;
      rows.sort((a, b) => {
        const x = key(column, a), y = key(column, b), noX = x !== x, noY = y !== y;
        return noX || noY ? noX - noY || a - b : x < y ? -sign : x > y ? sign : a - b;
      });
      page = 0;
      show();
    }
    function show() {
      const pages = Math.max(1, Math.ceil(rows.length / size));
      page = Math.min(Math.max(page, 0), pages - 1);
      head.replaceChildren(...columns.map((column, j) => el("th", { class: column.labels ? "text" : "",
        "aria-sort": j === sort ? (down ? "descending" : "ascending") : "none" },
        el("button", { title: column.title, onclick: () => { down = j === sort ? !down : false; sort = j; again(); } },
          column.title))));
      body.replaceChildren(...rows.slice(page * size, (page + 1) * size).map((row) => {
        const n = columns[0].values[row];
        return el("tr", { class: n === chosen ? "chosen" : "", tabindex: "0", "data-number": n, onclick: () => choose(n),
          onkeydown: (event) => { if (event.key === "Enter") choose(n); } },
          ...columns.map((column) => {
            const text = cell(column, row);
            const mark = column.name === "state" ? el("i", { class: "state",
              css: { background: `var(--${text.toLowerCase()})` } }) : null;
            return el("td", { class: column.labels ? "text" : "", title: text.length > 30 ? text : null }, mark,
              column.name === "state" ? text.toLowerCase() : text);
          }));
      }));
      count.textContent = `${whole(rows.length ? page * size + 1 : 0)}\u2013${whole(Math.min(rows.length, (page + 1) * size))} of ${whole(rows.length)}`;
      back.disabled = page === 0;
      next.disabled = page === pages - 1;
    }
    document.addEventListener("chosen", () => {
      for (const row of body.children) row.classList.toggle("chosen", +row.dataset.number === chosen);
    });
    host.append(el("div", { class: "card" }, data.trials.note ? el("p", { class: "note" }, data.trials.note) : null,
      el("div", { class: "tools" }, states, filter, count, back, next),
      el("div", { class: "trials" }, el("table", { id: "trials" }, el("thead", {}, head), body))));
    down = data.trials.down;
    again();
  }

  // --- the page

  const main = document.querySelector("main"), links = document.querySelector("nav div");
  function section(id, title) {
    links.append(el("a", { href: `#${id}` }, title));
    const made = el("section", { id }, el("h2", {}, title));
    main.append(made);
    return made;
  }
  const tiles = el("div", { class: "tiles" }, ...data.tiles.map(([name, value, state]) => el("div", { class: "tile" },
    el("b", {}, value), el("span", {}, state ? el("i", { css: { background: `var(--${state})` } }) : null, name))));
  main.append(tiles);
  document.getElementById("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    repaint();
  });

  const found = section("result", "Result");
  if (data.gains) found.append(el("p", { class: "soft" }, data.gains));
  const results = el("div", { class: "grid" });
  found.append(results);
  for (const best of data.best) {
    const box = el("div", { class: "card" }, el("div", { class: "cardhead" }, el("h3", {}, best.title),
      el("button", { onclick: () => choose(best.number) }, `show trial ${best.number}`)), pairs(best.pairs));
    results.append(box);
  }
  if (data.front && data.front.rows.length) {
    const box = el("div", { class: "card" }, el("h3", {}, "On the front"), el("p", { class: "note" }, data.front.note));
    box.append(el("div", { class: "trials", css: { maxHeight: "330px", overflow: "auto" } }, el("table", {},
      el("thead", {}, el("tr", {}, ...["trial", ...data.front.head].map((name) => el("th", { css: { padding: "5px 12px" } }, name)))),
      el("tbody", {}, ...data.front.rows.map((row) => el("tr", { tabindex: "0", onclick: () => choose(row[0]),
        onkeydown: (event) => { if (event.key === "Enter") choose(row[0]); } },
        ...row.map((value) => el("td", {}, number(value)))))))));
    results.append(box);
  } else if (!data.best.length) results.append(el("div", { class: "card" }, el("p", {}, data.nothing)));
  const objectives = data.pictures.objectives;
  function show(pictures, groups, place) {
    for (const names of groups) {
      const host = el("div", { class: "grid" });
      place.append(host);
      for (const name of names) if (pictures[name]) draw[name](host, pictures[name]);
      if (!host.children.length) host.remove();
    }
  }
  if (objectives.length === 1 && objectives[0].pictures.importance)
    draw.importance(results, objectives[0].pictures.importance);
  if (objectives.length) {
    const place = section("pictures", "Pictures"), own = el("div");
    show(data.pictures.study, [["front", "hypervolume"]], place);
    const groups = [["history"], objectives.length > 1 ? ["importance", "contour", "edf"] : ["curves", "contour", "edf"],
      ["slices", "parallel"]];
    const first = charts.length;
    let drawn = 0;
    const pick = el("select", { "aria-label": "objective", onchange: which }, ...objectives.map((one, k) =>
      el("option", { value: k }, `${one.name} (${one.direction})`)));
    function which() { // the charts of the objective before make room for those of this one
      charts.splice(first, drawn);
      const later = charts.splice(first);
      own.replaceChildren();
      show(objectives[+pick.value].pictures, groups, own);
      drawn = charts.length - first;
      charts.push(...later);
    }
    if (objectives.length > 1) place.append(el("p", { css: { marginTop: "18px" } }, "Pictures of ", pick));
    place.append(own);
    which();
    const rest = el("div", { css: { marginTop: "14px" } });
    place.append(rest);
    show(data.pictures.study, [["rungs", "timeline", "durations"]], rest);
  }
  if (columns[0].values.length) table(section("all", "Trials"));
  if (data.failures.groups.length) {
    const host = section("failures", "Failures");
    const box = el("div", { class: "card" }, el("p", { class: "note" }, data.failures.note));
    for (const group of data.failures.groups) box.append(el("details", { class: "failure" },
      el("summary", {}, el("b", {}, `${whole(group.count)}\u00d7`), el("span", {}, group.reason)),
      el("p", { class: "note" }, group.words), el("pre", {}, group.error)));
    host.append(box);
  }
  const space = section("space", "Search space");
  space.append(el("div", { class: "card" }, el("div", { class: "trials" }, el("table", {}, el("thead", {}, el("tr", {},
    ...["parameter", "kind", "values", "active when"].map((name) => el("th", { class: "text", css: { padding: "5px 12px" } }, name)))),
    el("tbody", {}, ...data.space.map((row) => el("tr", {}, ...row.map((text) =>
      el("td", { class: "text", css: { whiteSpace: "normal", maxWidth: "none" } }, text)))))))));
  const made = section("configuration", "Configuration");
  const sheets = el("div", { class: "grid" });
  made.append(sheets);
  for (const [title, list] of data.configuration)
    if (list.length) sheets.append(el("div", { class: "card" }, el("h3", {}, title), pairs(list)));
  document.body.dataset.ready = "yes";
})();
