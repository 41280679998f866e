"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (selector) => document.querySelector(selector);
const shared = (position) => data.shared[position];
const state = { hide: new Set(), q: "", dataset: "", sort: {}, run: "", theme: "", open: new Set(), ex: "", a: "", b: "" };

/** An element with text and elements inside. Text is never parsed as HTML. */
function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") node.style.cssText = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const colour = (m) => `--c:${data.methods[m].colour}`;

// ---- state in the fragment -----------------------------------------------------------------------------------------

function readState() {
  const given = new URLSearchParams(location.hash.slice(1));
  const labels = data.methods.map((method) => method.label);
  state.hide = new Set(given.getAll("hide").map((label) => labels.indexOf(label)).filter((m) => m >= 0));
  for (const name of ["q", "dataset", "run", "theme", "ex", "a", "b"]) state[name] = given.get(name) || "";
  state.open = new Set(given.getAll("open"));
  state.sort = {};
  for (const text of given.getAll("sort")) {
    const [table, column, order] = text.split("~");
    state.sort[table] = [Number(column), Number(order)];
  }
}

function writeState() {
  const text = new URLSearchParams();
  for (const m of [...state.hide].sort()) text.append("hide", data.methods[m].label);
  for (const name of ["q", "dataset", "theme", "ex", "a", "b", "run"]) if (state[name]) text.set(name, state[name]);
  for (const name of state.open) text.append("open", name);
  for (const [table, [column, order]] of Object.entries(state.sort)) text.append("sort", `${table}~${column}~${order}`);
  history.replaceState(null, "", "#" + text);
}

function update() {
  writeState();
  apply();
}

// ---- tables --------------------------------------------------------------------------------------------------------

function tableArticle(table) {
  const body = el("table");
  const article = el("article", { class: "table", id: "table-" + table.name },
    el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": table.title }, body),
    el("div", { class: "under" },
      el("button", { type: "button", class: "more", hidden: true, onclick: () => toggle(state.open, table.name) }),
      el("span", { class: "copy" }, "Copy as ",
        [["LaTeX", "tex"], ["Markdown", "md"], ["CSV", "csv"]].map(([label, form]) =>
          el("button", { type: "button", "data-form": form, onclick: () => copy(tableText(table, form), label),
            "aria-label": `Copy ${table.title} as ${label}` }, label)))),
    el("ul", { class: "notes" }, table.notes.map((note) => el("li", {}, note))));
  return article;
}

const SHOWN = 5; // published lines before one asks for all

function fillTable(table) {
  const article = document.getElementById("table-" + table.name);
  const node = article.querySelector("table");
  node.replaceChildren(tableHead(table));
  const blocks = new Map();
  for (const row of visibleRows(table)) blocks.set(row.block, [...(blocks.get(row.block) || []), row]);
  const measured = [...blocks.keys()].filter((block) => ["last", "val", "oracle"].includes(block));
  for (const [block, rows] of blocks) {
    const title = data.blocks[block];
    const body = el("tbody", { class: block || "foot" });
    if (title && (measured.length > 1 || block !== measured[0])) {
      body.append(el("tr", { class: "block" }, el("th", { colspan: table.columns.length + 1 }, title)));
    }
    const all = block !== "published" || state.open.has(table.name);
    body.append(...(all ? rows : rows.slice(0, SHOWN)).map((row) => tableRow(table, row)));
    node.append(body);
  }
  const published = (blocks.get("published") || []).length;
  const more = article.querySelector(".more");
  more.hidden = published <= SHOWN;
  more.textContent = state.open.has(table.name) ? "Fewer published lines" : `All ${published} published lines`;
}

function tableHead(table) {
  const [column, order] = state.sort[table.name] || [];
  const head = el("thead");
  if (table.columns.some(([top]) => top)) {
    const upper = el("tr", { class: "upper" }, el("th"));
    let last = null;
    for (const [top] of table.columns) {
      if (last && top && last.textContent === top) last.colSpan += 1;
      else upper.append((last = el("th", { colspan: 1 }, top)));
    }
    head.append(upper);
  }
  const labels = ["Method", ...table.columns.map(([, label]) => label)];
  head.append(el("tr", {}, labels.map((label, k) =>
    el("th", { scope: "col", "aria-sort": k === column ? (order > 0 ? "ascending" : "descending") : null },
      el("button", { type: "button", onclick: () => sortBy(table, k) }, label)))));
  return head;
}

