// Draws showers of FastV with WebGL 2. Every <div class="fastv-view"> of the page holds its data as JSON and becomes a
// view: scenes side by side that share camera, colour scale, threshold and chosen event.
//
// Mesh coordinates are x, y, z in mm, z along the shower; on the screen z points right, y up, x away from the viewer.
"use strict";
(() => {
  const CELL_VERTEX = `#version 300 es
    precision highp float; precision highp int; precision highp sampler2D;
    layout(location = 0) in vec4 corner;  // place within the cell in r, alpha, z from 0 to 1; number of the face
    layout(location = 1) in vec2 onFace;  // place within the face from 0 to 1
    layout(location = 2) in uint piece;
    uniform sampler2D cells;              // two texels a piece: r from, to, alpha from, to; z from, to, ln(MeV), walls
    uniform mat4 camera;
    uniform vec2 scale;                   // ln(MeV) at the low end of the colours, 1 / (length of the scale)
    uniform vec3 quadrant;                // taken out: alpha from, alpha to, and whether at all
    out vec3 normal; out vec2 face; flat out float position; flat out uint picked;
    void main() {
      ivec2 texel = ivec2(int(piece % 512u) * 2, int(piece / 512u));
      vec4 ra = texelFetch(cells, texel, 0), ze = texelFetch(cells, texel + ivec2(1, 0), 0);
      float first = ra.z, last = ra.w;
      int walls = int(ze.w);              // 1: its start in alpha is that of the cell, 2: its end
      if (quadrant.z > 0.5) {
        vec2 inside = vec2(quadrant.x - 1e-4, quadrant.y + 1e-4);
        if (first >= inside.x && first <= inside.y) { first = quadrant.y; walls |= 1; }
        else if (last >= inside.x && last <= inside.y) { last = quadrant.x; walls |= 2; }
      }
      float r = mix(ra.x, ra.y, corner.x), alpha = mix(first, last, corner.y), z = mix(ze.x, ze.y, corner.z);
      vec2 outwards = vec2(cos(alpha), sin(alpha));
      vec2 onwards = vec2(-outwards.y, outwards.x);
      int f = int(corner.w);
      normal = f == 0 ? vec3(0, 0, -1) : f == 1 ? vec3(0, 0, 1) : f == 2 ? vec3(outwards, 0)
        : f == 3 ? vec3(-outwards, 0) : f == 4 ? vec3(-onwards, 0) : vec3(onwards, 0);
      bool starts = (walls & 1) != 0, ends = (walls & 2) != 0;
      face = onFace;                      // a piece has no edge where its cell goes on
      if (f < 4) face.x = starts ? (ends ? face.x : 0.5 * face.x) : (ends ? 0.5 + 0.5 * face.x : 0.5);
      position = clamp((ze.z - scale.x) * scale.y, 0.0, 1.0);
      picked = piece + 1u;
      bool none = f == 4 && !starts || f == 5 && !ends;
      gl_Position = none ? vec4(2, 2, 2, 1) : camera * vec4(r * outwards, z, 1);
    }`;
  const CELL_FRAGMENT = `#version 300 es
    precision highp float; precision highp int;
    in vec3 normal; in vec2 face; flat in float position; flat in uint picked;
    uniform sampler2D colours;
    uniform vec3 light; uniform vec2 shine; uniform vec2 opacity; uniform uint marked; uniform bool picking;
    out vec4 colour;
    void main() {
      if (picking) {
        colour = vec4(picked & 255u, (picked >> 8) & 255u, (picked >> 16) & 255u, 255u) / 255.0;
        return;
      }
      vec3 own = texture(colours, vec2((position * 63.0 + 0.5) / 64.0, 0.5)).rgb;
      own *= shine.x + shine.y * max(dot(normalize(normal), light), 0.0);
      vec2 size = fwidth(face);  // of a pixel, as a share of the face
      vec2 away = min(face, 1.0 - face) / max(size, 1e-6);
      float edge = (1.0 - smoothstep(0.4, 1.4, min(away.x, away.y))) * clamp(1.4 - 5.0 * max(size.x, size.y), 0.0, 1.0);
      float solid = mix(opacity.x, 1.0, pow(position, opacity.y));
      own *= 1.0 - 0.3 * edge;
      if (picked == marked) { own = mix(own, vec3(0.0, 0.75, 1.0), 0.35 + 0.65 * edge); solid = 1.0; }
      colour = vec4(min(own, 1.0), min(1.0, solid + 0.12 * edge));
    }`;
  const LINE_VERTEX = `#version 300 es
    precision highp float;
    layout(location = 0) in vec2 corner;
    layout(location = 1) in vec3 start; layout(location = 2) in vec3 end; layout(location = 3) in vec4 style;
    uniform mat4 camera; uniform vec2 pixels;
    out vec3 tint;
    void main() {
      vec4 a = camera * vec4(start, 1), b = camera * vec4(end, 1);
      vec2 way = (b.xy / b.w - a.xy / a.w) * pixels;
      way = length(way) > 1e-6 ? normalize(way) : vec2(1, 0);
      vec4 here = corner.x < 0.5 ? a : b;
      here.xy += (vec2(-way.y, way.x) * corner.y + way * (corner.x * 2.0 - 1.0) * 0.5) * style.w / pixels * here.w;
      tint = style.rgb;
      here.z -= 2e-4 * here.w;  // before the face that it lies on
      gl_Position = here;
    }`;
  const LINE_FRAGMENT = `#version 300 es
    precision highp float; in vec3 tint; out vec4 colour;
    void main() { colour = vec4(tint, 1); }`;

  const RAD = Math.PI / 180;
  const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];

  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name in made && name !== "list") made[name] = value;
      else made.setAttribute(name, value);
    }
    made.append(...children);
    return made;
  }

  function svgElement(tag, attributes = {}) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  }

  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;

  function formatMeV(energy) {
    const [unit, factor] = energy >= 1e6 ? ["TeV", 1e6] : energy >= 1e3 ? ["GeV", 1e3] : energy >= 1 || energy === 0
      ? ["MeV", 1] : ["keV", 1e-3];
    return `${Number((energy / factor).toPrecision(3))} ${unit}`;
  }

  // ---------------------------------------------------------------------------------------------- one scene

  class Scene {
    constructor(view, data) {
      this.view = view;
      this.data = data;
      this.first = [0];  // voxel number at which each layer starts
      for (const [alphas, edges] of data.layers) this.first.push(this.first.at(-1) + alphas * (edges.length - 1));
      this.events = data.events.map((event) => this.unpacked(event));
      this.lines = this.segments(data.lines);
      this.marked = 0;
      this.canvas = element("canvas", { tabIndex: 0, role: "img" });
      this.overlay = svgElement("svg", { "aria-hidden": "true" });
      this.tip = element("div", { className: "fastv-tip", hidden: true });
      this.stage = element("div", { className: "fastv-stage" }, this.canvas, this.overlay, this.tip);
      this.heading = element("div", { className: "fastv-heading" });
      this.facts = element("div", { className: "fastv-facts" });
      this.shown = element("div", { className: "fastv-shown" });
      this.legend = element("div", { className: "fastv-legend" });
      this.title = element("div", { className: "fastv-title", textContent: data.title });
      this.root = element("figure", { className: "fastv-panel" }, this.title, this.heading, this.facts,
        element("div", { className: "fastv-detector", textContent: data.detector }), this.legend,
        this.stage, this.shown);
    }

    // The hits of an event, cut into pieces of at most 30 degrees that can be sorted by distance, and what the shader
    // needs of each piece. Numbers may be packed as text or arrays already.
    unpacked(event) {
      const { voxels, energies } = typeof event.voxels !== "string" ? event
        : { voxels: new Uint32Array(bytes(event.voxels)), energies: new Float32Array(bytes(event.energies)) };
      const hits = [], texels = [], layers = [];
      voxels.forEach((voxel, hit) => {
        const { r, alpha, z, alphas, layer } = this.cell(voxel), count = Math.ceil(12 / alphas);
        for (let k = 0; k < count; k++) {
          const first = alpha[0] + (alpha[1] - alpha[0]) * k / count, last = alpha[0] + (alpha[1] - alpha[0]) * (k + 1) / count;
          const walls = (k === 0 ? 1 : 0) + (k === count - 1 ? 2 : 0);
          hits.push(hit);
          layers.push(layer);
          texels.push(...r, first, last, ...z, Math.log(energies[hit]), walls);
        }
      });
      const rows = Math.max(1, Math.ceil(hits.length / 512)), padded = new Float32Array(4096 * rows);
      padded.set(texels);
      const lines = event.lines instanceof Float32Array ? event.lines : this.segments(event.lines);
      return { ...event, voxels, energies, hits, layers, texels: padded, rows, lines };
    }

    // Another shower in place of an event: its heading, facts, voxels and energies.
    put(index, shower, title) {
      this.title.textContent = this.data.title = title;
      this.events[index] = this.unpacked({ ...this.events[index], ...shower });
    }

    // Where a voxel is: voxels are numbered (layer, alpha, r), r fastest.
    cell(voxel) {
      let low = 0, high = this.data.layers.length - 1;
      while (low < high) {
        const middle = (low + high + 1) >> 1;
        if (this.first[middle] <= voxel) low = middle;
        else high = middle - 1;
      }
      const [alphas, edges] = this.data.layers[low], inLayer = voxel - this.first[low], rings = edges.length - 1;
      const a = Math.floor(inLayer / rings), i = inLayer % rings, width = 2 * Math.PI / alphas;
      return {
        layer: low, alphaCell: a, alphas,
        r: [edges[i], edges[i + 1]],
        alpha: [-Math.PI + a * width, -Math.PI + (a + 1) * width],
        z: [this.data.z[low], this.data.z[low + 1]],
      };
    }

    // Lines as straight pieces: start, end, colour, width.
    segments(lines) {
      const pieces = [];
      for (const [colour, width, packed] of lines) {
        const points = new Float32Array(bytes(packed));
        const rgb = [1, 3, 5].map((k) => parseInt(colour.slice(k, k + 2), 16) / 255);
        for (let k = 0; k + 5 < points.length; k += 3) {
          for (let j = 0; j < 6; j++) pieces.push(points[k + j]);
          pieces.push(...rgb, width);
        }
      }
      return new Float32Array(pieces);
    }

    // Everything that lives on the graphics card; called again should the card forget it.
    build() {
      const gl = this.canvas.getContext("webgl2", { alpha: false, antialias: true, preserveDrawingBuffer: true });
      if (!gl) return false;
      this.gl = gl;
      this.cellProgram = program(gl, CELL_VERTEX, CELL_FRAGMENT);
      this.lineProgram = program(gl, LINE_VERTEX, LINE_FRAGMENT);
      if (!this.cellProgram || !this.lineProgram) return false;
      const { corners, indices } = unitCell(this.data.arcSteps);
      this.indexCount = indices.length;
      this.cellArray = gl.createVertexArray();
      gl.bindVertexArray(this.cellArray);
      gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
      gl.bufferData(gl.ARRAY_BUFFER, corners, gl.STATIC_DRAW);
      gl.enableVertexAttribArray(0);
      gl.vertexAttribPointer(0, 4, gl.FLOAT, false, 24, 0);
      gl.enableVertexAttribArray(1);
      gl.vertexAttribPointer(1, 2, gl.FLOAT, false, 24, 16);
      this.orderBuffer = gl.createBuffer();
      gl.bindBuffer(gl.ARRAY_BUFFER, this.orderBuffer);
      gl.enableVertexAttribArray(2);
      gl.vertexAttribIPointer(2, 1, gl.UNSIGNED_INT, 0, 0);
      gl.vertexAttribDivisor(2, 1);
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
      gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, indices, gl.STATIC_DRAW);
      this.lineArray = gl.createVertexArray();
      gl.bindVertexArray(this.lineArray);
      gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
      gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([0, -1, 1, -1, 0, 1, 1, 1]), gl.STATIC_DRAW);
      gl.enableVertexAttribArray(0);
      gl.vertexAttribPointer(0, 2, gl.FLOAT, false, 0, 0);
      this.lineBuffer = gl.createBuffer();
      gl.bindBuffer(gl.ARRAY_BUFFER, this.lineBuffer);
      for (const [at, size, offset] of [[1, 3, 0], [2, 3, 12], [3, 4, 24]]) {
        gl.enableVertexAttribArray(at);
        gl.vertexAttribPointer(at, size, gl.FLOAT, false, 40, offset);
        gl.vertexAttribDivisor(at, 1);
      }
      gl.bindVertexArray(null);
      const rgba = new Uint8Array(64 * 4).fill(255);
      this.view.data.colours.forEach((colour, i) => {
        rgba.set([1, 3, 5].map((k) => parseInt(colour.slice(k, k + 2), 16)), 4 * i);
      });
      this.colourTexture = texture(gl, gl.RGBA8, 64, 1, gl.RGBA, gl.UNSIGNED_BYTE, rgba, gl.LINEAR);
      this.pickTexture = texture(gl, gl.RGBA8, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, null, gl.NEAREST);
      this.pickFrame = gl.createFramebuffer();
      gl.bindFramebuffer(gl.FRAMEBUFFER, this.pickFrame);
      gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, this.pickTexture, 0);
      const depth = gl.createRenderbuffer();
      gl.bindRenderbuffer(gl.RENDERBUFFER, depth);
      gl.renderbufferStorage(gl.RENDERBUFFER, gl.DEPTH_COMPONENT24, 1, 1);
      gl.framebufferRenderbuffer(gl.FRAMEBUFFER, gl.DEPTH_ATTACHMENT, gl.RENDERBUFFER, depth);
      gl.bindFramebuffer(gl.FRAMEBUFFER, null);
      this.show(this.view.event);
      return true;
    }

    show(index) {
      const gl = this.gl, event = this.events[index];
      this.event = event;
      this.marked = 0;
      this.tip.hidden = true;
      this.heading.textContent = event.heading;
      this.facts.textContent = event.facts;
      this.legend.replaceChildren(...event.legend.map(([colour, words]) => {
        const mark = element("span", { className: "fastv-mark" });
        mark.style.background = colour;
        return element("span", {}, mark, words);
      }));
      this.canvas.setAttribute("aria-label", `3D view: ${this.data.title} ${event.heading}; ${event.facts}`);
      if (this.cellTexture) gl.deleteTexture(this.cellTexture);
      this.cellTexture = texture(gl, gl.RGBA32F, 1024, event.rows, gl.RGBA, gl.FLOAT, event.texels, gl.NEAREST);
      const lines = new Float32Array(this.lines.length + event.lines.length);
      lines.set(event.lines);
      lines.set(this.lines, event.lines.length);
      this.lineCount = lines.length / 10;
      gl.bindBuffer(gl.ARRAY_BUFFER, this.lineBuffer);
      gl.bufferData(gl.ARRAY_BUFFER, lines, gl.STATIC_DRAW);
    }

    // Pieces of hits above the threshold that are not cut away, the farthest first. In a cylinder the order is known
    // without distances: layer after layer towards the eye, in a layer sector after sector towards it, in a sector
    // from the axis to the eye where its outside faces the eye, and to the axis elsewhere.
    order(eye) {
      const { energies, hits, texels, layers } = this.event, threshold = this.view.threshold;
      const open = this.openQuadrant(), { z, reach } = this.data, [ex, ey, ez] = eye;
      const angle = Math.atan2(ey, ex), distance = Math.hypot(ex, ey), count = z.length - 1;
      const keys = new Float64Array(hits.length);
      let kept = 0;
      for (let i = 0; i < hits.length; i++) {
        if (energies[hits[i]] < threshold) continue;
        const first = texels[8 * i + 2], last = texels[8 * i + 3], r = (texels[8 * i] + texels[8 * i + 1]) / 2;
        if (open && first >= open[0] - 1e-4 && last <= open[1] + 1e-4) continue;
        const layer = layers[i], before = (z[layer] + z[layer + 1]) / 2 * this.data.depthScale < ez;
        let apart = Math.abs((first + last) / 2 - angle);
        if (apart > Math.PI) apart = 2 * Math.PI - apart;
        const outsideSeen = distance * Math.cos(apart) > r, ring = Math.floor(r / reach * 1023);
        const rank = before ? layer : 2 * count - layer;
        const sector = Math.floor((1 - apart / Math.PI) * 1023);
        keys[kept++] = ((rank * 1024 + sector) * 1024 + (outsideSeen ? ring : 1023 - ring)) * 2 ** 21 + i;
      }
      return Uint32Array.from(keys.subarray(0, kept).sort(), (key) => key % 2 ** 21);
    }

    // The quarter in alpha that faces the viewer, or null.
    openQuadrant() {
      if (!this.view.opened) return null;
      const { azimuth, elevation } = this.view.look, right = -Math.cos(azimuth * RAD) > 0;
      if (elevation >= 0) return right ? [0, Math.PI / 2] : [Math.PI / 2, Math.PI];
      return right ? [-Math.PI / 2, 0] : [-Math.PI, -Math.PI / 2];
    }

    // The camera that has the whole frame in the picture, seen from where the view says.
    camera() {
      const { look, data } = this.view, width = this.canvas.clientWidth, height = this.canvas.clientHeight;
      const tan = Math.tan(data.fieldOfView / 2), aspect = width / height;
      const screen = this.data.frame.map(([x, y, z]) => [z, y, -x]);
      const middle = [0, 1, 2].map((k) => {
        const values = screen.map((p) => p[k]);
        return (Math.min(...values) + Math.max(...values)) / 2;
      });
      const fit = axes(look.fitAzimuth, look.fitElevation);
      let distance = 0;
      for (const p of screen) {
        const q = [p[0] - middle[0], p[1] - middle[1], p[2] - middle[2]];
        const side = Math.max(Math.abs(dot(q, fit[0])) / (tan * aspect), Math.abs(dot(q, fit[1])) / tan);
        distance = Math.max(distance, side + dot(q, fit[2]));
      }
      const size = distance * tan;
      const room = 1 + 2 * Math.min(0.25, 34 / Math.min(width, height));  // for the labels, some 34 pixels
      distance *= room / look.zoom;
      const own = axes(look.azimuth, look.elevation);
      const target = middle.map((m, k) => m + size * (look.panX * own[0][k] + look.panY * own[1][k]));
      const eye = target.map((t, k) => t + distance * own[2][k]);
      const radius = 3 * Math.max(...this.data.frame.flat().map(Math.abs));
      const near = Math.max(distance - radius, distance * 0.02), far = distance + radius;
      // Rows of the matrix on mesh coordinates: the screen is (z * depthScale, y, -x).
      const s = this.data.depthScale;
      const row = (v, factor) => [-v[2] * factor, v[1] * factor, v[0] * factor * s, -dot(v, target) * factor];
      const right = row(own[0], 1 / (tan * aspect)), up = row(own[1], 1 / tan), w = row(own[2], -1);
      w[3] += distance;
      const z = w.map((value) => value * (far + near) / (far - near));
      z[3] -= 2 * far * near / (far - near);
      const matrix = new Float32Array(16);
      [right, up, z, w].forEach((r, i) => r.forEach((value, k) => { matrix[4 * k + i] = value; }));
      return { matrix, rows: [right, up, w], own, eyeOnMesh: [-eye[2], eye[1], eye[0]], width, height };
    }

    render() {
      const gl = this.gl, camera = this.camera(), ratio = Math.min(window.devicePixelRatio || 1, 2) * this.view.quality;
      if (!camera.width || !camera.height) return;
      const width = Math.round(camera.width * ratio), height = Math.round(camera.height * ratio);
      if (this.canvas.width !== width || this.canvas.height !== height) {
        this.canvas.width = width;
        this.canvas.height = height;
      }
      this.seen = camera;
      this.sorted = this.order(camera.eyeOnMesh);
      gl.viewport(0, 0, width, height);
      gl.clearColor(1, 1, 1, 1);
      gl.depthMask(true);
      gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
      // All lines, then the cells over them, then once more the lines that are before the cells.
      gl.disable(gl.DEPTH_TEST);
      gl.disable(gl.BLEND);
      this.drawLines(camera);
      gl.enable(gl.DEPTH_TEST);
      gl.depthFunc(gl.LEQUAL);
      gl.enable(gl.BLEND);
      gl.blendFunc(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA);
      gl.bindBuffer(gl.ARRAY_BUFFER, this.orderBuffer);
      gl.bufferData(gl.ARRAY_BUFFER, this.sorted, gl.DYNAMIC_DRAW);
      this.drawCells(camera.matrix, false);
      gl.disable(gl.BLEND);
      gl.depthMask(false);
      this.drawLines(camera);
      this.drawLabels(camera);
    }

    // How many hits are above the threshold, and their share of the energy.
    countAbove() {
      const { energies } = this.event;
      let above = 0, energy = 0, all = 0;
      for (const e of energies) {
        all += e;
        if (e < this.view.threshold) continue;
        above++;
        energy += e;
      }
      this.above = above;
      this.shown.textContent = !energies.length ? "no voxel has energy" : `${above} of ${energies.length} hit voxels ` +
        `above the threshold, with ${Number((100 * energy / all).toPrecision(3))} % of the energy`;
    }

    drawLines(camera) {
      const gl = this.gl, p = this.lineProgram;
      gl.useProgram(p);
      gl.bindVertexArray(this.lineArray);
      gl.uniformMatrix4fv(gl.getUniformLocation(p, "camera"), false, camera.matrix);
      gl.uniform2f(gl.getUniformLocation(p, "pixels"), camera.width / 2, camera.height / 2);
      gl.disable(gl.CULL_FACE);
      gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, this.lineCount);
    }

    drawCells(matrix, picking) {
      if (!this.sorted.length) return;
      const gl = this.gl, p = this.cellProgram, { data, opened, range } = this.view;
      const at = (name) => gl.getUniformLocation(p, name);
      const own = this.seen.own, [lx, ly, lz] = data.light, length = Math.hypot(lx, ly, lz);
      const light = [0, 1, 2].map((k) => (lx * own[0][k] + ly * own[1][k] + lz * own[2][k]) / length);
      const open = this.openQuadrant();
      gl.useProgram(p);
      gl.bindVertexArray(this.cellArray);
      gl.activeTexture(gl.TEXTURE0);
      gl.bindTexture(gl.TEXTURE_2D, this.cellTexture);
      gl.activeTexture(gl.TEXTURE1);
      gl.bindTexture(gl.TEXTURE_2D, this.colourTexture);
      gl.uniform1i(at("cells"), 0);
      gl.uniform1i(at("colours"), 1);
      gl.uniformMatrix4fv(at("camera"), false, matrix);
      gl.uniform2f(at("scale"), Math.log(range[0]), 1 / Math.log(range[1] / range[0]));
      gl.uniform3f(at("quadrant"), ...(open ? [...open, 1] : [0, 0, 0]));
      gl.uniform3f(at("light"), -light[2], light[1], light[0]);
      gl.uniform2f(at("shine"), data.ambient, data.diffuse);
      gl.uniform2f(at("opacity"), ...data.opacity[opened ? "open" : "closed"]);
      gl.uniform1ui(at("marked"), this.marked);
      gl.uniform1i(at("picking"), picking ? 1 : 0);
      gl.enable(gl.CULL_FACE);
      gl.drawElementsInstanced(gl.TRIANGLES, this.indexCount, gl.UNSIGNED_SHORT, 0, this.sorted.length);
    }

    // Place on the page, in pixels of the stage, of a point of the mesh.
    place(camera, [x, y, z]) {
      const [right, up, w] = camera.rows.map((r) => r[0] * x + r[1] * y + r[2] * z + r[3]);
      return [(1 + right / w) * camera.width / 2, (1 - up / w) * camera.height / 2];
    }

    drawLabels(camera) {
      const { data, overlay } = this, edge = 1.06 * data.reach, depth = data.z.at(-1);
      overlay.replaceChildren();
      overlay.setAttribute("viewBox", `0 0 ${camera.width} ${camera.height}`);
      const back = camera.own[2], near = back[2] >= 0 ? -edge : edge, end = back[0] < -0.75 ? 0 : depth;
      if (Math.abs(back[0]) < 0.9) {
        const ticks = data.depthTicks.map(([z, label]) => [[near, -edge, z], label]);
        this.drawAxis(camera, ticks, [near, -edge, 0], [near, -edge, depth], data.depthName);
      }
      if (Math.abs(back[1]) < 0.9) {
        const ticks = data.radiusTicks.map(([y, label]) => [[near, y, end], label]);
        this.drawAxis(camera, ticks, [near, -edge, end], [near, edge, end], "y [mm]");
      }
    }

    drawAxis(camera, ticks, start, end, name) {
      const a = this.place(camera, start), b = this.place(camera, end);
      const length = Math.hypot(b[0] - a[0], b[1] - a[1]);
      if (length < 30) return;
      const way = [(b[0] - a[0]) / length, (b[1] - a[1]) / length];
      const middle = [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2], centre = this.place(camera, [0, 0, this.data.z.at(-1) / 2]);
      let away = [way[1], -way[0]];
      if (away[0] * (middle[0] - centre[0]) + away[1] * (middle[1] - centre[1]) < 0) away = [-away[0], -away[1]];
      const line = (p, q) => this.overlay.append(svgElement("line", { x1: p[0], y1: p[1], x2: q[0], y2: q[1] }));
      const text = (x, y, words) => {
        const made = svgElement("text", { x, y });
        made.textContent = words;
        this.overlay.append(made);
      };
      line(a, b);
      let last = null;
      for (const [point, label] of ticks) {
        const p = this.place(camera, point);
        if (last && Math.hypot(p[0] - last[0], p[1] - last[1]) < 22) continue;
        last = p;
        line(p, [p[0] + 5 * away[0], p[1] + 5 * away[1]]);
        text(p[0] + 16 * away[0], p[1] + 14 * away[1], label);
      }
      if (Math.abs(way[0]) > Math.abs(way[1])) text(middle[0] + 46 * away[0], middle[1] + 36 * away[1], name);
      else if (a[1] < b[1]) text(a[0], a[1] - 12, name);
      else text(b[0], b[1] - 12, name);
    }

    // The piece under a pixel of the stage: its number in the event plus one, or 0.
    pick(x, y) {
      if (!this.seen || !this.sorted.length) return 0;
      const gl = this.gl, { width, height, matrix } = this.seen, zoomed = new Float32Array(16);
      const cx = 2 * x / width - 1, cy = 1 - 2 * y / height;
      for (let k = 0; k < 4; k++) {
        zoomed[4 * k] = width * (matrix[4 * k] - cx * matrix[4 * k + 3]);
        zoomed[4 * k + 1] = height * (matrix[4 * k + 1] - cy * matrix[4 * k + 3]);
        zoomed[4 * k + 2] = matrix[4 * k + 2];
        zoomed[4 * k + 3] = matrix[4 * k + 3];
      }
      gl.bindFramebuffer(gl.FRAMEBUFFER, this.pickFrame);
      gl.viewport(0, 0, 1, 1);
      gl.disable(gl.BLEND);
      gl.enable(gl.DEPTH_TEST);
      gl.depthMask(true);
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
      this.drawCells(zoomed, true);
      const pixel = new Uint8Array(4);
      gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, pixel);
      gl.bindFramebuffer(gl.FRAMEBUFFER, null);
      return pixel[0] + 256 * pixel[1] + 65536 * pixel[2];
    }

    point(x, y) {
      const piece = this.pick(x, y);
      if (piece !== this.marked) {
        this.marked = piece;
        this.view.redraw();
      }
      this.tip.hidden = !piece;
      if (!piece) return;
      this.tip.textContent = this.words(this.event.hits[piece - 1]);
      const { width, height } = this.seen, box = this.tip.getBoundingClientRect();
      this.tip.style.left = `${Math.max(0, Math.min(x + 14, width - box.width))}px`;
      this.tip.style.top = `${Math.max(0, y + 18 + box.height > height ? y - box.height - 8 : y + 18)}px`;
    }

    leave() {
      this.tip.hidden = true;
      if (this.marked) {
        this.marked = 0;
        this.view.redraw();
      }
    }

    words(hit) {
      const { layer, alphaCell, alphas, r, alpha, z } = this.cell(this.event.voxels[hit]);
      const short = (value) => Number(value.toPrecision(5));
      const depth = this.data.depthsKnown ? `, z ${short(z[0])} to ${short(z[1])} mm` : "";
      return `layer ${this.data.layerIds[layer]}${depth}\n` +
        `alpha cell ${alphaCell} of ${alphas}, ${short(alpha[0] / RAD)}° to ${short(alpha[1] / RAD)}°\n` +
        `r ${short(r[0])} to ${short(r[1])} mm\n${formatMeV(this.event.energies[hit])}`;
    }
  }

  // Unit vectors to the right, up and towards the viewer, in screen coordinates.
  function axes(azimuth, elevation) {
    const a = azimuth * RAD, e = elevation * RAD;
    return [
      [Math.cos(a), 0, -Math.sin(a)],
      [-Math.sin(e) * Math.sin(a), Math.cos(e), -Math.sin(e) * Math.cos(a)],
      [Math.cos(e) * Math.sin(a), Math.sin(e), Math.cos(e) * Math.cos(a)],
    ];
  }

  // The faces of a cell whose r, alpha and z go from 0 to 1, its arcs in so many pieces; counter-clockwise from outside.
  function unitCell(steps) {
    const corners = [], indices = [];
    const quad = (faceNumber, points, places) => {
      const first = corners.length / 6;
      points.forEach((p, i) => corners.push(...p, faceNumber, ...places[i]));
      indices.push(first, first + 1, first + 2, first, first + 2, first + 3);
    };
    for (let k = 0; k < steps; k++) {
      const a = k / steps, b = (k + 1) / steps, strip = [[a, 0], [b, 0], [b, 1], [a, 1]];
      const turned = [strip[1], strip[0], strip[3], strip[2]];
      quad(0, [[0, a, 0], [0, b, 0], [1, b, 0], [1, a, 0]], strip);
      quad(1, [[0, b, 1], [0, a, 1], [1, a, 1], [1, b, 1]], turned);
      quad(2, [[1, a, 0], [1, b, 0], [1, b, 1], [1, a, 1]], strip);
      quad(3, [[0, b, 0], [0, a, 0], [0, a, 1], [0, b, 1]], turned);
    }
    const square = [[0, 0], [1, 0], [1, 1], [0, 1]];
    quad(4, [[0, 0, 0], [1, 0, 0], [1, 0, 1], [0, 0, 1]], square);
    quad(5, [[1, 1, 0], [0, 1, 0], [0, 1, 1], [1, 1, 1]], square);
    return { corners: new Float32Array(corners), indices: new Uint16Array(indices) };
  }

  function program(gl, vertex, fragment) {
    const made = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source.trim());
      gl.compileShader(shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS) && !gl.isContextLost()) {
        console.error(`fastv: ${gl.getShaderInfoLog(shader)}`);
        return null;
      }
      gl.attachShader(made, shader);
    }
    gl.linkProgram(made);
    if (!gl.getProgramParameter(made, gl.LINK_STATUS) && !gl.isContextLost()) {
      console.error(`fastv: ${gl.getProgramInfoLog(made)}`);
      return null;
    }
    return made;
  }

  function texture(gl, kind, width, height, format, type, data, filter) {
    const made = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, made);
    gl.texImage2D(gl.TEXTURE_2D, 0, kind, width, height, 0, format, type, data);
    for (const name of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, name, filter);
    for (const name of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, name, gl.CLAMP_TO_EDGE);
    return made;
  }

  // ---------------------------------------------------------------------------------------------- the view

  class View {
    constructor(root) {
      this.root = root;
      this.data = JSON.parse(root.querySelector('script[type="application/json"]').textContent);
      this.event = 0;
      this.threshold = 0;
      this.playing = null;
      this.pending = false;
      this.quality = this.whileMoving = 1;  // pixels drawn for each pixel of the screen, in both directions
      this.resting = null;
      this.scenes = this.data.panels.map((panel) => new Scene(this, panel));
      this.opened = true;
      this.look = {};
      root.append(element("div", { className: "fastv-panels" }, ...this.scenes.map((scene) => scene.root)), this.controls());
      if (!this.scenes.every((scene) => scene.build())) {
        const words = "This 3D view needs WebGL 2, which this browser does not offer or has switched off.";
        root.replaceChildren(element("div", { className: "fastv-message", textContent: words }));
        return;
      }
      for (const scene of this.scenes) {
        this.listen(scene);
        new ResizeObserver(() => this.redraw()).observe(scene.stage);
      }
      this.lookFrom(this.data.camera);
      this.showEvent(0);
    }

    controls() {
      const names = Object.keys(this.data.cameras), events = this.data.panels[0].events;
      this.cameraButtons = names.map((name) => element("button", { type: "button", textContent: name,
        title: { front: "along the particle", side: "across the shower" }[name] || "from above, half-way",
        onclick: () => this.lookFrom(name) }));
      this.cut = element("input", { type: "checkbox", checked: true, onchange: () => {
        this.opened = this.cut.checked;
        this.redraw();
      } });
      const groups = [element("div", { className: "fastv-group", role: "group", ariaLabel: "camera" },
        ...this.cameraButtons, element("label", {}, this.cut, " cut open"))];
      if (events.length > 1) {
        this.chooser = element("select", { ariaLabel: "event", onchange: () => this.showEvent(this.chooser.selectedIndex) },
          ...events.map((event) => element("option", { textContent: `${event.name}: ${event.heading}` })));
        this.playButton = element("button", { type: "button", textContent: "play", onclick: () => this.play() });
        const step = (words, by) => element("button", { type: "button", textContent: words,
          ariaLabel: by > 0 ? "next event" : "previous event", onclick: () => this.step(by) });
        this.chooser.style.maxWidth = "15rem";
        groups.push(element("div", { className: "fastv-group", role: "group", ariaLabel: "events" },
          step("‹", -1), this.chooser, step("›", 1), this.playButton));
      }
      this.slider = element("input", { type: "range", min: 0, max: 1000, step: 1, value: 0,
        ariaLabel: "hide voxels below this energy", oninput: () => this.slide() });
      this.limit = element("output");
      this.bar = element("div", { className: "fastv-bar" });
      this.bar.style.background = `linear-gradient(to right, ${this.data.colours.join(", ")})`;
      this.ticks = element("div", { className: "fastv-ticks" });
      groups.push(element("div", { className: "fastv-scale" },
        element("label", {}, element("span", { textContent: "voxel energy [MeV]" }), this.limit),
        this.bar, this.ticks, this.slider));
      return element("div", { className: "fastv-controls" }, ...groups);
    }

    get range() { return this.data.ranges[this.event]; }

    // Look from a direction that has a name.
    lookFrom(name) {
      const { azimuth, elevation, opened } = this.data.cameras[name];
      this.look = { azimuth, elevation, fitAzimuth: azimuth, fitElevation: elevation, zoom: 1, panX: 0, panY: 0 };
      this.opened = this.cut.checked = opened;
      this.cameraButtons.forEach((button) => button.setAttribute("aria-pressed", String(button.textContent === name)));
      this.moved();
    }

    turn(right, up) {
      this.look.azimuth = ((this.look.azimuth - right + 540) % 360) - 180;
      this.look.elevation = Math.max(-89.9, Math.min(89.9, this.look.elevation + up));
      this.cameraButtons.forEach((button) => button.setAttribute("aria-pressed", "false"));
      this.moved();
    }

    zoom(factor) {
      this.look.zoom = Math.max(0.3, Math.min(20, this.look.zoom * factor));
      this.moved();
    }

    pan(right, up) {
      this.look.panX -= 2 * right / this.look.zoom;
      this.look.panY -= 2 * up / this.look.zoom;
      this.moved();
    }

    showEvent(index) {
      this.event = index;
      if (this.chooser) this.chooser.selectedIndex = index;
      for (const scene of this.scenes) scene.show(index);
      this.drawTicks();
      this.setThreshold(this.threshold);
    }

    // Other showers in place of the chosen event, one a scene, with their titles and common ends of the colour scale.
    put(showers, titles, range) {
      if (!this.scenes.every((scene) => scene.gl)) return;
      this.data.ranges[this.event] = range;
      this.scenes.forEach((scene, number) => scene.put(this.event, showers[number], titles[number]));
      this.showEvent(this.event);
    }

    step(by) {
      const count = this.data.panels[0].events.length;
      this.showEvent((this.event + by + count) % count);
    }

    play() {
      if (this.playing) clearInterval(this.playing);
      this.playing = this.playing ? null : setInterval(() => this.step(1), 1200);
      this.playButton.textContent = this.playing ? "stop" : "play";
    }

    slide() {
      const [low, high] = this.range, at = this.slider.valueAsNumber / 1000;
      this.setThreshold(at === 0 ? 0 : low * (high / low) ** at, false);
    }

    // Hide voxels below an energy in MeV.
    setThreshold(energy, moveSlider = true) {
      this.threshold = energy;
      const [low, high] = this.range;
      if (moveSlider) this.slider.value = energy <= low ? 0 : Math.min(1000, 1000 * Math.log(energy / low) / Math.log(high / low));
      for (const scene of this.scenes) scene.countAbove();
      this.limit.textContent = energy > 0 ? `hidden below ${formatMeV(energy)}` : "all shown";
      this.moved();
    }

    drawTicks() {
      const [low, high] = this.range, decades = Math.log10(high / low);
      const digits = decades > 3.5 ? [1] : decades > 1.7 ? [1, 3] : [1, 2, 5];
      this.ticks.replaceChildren();
      for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
        for (const digit of digits) {
          const value = digit * 10 ** power, at = Math.log10(value / low) / decades;
          if (at < 0 || at > 1) continue;
          const mark = element("span", { textContent: String(Number(value.toPrecision(2))) });
          mark.style.left = `${100 * at}%`;
          this.ticks.append(mark);
        }
      }
    }

    redraw() {
      if (this.pending) return;
      this.pending = true;
      requestAnimationFrame((start) => {
        this.pending = false;
        for (const scene of this.scenes) if (!scene.gl.isContextLost()) scene.render();
        requestAnimationFrame((end) => {
          if (this.resting && end - start > 60) this.quality = this.whileMoving = Math.max(0.3, 0.7 * this.quality);
        });
      });
    }

    // Something moves: where frames come late, draw coarser, and well again once it rests.
    moved() {
      for (const scene of this.scenes) scene.leave();
      clearTimeout(this.resting);
      this.quality = this.whileMoving;
      this.resting = setTimeout(() => {
        this.resting = null;
        if (this.quality === 1) return;
        this.quality = 1;
        this.redraw();
      }, 300);
      this.redraw();
    }

    // One pointer turns (with shift or the right button it shifts), two zoom and shift; a tap or a resting mouse asks.
    listen(scene) {
      const { canvas } = scene, pointers = new Map();
      let moved = false;
      const spread = () => {
        const [a, b] = [...pointers.values()];
        return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, size: Math.hypot(a.x - b.x, a.y - b.y) };
      };
      canvas.addEventListener("pointerdown", (event) => {
        canvas.setPointerCapture(event.pointerId);
        pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
        moved = false;
      });
      canvas.addEventListener("pointermove", (event) => {
        const before = pointers.get(event.pointerId);
        if (!before) {
          if (event.pointerType === "mouse") scene.point(event.offsetX, event.offsetY);
          return;
        }
        const dx = event.offsetX - before.x, dy = event.offsetY - before.y;
        if (!moved && Math.hypot(dx, dy) < 4) return;
        moved = true;
        scene.leave();
        const old = pointers.size === 2 ? spread() : null;
        pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
        const height = canvas.clientHeight;
        if (old) {
          const now = spread();
          this.zoom(now.size / Math.max(old.size, 1));
          this.pan((now.x - old.x) / height, (old.y - now.y) / height);
        } else if (event.shiftKey || event.buttons === 2) this.pan(dx / height, -dy / height);
        else this.turn(0.4 * dx, 0.4 * dy);
      });
      canvas.addEventListener("pointerup", (event) => {
        pointers.delete(event.pointerId);
        if (!moved && event.pointerType !== "mouse") scene.point(event.offsetX, event.offsetY);
      });
      canvas.addEventListener("pointercancel", (event) => pointers.delete(event.pointerId));
      canvas.addEventListener("pointerleave", () => scene.leave());
      canvas.addEventListener("contextmenu", (event) => event.preventDefault());
      // The wheel belongs to the page until the scene was clicked or reached with the Tab key.
      canvas.addEventListener("wheel", (event) => {
        if (document.activeElement !== canvas && !event.ctrlKey) return;
        event.preventDefault();
        this.zoom(Math.exp(-0.0012 * event.deltaY));
      }, { passive: false });
      canvas.addEventListener("keydown", (event) => {
        const turns = { ArrowLeft: [-5, 0], ArrowRight: [5, 0], ArrowUp: [0, -5], ArrowDown: [0, 5] }[event.key];
        const zoom = { "+": 1.15, "=": 1.15, "-": 1 / 1.15 }[event.key];
        if (turns) this.turn(...turns);
        else if (zoom) this.zoom(zoom);
        else return;
        event.preventDefault();
      });
      canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
      canvas.addEventListener("webglcontextrestored", () => {
        scene.cellTexture = null;
        if (scene.build()) this.redraw();
      });
    }
  }

  function mount() {
    for (const root of document.querySelectorAll(".fastv-view:not([data-mounted])")) {
      root.dataset.mounted = "";
      root.fastvView = new View(root);
    }
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", mount);
  else mount();
})();
