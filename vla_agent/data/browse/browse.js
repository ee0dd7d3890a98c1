// The page of `vla-agent data browse`.  All text is set as text, never as markup; nothing is fetched but the files beside it.
"use strict";

const browse = (() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = name => document.getElementById(name);
  const KEY = `vla-agent-browse-${data.page}`;
  const HEADS = [
    ["flag", "flag", "", row => +flags.has(row.index)],
    ["index", "no.", "number", row => row.index],
    ["task", "instruction", "task", row => row.task],
    ["length", "length", "number length", row => row.length],
    ["jerk", "jerk", "number", row => row.jerk],
    ["success", "success", "", row => row.success === null ? null : +row.success],
    ["findings", "findings", "number", row => 1000 * row.errors + row.findings],
  ].filter(([key]) => (key !== "flag" || data.dataset) && (key !== "success" || data.rows.some(row => row.success !== null)));
  const loaded = new Map();  // episode -> its content
  const sheets = new Map();  // file -> image
  const flags = new Set(stored());
  const sort = { key: "index", up: true };
  const state = { row: null, content: null, frame: 0, playing: false, last: 0 };

  function stored() {
    try { return JSON.parse(localStorage.getItem(KEY)) || []; } catch { return []; }  // a file may have no storage
  }

  function element(tag, properties, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  }

  function spoken(row) {
    return row.success === null ? ["unknown", ""] : row.success ? ["yes", "good"] : ["no", "bad"];
  }

  // The list

  function visible() {
    const words = byId("filter").value.trim().toLowerCase();
    const value = HEADS.find(head => head[0] === sort.key)[3];
    const rows = data.rows.filter(row => row.task.toLowerCase().includes(words));
    return rows.sort((a, b) => {
      const [one, two] = [value(a), value(b)];
      if (one === null || two === null) return (one === null) - (two === null) || a.index - b.index;  // unknown: last
      const order = typeof one === "string" ? one.localeCompare(two) : one - two;
      return (sort.up ? order : -order) || a.index - b.index;
    });
  }

  function drawHeads() {
    byId("heads").replaceChildren(...HEADS.map(([key, title, kind]) => {
      const head = element("th", { className: kind, scope: "col" }, element("button", { textContent: title, onclick: () => sortBy(key) }));
      if (key === sort.key) head.ariaSort = sort.up ? "ascending" : "descending";
      return head;
    }));
  }

  function sortBy(key) {
    sort.up = key === sort.key ? !sort.up : key === "index" || key === "task" || key === "success";
    sort.key = key;
    drawHeads();
    drawRows();
    byId("heads").children[HEADS.findIndex(head => head[0] === key)].firstChild.focus();
  }

  function cell(row, key) {
    if (key === "flag") {
      const box = element("input", { type: "checkbox", checked: flags.has(row.index), onchange: () => flag(row) });
      box.ariaLabel = `flag episode ${row.index}`;
      return [box];
    }
    if (key === "index") return [element("button", { textContent: row.index, ariaLabel: `show episode ${row.index}` })];
    if (key === "success") return [element("span", { textContent: spoken(row)[0], className: spoken(row)[1] })];
    if (key === "jerk") return [row.jerk === null ? "none" : (1000 * row.jerk).toPrecision(3)];
    if (key === "findings") {
      return [element("span", { textContent: row.findings, className: row.errors ? "bad" : row.findings ? "warn" : "" })];
    }
    return [String(row[key])];
  }

  function drawRows() {
    byId("rows").replaceChildren(...visible().map(row => {
      const line = element("tr", {}, ...HEADS.map(([key, title, kind]) => {
        const made = element("td", { className: kind }, ...cell(row, key));
        if (!["flag", "index", "task"].includes(key)) made.dataset.label = title;
        return made;
      }));
      line.dataset.episode = row.index;
      line.ariaCurrent = String(row === state.row);
      line.onclick = event => { if (event.target.type !== "checkbox") show(row); };
      return line;
    }));
  }

  // Flags

  function flag(row) {
    if (!data.dataset) return;
    if (!flags.delete(row.index)) flags.add(row.index);
    keep();
  }

  function keep() {
    try { localStorage.setItem(KEY, JSON.stringify([...flags])); } catch { /* kept until the page is closed */ }
    byId("saved").textContent = "";
    drawFlags();
  }

  function drawFlags() {
    const chosen = state.row !== null && flags.has(state.row.index);
    byId("flag").ariaPressed = String(chosen);
    byId("flag").textContent = chosen ? "Flagged" : "Flag";
    byId("save").textContent = `Save flags (${flags.size})`;
    byId("save").disabled = !flags.size;
    for (const line of byId("rows").children) {
      const box = line.querySelector("input");
      if (box) box.checked = flags.has(+line.dataset.episode);
    }
  }

  function save() {
    const chosen = data.rows.filter(row => flags.has(row.index)).sort((a, b) => a.index - b.index);
    const findings = chosen.map(row => ({
      check: "flagged", what: "a person flagged the episode", episode: row.index, frame: null, key: "episode",
      found: `${row.length} frames: ${row.task}`, remedy: "leave the episode out: vla-agent data edit DIR --drop FILE -o NEW", error: true,
    }));
    const text = JSON.stringify({ dataset: data.dataset, findings }, null, 2) + "\n";
    const link = element("a", { download: "findings.json", href: URL.createObjectURL(new Blob([text], { type: "application/json" })) });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    byId("saved").textContent = "findings.json saved.  Next: vla-agent data edit DIR --drop findings.json -o NEW";
  }

  // The episode

  function show(row) {
    Object.assign(state, { row, content: null, frame: 0 });
    pause();
    byId("task").textContent = `${row.index}: ${row.task}`;
    const about = [`${row.length} frames, ${(row.length / data.fps).toFixed(1)} s at ${data.fps} Hz`];
    if (row.images < row.length) about.push(`an image of ${row.images} of them, evenly spaced`);
    if (row.success !== null) about.push(row.success ? "success" : "failure");
    if (row.origin) about.push(row.origin);
    byId("about").textContent = about.join("; ");
    byId("seek").max = Math.max(0, row.length - 1);
    for (const line of byId("rows").children) line.ariaCurrent = String(+line.dataset.episode === row.index);
    drawFlags();
    try { history.replaceState(null, "", `#${row.index}`); } catch { /* some viewers forbid it */ }
    if (loaded.has(row.index)) return display(row.index);
    for (const name of ["cameras", "findings", "plots"]) byId(name).replaceChildren();
    const script = element("script", { src: row.file });
    script.onerror = () => { byId("cameras").textContent = `${row.file} is missing beside this page`; };
    script.onload = () => script.remove();
    document.head.append(script);
  }

  function take(index, content) {
    loaded.set(index, content);
    if (state.row && state.row.index === index) display(index);
  }

  function display(index) {
    const content = state.content = loaded.get(index);
    byId("cameras").replaceChildren(...content.cameras.map(camera => {
      if (!camera.file) {
        return element("figure", {}, element("div", { className: "none", textContent: "cannot be decoded" }), element("figcaption", { textContent: camera.name }));
      }
      const canvas = element("canvas", { width: camera.width, height: camera.height });
      canvas.role = "img";
      canvas.ariaLabel = `image of ${camera.name}`;
      if (!sheets.has(camera.file)) sheets.set(camera.file, element("img", { src: camera.file, onload: () => draw() }));
      return element("figure", {}, canvas, element("figcaption", { textContent: camera.name }));
    }));
    byId("findings").replaceChildren(...content.findings.map(finding));
    byId("plots").replaceChildren(...content.plots.map(plotFigure));
    seek(0);
  }

  function finding(found) {
    const box = element("div", { className: found.error ? "finding" : "finding warning" });
    box.append(element("b", { textContent: found.check }), ` ${found.key}: ${found.what}: ${found.found} `);
    if (found.frame !== null && found.episode !== null) {
      box.append(element("button", { textContent: `frame ${found.frame}`, onclick: () => { pause(); seek(found.frame); } }));
    }
    return box;
  }

  // Plots

  function plotFigure(plot) {
    const canvas = element("canvas", {});
    canvas.role = "img";
    canvas.ariaLabel = `${plot.title} over the frames`;
    const place = event => {
      const box = canvas.getBoundingClientRect();
      pause();
      seek(Math.round((event.clientX - box.left) / box.width * (state.row.length - 1)));
    };
    canvas.onpointerdown = event => { canvas.setPointerCapture(event.pointerId); place(event); };
    canvas.onpointermove = event => { if (event.buttons) place(event); };
    const names = element("figcaption", { className: "names" });
    plot.names.forEach((name, k) => {
      const value = element("span", {});
      const label = element("b", { textContent: plot.names.length > 1 ? `${name} ` : "" });
      label.style.color = `var(--c${k})`;
      names.append(element("span", {}, label, value));
    });
    const [low, high] = ends(plot);
    plot.range = high > low ? [low, high] : [low - 1, low + 1];
    const span = high > low ? `${shortened(low)} to ${shortened(high)}` : "constant";
    const unit = plot.unit === "1" ? span : `${span} (${plot.unit})`;
    const title = element("div", { className: "title", textContent: plot.title }, element("span", { textContent: plot.unit ? unit : span }));
    return element("figure", {}, title, canvas, names);
  }

  function ends(plot) {  // smallest and largest number; 0 where there is none
    const values = plot.lines.flat().filter(value => value !== null);
    if (!values.length) return [0, 0];
    return [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];
  }

  function drawPlot(figure, plot) {
    const canvas = figure.querySelector("canvas");
    const style = getComputedStyle(document.documentElement), ratio = devicePixelRatio || 1;
    const width = canvas.clientWidth, height = canvas.clientHeight, last = Math.max(1, state.row.length - 1);
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    const paper = canvas.getContext("2d");
    paper.scale(ratio, ratio);
    const [low, high] = plot.range;
    const x = frame => frame / last * (width - 2) + 1, y = value => height - 5 - (value - low) / (high - low) * (height - 10);
    plot.lines.forEach((line, k) => {
      paper.strokeStyle = style.getPropertyValue(`--c${k}`);
      paper.lineWidth = 1.4;
      paper.beginPath();
      let gap = true;
      line.forEach((value, i) => {
        if (value !== null) paper[gap ? "moveTo" : "lineTo"](x(state.content.points[i]), y(value));
        gap = value === null;
      });
      paper.stroke();
    });
    paper.fillStyle = style.getPropertyValue("--ink");
    paper.fillRect(x(state.frame) - 0.75, 0, 1.5, height);
    const at = nearest(state.content.points, state.frame);
    figure.querySelectorAll(".names > span > span").forEach((span, k) => {
      const value = plot.lines[k][at];
      span.textContent = value === undefined ? "" : value === null ? "not finite" : shortened(value);
    });
  }

  function shortened(value) {
    return Math.abs(value) < 0.0005 ? "0.000" : Math.abs(value) < 100 ? value.toFixed(3) : value.toPrecision(4);
  }

  function nearest(numbers, frame) {  // place of the last number that is not above the frame
    let low = 0, high = numbers.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (numbers[middle] <= frame) low = middle; else high = middle - 1;
    }
    return low;
  }

  // Playing

  function draw() {
    const { content, frame, row } = state;
    if (!content) return;
    const at = nearest(content.numbers, frame);
    content.cameras.forEach((camera, k) => {
      const sheet = sheets.get(camera.file);
      if (!camera.file || !sheet.complete || !sheet.naturalWidth) return;
      const paper = byId("cameras").children[k].firstChild.getContext("2d");
      const left = at % camera.columns * camera.width, top = Math.floor(at / camera.columns) * camera.height;
      paper.drawImage(sheet, left, top, camera.width, camera.height, 0, 0, camera.width, camera.height);
    });
    content.plots.forEach((plot, k) => drawPlot(byId("plots").children[k], plot));
    byId("seek").value = frame;
    const image = content.numbers[at] === frame || !content.cameras.length ? "" : `, image of frame ${content.numbers[at]}`;
    byId("time").textContent = `frame ${frame} of ${Math.max(0, row.length - 1)}, ${(frame / data.fps).toFixed(2)} s${image}`;
  }

  function seek(frame) {
    if (!state.row) return;
    state.frame = Math.min(Math.max(0, frame), Math.max(0, state.row.length - 1));
    draw();
  }

  function pause() {
    state.playing = false;
    byId("play").textContent = "Play";
  }

  function play() {
    if (!state.content) return;
    if (state.playing) return pause();
    if (state.frame >= state.row.length - 1) seek(0);
    Object.assign(state, { playing: true, last: performance.now() });
    byId("play").textContent = "Pause";
    requestAnimationFrame(tick);
  }

  function tick(now) {
    if (!state.playing) return;
    const rate = data.fps * +byId("speed").value / 1000;
    const frames = Math.floor((now - state.last) * rate);
    if (frames > 0) {
      state.last += frames / rate;
      seek(state.frame + frames);
      if (state.frame >= state.row.length - 1) return pause();
    }
    requestAnimationFrame(tick);
  }

  function step(by) {
    const rows = visible();
    const row = rows[rows.indexOf(state.row) + by];
    if (!row) return;
    show(row);
    document.querySelector(`#rows tr[data-episode="${row.index}"]`).scrollIntoView({ block: "nearest" });
  }

  const KEYS = {
    " ": play, f: () => state.row && flag(state.row), F: () => state.row && flag(state.row),
    ArrowUp: () => step(-1), ArrowDown: () => step(1), Home: () => seek(0), End: () => seek(Infinity),
    ArrowLeft: event => { pause(); seek(state.frame - (event.shiftKey ? 10 : 1)); },
    ArrowRight: event => { pause(); seek(state.frame + (event.shiftKey ? 10 : 1)); },
  };

  function pressed(event) {
    const { tagName, type } = event.target;
    if (event.ctrlKey || event.metaKey || event.altKey || type === "search" || tagName === "SELECT") return;
    if (event.key === " " && (tagName === "BUTTON" || type === "checkbox")) return;  // they have their own use of it
    if (!KEYS[event.key]) return;
    event.preventDefault();
    KEYS[event.key](event);
  }

  function begin() {
    for (const name of ["flag", "flag-errors", "save"]) byId(name).hidden = !data.dataset;
    byId("general").replaceChildren(...data.general.map(finding));
    byId("seek").oninput = event => { pause(); seek(+event.target.value); };
    byId("play").onclick = play;
    byId("previous").onclick = () => step(-1);
    byId("next").onclick = () => step(1);
    byId("flag").onclick = () => state.row && flag(state.row);
    byId("flag-errors").onclick = () => { data.rows.filter(row => row.errors).forEach(row => flags.add(row.index)); keep(); };
    byId("save").onclick = save;
    byId("filter").oninput = drawRows;
    addEventListener("keydown", pressed);
    addEventListener("resize", draw);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    drawHeads();
    drawRows();
    drawFlags();
    const first = data.rows.find(row => `#${row.index}` === location.hash) || visible()[0];
    if (first) show(first);
  }

  addEventListener("DOMContentLoaded", begin);
  return { take };
})();