function sortBy(table, column) {
  const [old, order] = state.sort[table.name] || [];
  if (old === column && order === (column ? 1 : -1)) state.sort[table.name] = [column, -order];
  else if (old === column) delete state.sort[table.name];
  else state.sort[table.name] = [column, column ? -1 : 1];
  update();
  document.getElementById("table-" + table.name).querySelectorAll("thead tr:last-child button")[column].focus();
}

/** Rows that are neither hidden nor filtered out, sorted within their blocks. */
function visibleRows(table) {
  const query = state.q.toLowerCase();
  const titled = table.title.toLowerCase().includes(query);
  const rows = table.rows.filter((row) => !state.hide.has(row.m) && (titled || row.label.toLowerCase().includes(query)));
  if (!state.sort[table.name]) return rows;
  const [column, order] = state.sort[table.name];
  const order_of = [...new Set(table.rows.map((row) => row.block))];
  const value = (row) => (column ? row.cells[column - 1][6] : row.label);
  const compare = (a, b) => typeof a === "string" ? order * a.localeCompare(b)
    : a === null || b === null ? (a === null) - (b === null) : order * (a - b);
  return [...rows].sort((a, b) => order_of.indexOf(a.block) - order_of.indexOf(b.block) || compare(value(a), value(b)));
}

function tableRow(table, row) {
  const name = el("th", { scope: "row", title: row.note || row.label },
    row.m !== null && el("span", { class: "swatch", style: colour(row.m) }),
    el("span", { class: "name" }, row.label), row.note.startsWith("second hand") && el("sup", {}, "†"));
  return el("tr", { class: row.m === null ? null : "m m" + row.m }, name,
    row.cells.map((cell, k) => el("td", {}, tableCell(table, row, cell, k))));
}

function tableCell(table, row, [text, sd, flags, hole, marks, runs], k) {
  const shown = text ? [el("span", { class: (flags & 1 ? "best " : "") + (flags & 2 ? "second" : "") }, text),
    sd && el("span", { class: "sd" }, "±" + sd), marks.map((mark) => el("span", { class: "mark" }, mark.replace(/^(\d+) of (\d+) seeds$/, "$1/$2")))]
    : [el("span", { class: /^(failed|crashed|timeout)/.test(hole) ? "hole failed" : "hole" }, shortHole(hole))];
  if (!runs.length) return el("span", { title: text ? null : hole }, shown);
  const where = `${row.label}, ${table.columns[k].filter(Boolean).join(" ")}: ${text || hole}`;
  return el("button", { type: "button", class: "cell", title: text ? marks.join(", ") : hole, "aria-label": where,
    onclick: () => openDrawer(runs, `${row.label} · ${table.columns[k].filter(Boolean).join(" ")}`) }, shown);
}

const shortHole = (hole) => (hole.match(/^(n\/a|failed|crashed|timeout|not run)/) || ["–"])[0];

function tableText(table, form) {
  const [head, foot] = table.ends[form];
  const lines = [head];
  let block = null;
  for (const row of visibleRows(table)) {
    if (form === "tex" && row.block !== block) lines.push(table.rules[row.block]);
    block = row.block;
    lines.push(row[form]);
  }
  return [...lines, foot].join("\n").trimEnd() + "\n";
}

async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.body.appendChild(el("textarea", {}));
    area.value = text;
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  const toast = $("#toast");
  toast.textContent = what + " copied";
  toast.classList.add("on");
  setTimeout(() => toast.classList.remove("on"), 1500);
}

// ---- drawer --------------------------------------------------------------------------------------------------------

function openDrawer(ids, title, current = ids.find((id) => data.runs[id].state === "done") || ids[0]) {
  const drawer = $("#drawer");
  const run = data.runs[current];
  const setting = shared(run.setting);
  const tab = (id) => {
    const level = shared(data.runs[id].setting).known;
    const several = new Set(ids.map((other) => shared(data.runs[other].setting).known)).size > 1;
    return (several ? `${+(100 * level).toFixed(2)} % · ` : "") + "seed " + data.runs[id].seed;
  };
  drawer.replaceChildren(
    el("header", {}, el("h3", { id: "drawer-title" }, title || `${data.methods[run.m].label} · ${setting.dataset}`),
      el("button", { type: "button", onclick: () => drawer.close() }, "Close")),
    ids.length > 1 ? el("div", { class: "tabs" }, ids.map((id) => el("button", { type: "button",
      "aria-current": String(id === current), onclick: () => openDrawer(ids, title, id) }, tab(id)))) : "",
    ...runParts(current, run));
  if (!drawer.open) drawer.showModal();
  drawer.scrollTop = 0;
  state.run = current;
  writeState();
}

