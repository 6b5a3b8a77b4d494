// The page of `fastv explore`: a scatter of codes, the chosen shower in 3D beside another, walks along dimensions.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);

  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name in made) made[name] = value;
      else made.setAttribute(name, value);
    }
    made.append(...children);
    return made;
  }

  function svg(tag, attributes = {}, ...children) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  const short = (value, digits = 3) => Number.isFinite(value) ? String(Number(value.toPrecision(digits))) : "–";

  function formatMeV(energy) {
    const [unit, factor] = energy >= 1e6 ? ["TeV", 1e6] : energy >= 1e3 ? ["GeV", 1e3] : ["MeV", 1];
    return `${short(energy / factor)} ${unit}`;
  }

  const withUnit = (variable, value) => variable.classes.length ? variable.classes[value]
    : variable.unit === "MeV" ? formatMeV(value) : `${short(value)}${variable.unit && " "}${variable.unit}`.replace(" °", "°");

  const titled = (axis) => axis.name + (axis.unit && axis.unit !== "MeV" ? ` [${axis.unit}]` : "");

  // Marks of an axis: where, and what to write there; energies have their units beside them.
  function marks(axis, low, high, count) {
    const found = (axis.log ? logTicks : ticks)(low, high, count);
    return axis.unit === "MeV" ? found.map(([at]) => [at, formatMeV(axis.log ? 10 ** at : at)]) : found;
  }

  // Up to `count` round numbers in a range.
  function ticks(low, high, count) {
    const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((k) => k * power).find((s) => s >= rough);
    const found = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high * (1 + 1e-12) + 1e-9 * step; k++) found.push([k * step, short(k * step)]);
    return found;
  }

  // The same of logarithms, labelled by the numbers themselves.
  function logTicks(low, high, count) {
    if (high - low < 0.7) return ticks(10 ** low, 10 ** high, count).map(([value, label]) => [Math.log10(value), label]);
    const digits = high - low > 2.5 ? [1] : high - low > 1.3 ? [1, 3] : [1, 2, 5], found = [];
    for (let power = Math.floor(low); power <= high; power++) {
      for (const digit of digits) {
        const at = power + Math.log10(digit);
        if (at >= low && at <= high) found.push([at, short(digit * 10 ** power)]);
      }
    }
    return found;
  }

  async function unpacked(text) {
    const stored = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const stream = new Blob([stored]).stream().pipeThrough(new DecompressionStream("deflate"));
    const bytes = await new Response(stream).arrayBuffer();
    const length = new DataView(bytes).getUint32(0, true);
    const data = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 4, length)));
    const kinds = { f4: Float32Array, u4: Uint32Array, u2: Uint16Array, u1: Uint8Array };
    for (const [name, [kind, start, size]] of Object.entries(data.arrays)) {
      data.arrays[name] = new kinds[kind](bytes, 4 + length + start, size);
    }
    return data;
  }

  class Explorer {
    constructor(data, view) {
      this.data = data;
      this.view = view;
      this.mesh = view.data.panels[0];
      const { arrays } = data;
      this.count = data.names.length;
      this.size = data.dimensions.length;
      this.near = arrays.neighbours.length / this.count;
      this.hits = this.starts(arrays.hits, arrays.gaps);
      this.walkStarts = [];
      let from = this.count * (data.reconstructed ? 2 : 1);
      for (const walk of data.walks) {
        this.walkStarts.push(from);
        from += walk.steps.length;
      }
      this.axes = this.columns();
      this.chosen = 0;
      this.beside = null;
      this.build();
      this.choose(data.walks.length ? Number(byId("start").value) : 0);
    }

    // Where the hits of each shower start, and its gaps.
    starts(counts, gaps) {
      const found = [];
      let hit = 0, gap = 0;
      for (const count of counts) {
        found.push([hit, gap]);
        for (let k = 0; k < count; k++) {
          while (gaps[gap] === 255) gap++;
          gap++;
        }
        hit += count;
      }
      return found;
    }

    // Voxels and energies in MeV of one of all showers of the page: true ones, reconstructed ones, walked ones.
    shower(number) {
      const { hits, gaps, levels, lowest, highest, sums } = this.data.arrays, count = hits[number];
      const voxels = new Uint32Array(count), energies = new Float32Array(count);
      let [hit, gap] = this.hits[number], voxel = -1, sum = 0;
      const width = Math.log(highest[number] / lowest[number]) / 255;
      for (let k = 0; k < count; k++) {
        voxel++;
        for (; gaps[gap] === 255; gap++) voxel += 255;
        voxel += gaps[gap++];
        voxels[k] = voxel;
        sum += energies[k] = lowest[number] * Math.exp(width * levels[hit + k]);
      }
      for (let k = 0; k < count; k++) energies[k] *= sums[number] / sum;
      return { voxels, energies };
    }

    // What can be an axis: principal components and dimensions of the code, and quantities of the showers.
    columns() {
      const { arrays, dimensions, variables, shares } = this.data, n = this.count, found = [];
      const add = (group, name, of, more = {}) => found.push({ group, name, classes: [], unit: "", log: false, ...more,
        values: Float64Array.from({ length: n }, (_, i) => of(i)) });
      dimensions.forEach((one, d) => add("dimensions", one.name, (i) => arrays.codes[i * this.size + d], { dimension: d }));
      shares.forEach((share, c) => add("principal components of the code", `component ${c + 1}, ${short(100 * share)} % of the variance`,
        (i) => arrays.scores[c * n + i], { weights: arrays.weights.subarray(c * this.size, (c + 1) * this.size) }));
      variables.forEach((one, v) => add("showers", one.name, (i) => arrays.variables[v * n + i], { ...one }));
      return found;
    }

    get quantities() { return this.axes.filter((axis) => axis.group === "showers"); }

    // The numbers of an axis as they are drawn, which are logarithms of some.
    drawn(axis) { return axis.log ? axis.values.map(Math.log10) : axis.values; }

    build() {
      const options = (select, axes, chosen) => {
        const groups = new Map();
        axes.forEach((axis, k) => {
          if (!groups.has(axis.group)) groups.set(axis.group, element("optgroup", { label: axis.group }));
          groups.get(axis.group).append(element("option", { value: k, textContent: axis.name }));
        });
        select.replaceChildren(...groups.values());
        select.value = chosen;
      };
      const numbers = this.axes.filter((axis) => !axis.classes.length);
      // Bits have two places only; their components have more.
      const first = this.data.bits ? Math.max(0, numbers.findIndex((axis) => axis.weights)) : 0;
      options(byId("x"), numbers, first);
      options(byId("y"), numbers, Math.min(first + 1, numbers.length - 1));
      options(byId("colour"), this.quantities, 0);
      this.numbers = numbers;
      for (const id of ["x", "y", "colour"]) byId(id).onchange = () => this.draw();
      byId("shower").append(...this.data.names.map((name, i) => element("option",
        { value: i, textContent: `${name}: ${this.data.headings[i]}` })));
      byId("shower").onchange = () => this.choose(Number(byId("shower").value));
      this.canvas = byId("scatter");
      this.canvas.onpointermove = (event) => this.point(event.offsetX, event.offsetY);
      this.canvas.onpointerleave = () => { byId("tip").hidden = true; };
      this.canvas.onclick = (event) => {
        const found = this.at(event.offsetX, event.offsetY);
        if (found !== null) this.choose(found);
      };
      this.canvas.onkeydown = (event) => {
        const way = { ArrowRight: ["x", 1], ArrowLeft: ["x", -1], ArrowUp: ["y", 1], ArrowDown: ["y", -1] }[event.key];
        if (!way) return;
        event.preventDefault();
        this.stepTo(...way);
      };
      new ResizeObserver(() => this.draw()).observe(this.canvas);
      let width = byId("profiles").clientWidth;
      new ResizeObserver(() => {
        if (byId("profiles").clientWidth === width) return;
        width = byId("profiles").clientWidth;
        this.profiles();
      }).observe(byId("profiles"));
      if (byId("sliders")) this.buildWalks();
      byId("fixed").onchange = () => this.table();
      this.all = this.size <= 16;
      byId("more").hidden = this.all;
      byId("more").onclick = () => {
        this.all = !this.all;
        this.table();
      };
      this.table();
    }

    // ------------------------------------------------------------------------------------------------ the scatter

    axis(id) { return id === "colour" ? this.quantities[byId(id).value] : this.numbers[byId(id).value]; }

    range(values) {
      let low = Infinity, high = -Infinity;
      for (const value of values) if (Number.isFinite(value)) [low, high] = [Math.min(low, value), Math.max(high, value)];
      if (low > high) return [0, 1];
      return low === high ? [low - 0.5, high + 0.5] : [low, high];
    }

    colourOf(axis) {
      const { scale, colours } = this.data;
      if (axis.classes.length) return (i) => colours[axis.values[i] % colours.length];
      const values = this.drawn(axis), [low, high] = this.range(values);
      return (i) => Number.isFinite(values[i]) ? scale[Math.round(63 * (values[i] - low) / (high - low))] : "#bbb";
    }

    draw() {
      const { canvas } = this, width = canvas.clientWidth, height = canvas.clientHeight;
      if (!width || !height) return;
      const ratio = Math.min(window.devicePixelRatio || 1, 3);
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      const c = canvas.getContext("2d");
      c.scale(ratio, ratio);
      c.clearRect(0, 0, width, height);
      const x = this.axis("x"), y = this.axis("y"), colour = this.axis("colour");
      const box = { left: 52, right: width - 8, top: 8, bottom: height - 42 };
      const scaled = (axis, from, to) => {
        const values = this.drawn(axis), [low, high] = this.range(values), room = 0.04 * (high - low);
        const place = (value) => from + (value - low + room) / (high - low + 2 * room) * (to - from);
        return { values, place, low: low - room, high: high + room };
      };
      const sx = scaled(x, box.left, box.right), sy = scaled(y, box.bottom, box.top);
      this.places = Array.from({ length: this.count }, (_, i) => [sx.place(sx.values[i]), sy.place(sy.values[i])]);
      c.font = "12px system-ui, sans-serif";
      c.strokeStyle = "#e3e3e3";
      c.fillStyle = "#333";
      c.textAlign = "center";
      c.textBaseline = "top";
      for (const [value, label] of marks(x, sx.low, sx.high, Math.max(2, width / 80))) {
        line(c, sx.place(value), box.top, sx.place(value), box.bottom);
        c.fillText(label, sx.place(value), box.bottom + 5);
      }
      c.textAlign = "right";
      c.textBaseline = "middle";
      for (const [value, label] of marks(y, sy.low, sy.high, Math.max(2, height / 60))) {
        line(c, box.left, sy.place(value), box.right, sy.place(value));
        c.fillText(label, box.left - 5, sy.place(value));
      }
      c.strokeStyle = "#8a939c";
      c.strokeRect(box.left, box.top, box.right - box.left, box.bottom - box.top);
      c.textAlign = "center";
      c.textBaseline = "bottom";
      c.fillText(titled(x), (box.left + box.right) / 2, height - 4);
      c.save();
      c.translate(11, (box.top + box.bottom) / 2);
      c.rotate(-Math.PI / 2);
      c.textBaseline = "middle";
      c.fillText(titled(y), 0, 0);
      c.restore();
      const of = this.colourOf(colour), radius = this.count > 1500 ? 2.4 : 3.6;
      this.places.forEach((place, i) => {
        c.fillStyle = of(i);
        mark(c, ...place, radius, colour.classes.length ? colour.values[i] : 0);
      });
      for (const i of this.neighboursOf(this.chosen)) ring(c, this.places[i], 6.5, "#d55e00", 2.2);
      if (this.beside?.kind === "neighbour") ring(c, this.places[this.beside.number], 9.5, "#d55e00", 2.2);
      ring(c, this.places[this.chosen], 9, "#fff", 5);
      ring(c, this.places[this.chosen], 9, "#000", 2.4);
      this.walked = null;
      if (this.beside?.kind === "walk") {
        const at = [this.alongWalk(x), this.alongWalk(y)];
        if (!at.includes(null)) {
          this.walked = [sx.place(at[0]), sy.place(at[1])];
          c.lineWidth = 2.4;
          c.strokeStyle = "#1b6ca8";
          c.strokeRect(this.walked[0] - 7, this.walked[1] - 7, 14, 14);
        }
      }
      canvas.setAttribute("aria-label", `Scatter of ${this.count} showers: ${titled(x)} and ${titled(y)}, coloured by ${titled(colour)}`);
      this.legend(colour);
    }

    // Where a walk is on an axis; null on one that is no matter of the code.
    alongWalk(axis) {
      if (axis.group === "showers") return null;
      const { arrays, walks, bits } = this.data, { walk, step } = this.beside, { row, dimension, steps } = walks[walk];
      const moved = bits ? steps[step] - arrays.codes[row * this.size + dimension] : steps[step] * arrays.spreads[dimension];
      return axis.values[row] + moved * (axis.weights ? axis.weights[dimension] : Number(axis.dimension === dimension));
    }

    legend(axis) {
      const legend = byId("legend");
      if (axis.classes.length) {
        legend.replaceChildren(...axis.classes.flatMap((name, k) => {
          const canvas = element("canvas", { width: 28, height: 28 });
          canvas.style.cssText = "width:14px;height:14px;vertical-align:middle;margin-right:.3em";
          const c = canvas.getContext("2d");
          c.fillStyle = this.data.colours[k % this.data.colours.length];
          mark(c, 14, 14, 9, k);
          return [element("span", { className: "class" }, canvas, name), " "];
        }));
        return;
      }
      const [low, high] = this.range(this.drawn(axis)), bar = element("div", { className: "bar" });
      bar.style.background = `linear-gradient(to right, ${this.data.scale.join(", ")})`;
      const row = element("div", { className: "ticks" });
      for (const [value, label] of marks(axis, low, high, 5)) {
        const tick = element("span", { textContent: label });
        tick.style.left = `${100 * (value - low) / (high - low)}%`;
        row.append(tick);
      }
      legend.replaceChildren(element("div", { textContent: titled(axis) }), bar, row);
    }

    // The shower whose point is nearest to a place on the canvas, if it is near.
    at(x, y) {
      let best = null, least = 20;
      this.places?.forEach((place, i) => {
        const away = Math.hypot(place[0] - x, place[1] - y);
        if (away < least) [best, least] = [i, away];
      });
      return best;
    }

    point(x, y) {
      const tip = byId("tip"), found = this.at(x, y);
      tip.hidden = found === null;
      if (found === null) return;
      const colour = this.axis("colour");
      tip.textContent = `${this.data.names[found]}\n${this.data.headings[found]}` +
        (colour.name === "incident energy" ? "" : `\n${colour.name} ${withUnit(colour, colour.values[found])}`);
      const [px, py] = this.places[found], width = this.canvas.clientWidth;
      tip.style.left = `${Math.max(0, Math.min(px + 12, width - tip.offsetWidth))}px`;
      tip.style.top = `${py > 90 ? py - tip.offsetHeight - 10 : py + 14}px`;
    }

    // The next shower along an axis.
    stepTo(id, by) {
      const values = this.drawn(this.axis(id));
      const order = Array.from(values.keys()).sort((a, b) => values[a] - values[b] || a - b);
      const next = order[order.indexOf(this.chosen) + by];
      if (next !== undefined) this.choose(next);
    }

    // ------------------------------------------------------------------------------------------- showers, side by side

    neighboursOf(i) { return Array.from(this.data.arrays.neighbours.subarray(i * this.near, (i + 1) * this.near)); }

    // Choose a shower; beside it is its reconstruction, or its nearest neighbour where there is none.
    choose(i) {
      this.chosen = i;
      byId("shower").value = i;
      this.resetSliders();
      this.compare(this.data.reconstructed ? { kind: "reconstruction" } : { kind: "neighbour", number: this.neighboursOf(i)[0] });
      this.listNeighbours();
    }

    // Show something beside the chosen shower: {kind: "reconstruction"}, {kind: "neighbour", number} or
    // {kind: "walk", walk, step}.
    compare(beside) {
      this.beside = beside;
      const { data, chosen } = this, name = data.names[chosen];
      let own = chosen, ownTitle = name, number, title, heading = data.headings[chosen];
      if (beside.kind === "reconstruction") {
        number = this.count + chosen;
        title = `${name}, reconstructed`;
      } else if (beside.kind === "neighbour") {
        ({ number } = beside);
        title = data.names[number];
        heading = data.headings[number];
      } else {
        const { dimension, steps } = data.walks[beside.walk], step = steps[beside.step];
        number = this.walkStarts[beside.walk] + beside.step;
        own = this.count + chosen;  // so that what differs is the walk's doing
        ownTitle = `${name}, reconstructed`;
        title = `decoded: ${data.dimensions[dimension].name} ` + (data.bits ? `is ${step}` : signed(step));
      }
      this.pair = [this.shower(own), this.shower(number)];
      this.titles = [ownTitle, title];
      const of = (k, at) => ({ heading: k ? heading : data.headings[chosen], facts: data.facts[at], ...this.pair[k] });
      this.view.put([of(0, own), of(1, number)], this.titles, colourRange(this.pair.map((one) => one.energies)));
      this.profiles();
      this.draw();
      this.tell();
      for (const row of byId("neighbours").rows) {
        row.querySelector("button")?.setAttribute("aria-pressed", String(beside.kind === "neighbour" && Number(row.dataset.number) === beside.number));
      }
    }

    tell() {
      const { chosen } = this, parts = [this.data.names[chosen], this.data.headings[chosen]];
      for (const one of this.quantities) {
        if (["layer of maximum", "reconstruction error", "E_tot/E_inc"].includes(one.name)) {
          parts.push(`${one.name} ${withUnit(one, one.values[chosen])}`);
        }
      }
      const beside = this.beside.kind === "walk" ? `; ${this.titles[1]}: ${this.data.facts[this.walkStarts[this.beside.walk] + this.beside.step]}` : "";
      byId("told").textContent = parts.join(", ") + beside;
    }

    listNeighbours() {
      const shown = this.quantities.filter((one) => ["incident energy", "theta", "particle", "layer of maximum",
        "reconstruction error"].includes(one.name));
      const head = element("tr", {}, ...["", "", "distance", ...shown.map((one) => one.name.replace("reconstruction ", ""))].map((words) => element("th",
        { textContent: words, scope: "col" })));
      const rows = this.neighboursOf(this.chosen).map((i, k) => {
        const row = element("tr", {},
          element("td", {}, element("button", { type: "button", textContent: this.data.names[i],
            title: "show beside the chosen shower", onclick: () => {
              this.resetSliders();
              this.compare({ kind: "neighbour", number: i });
            } })),
          element("td", {}, element("button", { type: "button", textContent: "choose", ariaLabel: `choose ${this.data.names[i]}`,
            onclick: () => this.choose(i) })),
          element("td", { textContent: this.data.bits ? String(Math.round(this.data.arrays.distances[this.chosen * this.near + k] ** 2))
            : short(this.data.arrays.distances[this.chosen * this.near + k]) }),
          ...shown.map((one) => element("td", { textContent: withUnit(one, one.values[i]) })));
        row.dataset.number = i;
        return row;
      });
      if (this.data.reconstructed) {
        const row = element("tr", {}, element("td", { colSpan: 3 + shown.length }, element("button", { type: "button",
          textContent: "its reconstruction", onclick: () => {
            this.resetSliders();
            this.compare({ kind: "reconstruction" });
          } })));
        rows.push(row);
      }
      byId("neighbours").replaceChildren(element("thead", {}, head), element("tbody", {}, ...rows));
      const number = this.beside.kind === "neighbour" ? this.beside.number : null;
      for (const row of rows) if (row.dataset.number) row.querySelector("button").setAttribute("aria-pressed", String(Number(row.dataset.number) === number));
    }

    // ----------------------------------------------------------------------------------------------------- profiles

    rings() {
      if (!this.ringEdges) {
        const all = this.mesh.layers.flatMap(([, edges]) => edges);
        this.ringEdges = [...new Set(all)].sort((a, b) => a - b);
      }
      return this.ringEdges;
    }

    // Energies of layers and of rings in MeV; a voxel that covers several rings is shared among them by their width.
    profileOf({ voxels, energies }) {
      const scene = this.view.scenes[0], edges = this.rings();
      const layers = new Float64Array(this.mesh.layers.length), rings = new Float64Array(edges.length - 1);
      voxels.forEach((voxel, k) => {
        const { layer, r } = scene.cell(voxel);
        layers[layer] += energies[k];
        for (let i = edges.indexOf(r[0]); edges[i] < r[1]; i++) {
          rings[i] += energies[k] * (edges[i + 1] - edges[i]) / (r[1] - r[0]);
        }
      });
      return { layers, rings };
    }

    profiles() {
      const [one, other] = this.pair.map((shower) => this.profileOf(shower));
      this.shownProfiles = [one, other];
      const densities = (p) => p.rings.map((e, i) => e / (this.rings()[i + 1] - this.rings()[i]));
      byId("profiles").replaceChildren(
        this.chart("energy of layers [MeV]", this.mesh.depthName, this.mesh.z, one.layers, other.layers, false),
        this.chart("dE/dr [MeV/mm]", "r [mm]", this.rings(), densities(one), densities(other), true),
        element("div", { className: "legend" },
          element("span", { className: "legend-first", textContent: `— ${this.titles[0]}` }), " ",
          element("span", { className: "legend-second", textContent: `- - ${this.titles[1]}` })));
    }

    chart(title, xName, edges, first, second, log) {
      const width = Math.max(150, Math.floor((byId("profiles").clientWidth - 16) / 2)), height = width < 250 ? 140 : 170;
      const left = 40, right = width - 6, top = 20, bottom = height - 32;
      const positive = [...first, ...second].filter((value) => value > 0), high = Math.max(...positive, 0) || 1;
      const low = Math.max(Math.min(...positive, high), high * 1e-5);
      const from = log ? Math.log10(low) - 0.1 : 0, to = log ? Math.log10(high) + 0.1 : 1.05 * high;
      const px = (v) => left + (v - edges[0]) / (edges.at(-1) - edges[0]) * (right - left);
      const py = (v) => bottom - (v - from) / (to - from) * (bottom - top);
      // Steps; nothing where there is no energy on a logarithmic scale.
      const path = (values) => {
        let words = "", on = false;
        values.forEach((value, i) => {
          const there = !log || value >= low;
          if (there) {
            const y = py(log ? Math.log10(value) : value).toFixed(1);
            words += `${on ? "L" : "M"}${px(edges[i]).toFixed(1)} ${y}H${px(edges[i + 1]).toFixed(1)}`;
          }
          on = there;
        });
        return words;
      };
      const text = (x, y, words, anchor) => {
        const made = svg("text", { x, y, "text-anchor": anchor });
        made.textContent = words;
        return made;
      };
      const axis = [svg("line", { x1: left, y1: bottom, x2: right, y2: bottom }), svg("line", { x1: left, y1: top, x2: left, y2: bottom })];
      for (const [value, label] of ticks(edges[0], edges.at(-1), width / 60)) axis.push(text(px(value), bottom + 13, label, "middle"));
      for (const [value, label] of (log ? logTicks : ticks)(from, to, 4)) axis.push(text(left - 4, py(value) + 4, label, "end"));
      axis.push(text(right, bottom + 27, xName, "end"), text(2, 11, title, "start"));
      return svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img",
        "aria-label": `${title} of ${this.titles[0]} and of ${this.titles[1]}` }, ...axis,
        svg("path", { class: "first", d: path(first) }), svg("path", { class: "second", d: path(second) }));
    }

    // -------------------------------------------------------------------------------------------------------- walks

    buildWalks() {
      const { data } = this, rows = [...new Set(data.walks.map((walk) => walk.row))];
      byId("start").append(...rows.map((row) => element("option", { value: row,
        textContent: `${data.names[row]}: ${data.headings[row]}` })));
      byId("start").value = rows[rows.length >> 1];
      byId("start").onchange = () => this.choose(Number(byId("start").value));
      byId("home").onclick = () => this.choose(Number(byId("start").value));
      const dimensions = [...new Set(data.walks.map((walk) => walk.dimension))];
      this.sliders = new Map(dimensions.map((dimension) => {
        const one = data.dimensions[dimension], { steps } = data.walks.find((walk) => walk.dimension === dimension);
        const input = element("input", { type: "range", min: 0, max: steps.length - 1, step: 1, ariaLabel: one.name,
          oninput: () => this.walk(dimension, input.valueAsNumber) });
        const output = element("output"), row = element("div", { className: "slider" });
        const about = [];
        if (one.kl !== null) about.push(`KL ${short(one.kl)}`);
        if (one.strongest) about.push(`${one.strongest[0]} ${one.strongest[1].toFixed(2)}`);
        row.append(element("span", { textContent: one.name }), input, output, element("small", { textContent: about.join("; ") }));
        byId("sliders").append(row);
        return [dimension, { input, output, row }];
      }));
      this.resetSliders();
    }

    // The slider of a dimension at the code of the shower that walks start from.
    resetSliders() {
      if (!this.sliders) return;
      const row = Number(byId("start").value), { arrays, bits, walks } = this.data;
      for (const [dimension, { input, output, row: line }] of this.sliders) {
        const { steps } = walks.find((walk) => walk.dimension === dimension);
        const at = bits ? arrays.codes[row * this.size + dimension] : steps.indexOf(0);
        input.value = at;
        output.textContent = this.words(steps[at]);
        input.setAttribute("aria-valuetext", output.textContent);
        line.classList.remove("moved");
      }
    }

    words(step) { return this.data.bits ? `bit ${step}` : signed(step); }

    // Decode the code of the shower that walks start from, with one dimension moved to a step.
    walk(dimension, step) {
      const row = Number(byId("start").value), { walks } = this.data;
      const walk = walks.findIndex((one) => one.row === row && one.dimension === dimension);
      const other = this.chosen !== row;
      this.chosen = row;
      byId("shower").value = row;
      this.resetSliders();
      const { input, output, row: line } = this.sliders.get(dimension);
      input.value = step;
      output.textContent = this.words(walks[walk].steps[step]);
      input.setAttribute("aria-valuetext", output.textContent);
      line.classList.add("moved");
      this.compare({ kind: "walk", walk, step });
      if (other) this.listNeighbours();
    }

    // ---------------------------------------------------------------------------------------------------- dimensions

    table() {
      const { dimensions, correlated } = this.data, fixed = byId("fixed").checked;
      const posterior = dimensions.some((one) => one.kl !== null), effect = dimensions.some((one) => one.effect !== null);
      const head = ["", ...(posterior ? ["KL", "active"] : []), "variance", ...(effect ? ["effect"] : []), ...correlated];
      const shown = this.all ? dimensions : dimensions.slice(0, 16);
      const rows = shown.map((one) => {
        const cell = (words) => element("td", { textContent: words });
        const values = fixed ? one.atEnergy : one.correlations;  // with the energy itself they are the same
        const number = (value) => value === null ? "–" : short(value);
        return element("tr", {}, element("th", { textContent: one.name, scope: "row" }),
          ...(posterior ? [cell(number(one.kl)), cell(one.active === null ? "–" : one.active ? "yes" : "no")] : []),
          cell(number(one.variance)), ...(effect ? [cell(number(one.effect))] : []),
          ...values.map((value) => {
            const made = cell(value === null ? "–" : value.toFixed(2).replace(/^-(0\.00)$/, "$1"));
            if (value !== null) made.style.background = tint(value);
            if (value !== null && Math.abs(value) > 0.5) made.style.fontWeight = 600;
            return made;
          }));
      });
      byId("table").replaceChildren(element("thead", {}, element("tr", {}, ...head.map((words) => element("th",
        { textContent: words, scope: "col" })))), element("tbody", {}, ...rows));
      byId("more").textContent = this.all ? "the first 16 only" : `all ${dimensions.length} dimensions`;
    }
  }

  const signed = (step) => `${step > 0 ? "+" : step < 0 ? "−" : ""}${Math.abs(step)} σ`;

  // Blue of negative, red of positive correlations, on white at none.
  function tint(value) {
    const [r, g, b] = value < 0 ? [67, 147, 195] : [214, 96, 77], part = Math.abs(value) * 0.75;
    return `rgb(${[r, g, b].map((c) => Math.round(255 + (c - 255) * part)).join(" ")})`;
  }

  function line(c, x1, y1, x2, y2) {
    c.lineWidth = 1;
    c.beginPath();
    c.moveTo(x1, y1);
    c.lineTo(x2, y2);
    c.stroke();
  }

  // A point of a class: circle, square, triangle or diamond.
  function mark(c, x, y, r, shape) {
    c.beginPath();
    if (shape % 4 === 0) c.arc(x, y, r, 0, 2 * Math.PI);
    else if (shape % 4 === 1) c.rect(x - 0.9 * r, y - 0.9 * r, 1.8 * r, 1.8 * r);
    else {
      const corners = shape % 4 === 2 ? [[0, -1.3], [1.2, 0.9], [-1.2, 0.9]] : [[0, -1.3], [1.3, 0], [0, 1.3], [-1.3, 0]];
      corners.forEach(([dx, dy], k) => (k ? c.lineTo(x + dx * r, y + dy * r) : c.moveTo(x + dx * r, y + dy * r)));
    }
    c.fill();
  }

  function ring(c, [x, y], r, colour, width) {
    c.lineWidth = width;
    c.strokeStyle = colour;
    c.beginPath();
    c.arc(x, y, r, 0, 2 * Math.PI);
    c.stroke();
  }

  // The ends of the colour scale of several showers, as `fastv.display.scene.colour_range` has them.
  function colourRange(showers) {
    const all = Float64Array.from(showers.flatMap((energies) => Array.from(energies))).sort();
    if (!all.length) return [1e-2, 1];
    const total = all.reduce((sum, e) => sum + e, 0), high = all.at(-1);
    let below = 0, i = 0;
    while (i < all.length - 1 && below + all[i] < 0.002 * total) below += all[i++];
    return [Math.min(Math.max(all[i], 1e-5 * high), 0.1 * high), high];
  }

  async function start() {
    const root = byId("explore");
    try {
      const data = await unpacked(byId("packed").textContent);
      root.hidden = byId("dimensions").hidden = false;
      root.explorer = new Explorer(data, document.querySelector(".fastv-view").fastvView);
    } catch (error) {
      const trouble = byId("trouble");
      trouble.hidden = false;
      trouble.textContent = typeof DecompressionStream === "undefined"
        ? "This page needs a browser of 2023 or newer." : `This page cannot be shown: ${error.message}`;
      if (typeof DecompressionStream !== "undefined") throw error;
    }
  }

  window.fastvExplore = { ready: start() };
})();