function runParts(id, run) {
  const parts = [list({ run: id, state: run.state + (run.reason ? `: ${run.reason}` : ""), selection: run.selection,
    seed: run.seed, encoder: shared(run.encoder), "labels known": run.known == null ? "" : run.known + " %",
    "candidates tried": run.trials, chosen: text(run.chosen), attempt: run.attempt > 1 ? run.attempt : "" }),
    part("Run it again"), el("div", { class: "command" }, el("pre", {}, run.command),
      el("button", { type: "button", onclick: () => copy(run.command, "Command") }, "Copy"))];
  if (run.error) parts.push(part("Error"), list(run.error));
  if (run.metrics) {
    const names = shared(run.metrics[0]);
    names.forEach(([view, metrics], k) => parts.push(part(`Metrics: ${view}`),
      list(Object.fromEntries(metrics.map((name, j) => [name, run.metrics[1][k][j]])), "metrics")));
    const classes = shared(run.classes), positives = shared(run.positives);
    parts.push(part("Average precision of each class (known positives)"), el("div", { class: "classes" },
      classes.map((name, c) => el("div", { style: `--w:${run.ap[c] || 0}%` }, el("span", {}, name),
        el("span", {}, `${run.ap[c] === null || run.ap[c] === undefined ? "no positive" : run.ap[c].toFixed(1)}`
          + (positives.length ? ` (${positives[c]})` : ""))))));
  }
  if (run.history && run.history.length) parts.push(part("History"), sparks(run.history));
  if (run.cost && Object.keys(run.cost).length) parts.push(part("Cost"), list(run.cost));
  parts.push(part("Method"), list(shared(run.method)), part("Setting"), list(shared(run.setting)));
  if (run.log) parts.push(part("End of the log"), el("pre", {}, run.log));
  if (run.provenance !== undefined) {
    parts.push(part("Provenance"), list({ ...shared(run.provenance), start: run.times[0], end: run.times[1] }));
  }
  return parts;
}

const part = (title) => el("h4", {}, title);
const text = (value) => value !== null && typeof value === "object"
  ? Object.keys(value).length ? JSON.stringify(value) : "" : String(value ?? "");

function list(values) {
  const shown = Object.entries(values).filter(([, value]) => text(value) !== "");
  return el("dl", {}, shown.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, text(value))]));
}

function sparks([names, rows]) {
  const columns = shared(names);
  const epochs = columns.indexOf("epoch");
  const found = columns.map((name, k) => {
    const points = rows.map((row, j) => [epochs < 0 ? j : row[epochs], row[k]]).filter(([, y]) => y !== null);
    if (k === epochs || points.length < 2) return null;
    const ys = points.map(([, y]) => y), low = Math.min(...ys), high = Math.max(...ys);
    const [first, last] = [points[0][0], points.at(-1)[0]];
    const path = points.map(([x, y]) => `${(100 * (x - first)) / (last - first || 1)},${38 - (36 * (y - low)) / (high - low || 1)}`);
    const box = el("div", {}, name + " ", el("span", {}, `${+low.toPrecision(4)} – ${+high.toPrecision(4)}`));
    box.insertAdjacentHTML("beforeend", '<svg viewBox="0 0 100 40" preserveAspectRatio="none" aria-hidden="true">'
      + `<polyline points="${path.join(" ")}" fill="none" stroke="currentColor" stroke-width="1.5" vector-effect="non-scaling-stroke"/></svg>`);
    return box;
  });
  return el("div", { class: "spark" }, found);
}

// ---- examples ------------------------------------------------------------------------------------------------------

function fillExamples() {
  const area = $("#example-area");
  const sets = data.examples.filter((set) => !state.dataset || set.dataset === state.dataset);
  if (!sets.length) return area.replaceChildren(el("p", { class: "soft" }, "No scores are stored for these data yet."));
  const set = sets.find((candidate) => candidate.title === state.ex) || sets[0];
  const lines = set.lines.filter((line) => !state.hide.has(line.m));
  const byLabel = (label, fallback) => lines.find((line) => line.label === label) || fallback;
  const a = byLabel(state.a, lines.find((line) => line.maps.length) || lines[0]);
  const b = byLabel(state.b, lines.find((line) => line !== a) || a);
  const choose = (name, label, values, chosen) => el("label", {}, el("span", { class: "soft" }, label + " "),
    el("select", { id: "example-" + name, onchange: (event) => { state[name] = event.target.value; update(); } },
      values.map((value) => el("option", { selected: value === chosen }, value))));
  const labels = lines.map((line) => line.label);
  area.replaceChildren(
    el("div", { class: "row" }, choose("ex", "Task", sets.map((one) => one.title), set.title),
      lines.length ? [choose("a", "Left", labels, a.label), choose("b", "Right", labels, b.label)] : null),
    el("div", { class: "images" }, lines.length ? set.images.map((image, k) => example(set, image, k, [a, b])) : []));
}

function example(set, image, k, lines) {
  const truth = new Set(image.truth);
  const columns = lines.map((line) => el("div", { class: "m m" + line.m }, el("h4", { title: line.label }, line.label),
    el("ol", {}, line.top[k].map(([c, score]) => el("li", { class: truth.has(c) ? "true" : null },
      el("span", {}, set.classes[c]), el("span", {}, score.toFixed(1)))))));
  const mapped = lines.find((line) => line.maps[k]);
  return el("div", { class: "example" },
    el("div", { class: "picture" }, el("img", { src: image.picture, alt: "", title: image.name, loading: "lazy" }),
      el("div", { class: "truth" }, "Truth: " + (image.truth.map((c) => set.classes[c]).join(", ") || "none"))),
    columns,
    mapped ? el("div", { class: "maps m m" + mapped.m }, mapped.maps[k].map(([c, digits]) => el("figure", {},
      el("div", { class: "map" }, el("img", { src: image.picture, alt: "" }), heat(digits, mapped.grid)),
      el("figcaption", {}, set.classes[c] + (truth.has(c) ? " ✓" : ""))))) : null);
}

/** Region weights over the picture: nothing to orange to yellow. */
function heat(digits, [rows, columns]) {
  const canvas = el("canvas", { width: columns, height: rows });
  const context = canvas.getContext("2d");
  [...digits].forEach((digit, k) => {
    const v = parseInt(digit, 36) / 35;
    context.fillStyle = `rgb(255 ${Math.round(60 + 150 * v)} 0 / ${(0.75 * v).toFixed(2)})`;
    context.fillRect(k % columns, Math.floor(k / columns), 1, 1);
  });
  return canvas;
}

// ---- protocol, failures, provenance --------------------------------------------------------------------------------

function plainTable(head, rows) {
  return el("div", { class: "scroll" }, el("table", {}, el("thead", {}, el("tr", {}, head.map((h) => el("th", {}, h)))),
    el("tbody", {}, rows.map((row) => el("tr", {}, row.map((value, k) => el(k ? "td" : "th", { class: Number.isNaN(Number(value)) ? "words" : null }, text(value))))))));
}

function fillProtocol() {
  $("#protocol-area").replaceChildren(...data.protocol.map((one) => el("details", { "data-dataset": one.dataset },
    el("summary", {}, one.title, el("span", { class: "soft" }, ` ${one.sizes.n_train} training, ${one.sizes.n_val} `
      + `validation and ${one.sizes.n_test} test images, ${one.sizes.n_classes} classes`)),
    el("h4", {}, "Setting"), list({ ...one.setting, "chance mAP (prevalence)": one.prevalence, ...one.notes }),
    el("h4", {}, "Labels"),
    plainTable(["asked for", "realised", "known positives", "known negatives", "images without a known label", "label sets"],
      one.rows.map((row) => [row.level || "all", row.realised, row.positives, row.negatives, row.empty, row.labels])),
    el("h4", {}, "Views"), list(Object.fromEntries(Object.entries(one.views).map(([name, view]) =>
      [name, `${view.rows} images × ${view.columns} classes`]))))));
}

function fillFailures() {
  const area = $("#failure-area");
  const states = {};
  for (const run of Object.values(data.runs)) states[run.state] = (states[run.state] || 0) + 1;
  const missing = Object.entries(data.runs).filter(([, run]) => run.state === "todo" || run.state === "stale");
  const failures = data.failures.map((id) => [id, data.runs[id]]).filter(([, run]) => !state.hide.has(run.m));
  area.replaceChildren(
    el("p", { class: "soft" }, (failures.length ? "" : "No run has failed. ") + Object.entries(states).map(([name, n]) => `${n} ${name}`).join(", ")
      + (missing.length ? ". The same command that started the sweep computes what is missing." : ".")),
    ...failures.map(([id, run]) => el("details", { class: "failure m m" + run.m },
      el("summary", {}, `${data.methods[run.m].label}, ${shared(run.setting).name}, ${shared(run.setting).dataset}, seed ${run.seed} `,
        el("span", { class: "soft" }, run.reason.slice(0, 300))),
      el("div", { class: "command" }, el("pre", {}, run.command),
        el("button", { type: "button", onclick: () => copy(run.command, "Command") }, "Copy")),
      el("pre", {}, run.log || run.reason))));
}

function fillProvenance() {
  $("#provenance-area").replaceChildren(plainTable(["what", "value", "runs"], data.provenance));
}

// ---- filters -------------------------------------------------------------------------------------------------------

function toggle(set, value) {
  if (!set.delete(value)) set.add(value);
  update();
}

function fillFilters() {
  $("#chips").replaceChildren(...data.methods.map((method) => el("button", { type: "button", class: "chip",
    "data-method": method.label, style: colour(method.index), title: method.label,
    onclick: () => toggle(state.hide, method.index) }, el("span", {}, method.label))));
  $("#query").addEventListener("input", (event) => { state.q = event.target.value; update(); });
  $("#dataset")?.addEventListener("change", (event) => { state.dataset = event.target.value; update(); });
  $("#reset").addEventListener("click", () => { Object.assign(state, { q: "", dataset: "" }); state.hide.clear(); update(); });
  $("#theme").addEventListener("click", () => {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const now = state.theme || (dark ? "dark" : "light");
    state.theme = now === "dark" ? "light" : "dark";
    update();
  });
}

/** Makes the page show the state. */
function apply() {
  $("#hidden-methods").textContent = [...state.hide].map((m) => `.m${m} { display: none !important; }`).join("\n");
  document.querySelectorAll(".chip").forEach((chip, m) => chip.setAttribute("aria-pressed", String(!state.hide.has(m))));
  $("#query").value = state.q;
  if ($("#dataset")) $("#dataset").value = state.dataset;
  $("#reset").hidden = !(state.q || state.dataset || state.hide.size);
  if (state.theme) document.documentElement.dataset.theme = state.theme;
  else delete document.documentElement.dataset.theme;
  for (const table of data.tables) fillTable(table);
  for (const node of document.querySelectorAll("[data-dataset]")) {
    node.hidden = Boolean(state.dataset && node.dataset.dataset && node.dataset.dataset !== state.dataset);
  }
  fillExamples();
  fillFailures();
}

function start() {
  for (const table of data.tables) {
    document.querySelector(`.tables[data-place="${CSS.escape(table.place)}"]`).append(tableArticle(table));
  }
  if (!data.tables.some((table) => table.place === "published")) $("#published").hidden = true;
  fillFilters();
  fillProtocol();
  fillProvenance();
  for (const link of document.querySelectorAll("[data-go]")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      const target = document.getElementById(link.dataset.go);
      target.scrollIntoView();
      target.setAttribute("tabindex", "-1");
      target.focus({ preventScroll: true });
    });
  }
  document.addEventListener("click", (event) => {
    const dot = event.target.closest("figure .run");
    if (dot && data.runs[dot.dataset.run]) openDrawer([dot.dataset.run]);
  });
  $("#drawer").addEventListener("close", () => { state.run = ""; writeState(); });
  $("#drawer").addEventListener("click", (event) => { if (event.target === $("#drawer")) $("#drawer").close(); });
  window.addEventListener("hashchange", () => { readState(); apply(); });
  readState();
  apply();
  if (data.runs[state.run]) openDrawer([state.run]);
}

start();
