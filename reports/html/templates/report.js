// The page: state in the fragment, sections drawn when they are looked at, the drawer.

let data = null;
const $ = (selector) => document.querySelector(selector);
const shared = (position) => data.shared[position];
const state = { tab: "first", metric: "mAP", hide: new Set(), q: "", dataset: "", sort: {}, run: "", theme: "", open: new Set(), ex: "", a: "", b: "" };
const TEXTS = ["tab", "metric", "q", "dataset", "run", "theme", "ex", "a", "b"];
const DEFAULTS = { tab: "first", metric: "mAP" };

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
  for (const name of TEXTS) state[name] = given.get(name) || DEFAULTS[name] || "";
  if (!data.metrics.includes(state.metric)) state.metric = "mAP";
  if (!document.querySelector(`main > section[id="${CSS.escape(state.tab)}"]`)) state.tab = "first";
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
  for (const name of TEXTS) if (state[name] && state[name] !== DEFAULTS[name]) text.set(name, state[name]);
  for (const name of state.open) text.append("open", name);
  for (const [table, [column, order]] of Object.entries(state.sort)) text.append("sort", `${table}~${column}~${order}`);
  history.replaceState(null, "", "#" + text);
}

function update() {
  writeState();
  apply();
}

// ---- tables --------------------------------------------------------------------------------------------------------

const SHOWN = 5; // published lines before one asks for all

function tableArticle(table) {
  return el("article", { class: "table", id: "table-" + table.name },
    el("p", { class: "caption" }),
    el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": table.title }, el("table")),
    el("div", { class: "under" },
      el("button", { type: "button", class: "more", hidden: true, onclick: () => toggle(state.open, table.name) }),
      el("span", { class: "copy" }, "Copy as ",
        [["LaTeX", "tex"], ["Markdown", "md"], ["CSV", "csv"]].map(([label, form]) =>
          el("button", { type: "button", "data-form": form, onclick: () => copy(tableText(table, form), label),
            "aria-label": `Copy ${table.title} as ${label}` }, label)))),
    el("ul", { class: "notes" }));
}

function fillTable(table) {
  const article = document.getElementById("table-" + table.name);
  const rows = shownRows(table);
  const node = el("table", {}, tableHead(table));
  const blocks = new Map();
  for (const row of rows) blocks.set(row.block, [...(blocks.get(row.block) || []), row]);
  const measured = [...blocks.keys()].filter((block) => MAIN.has(block));
  for (const [block, members] of blocks) {
    const title = data.blocks[block];
    const body = el("tbody", { class: block || "foot" });
    if (title && (measured.length > 1 || block !== measured[0])) {
      body.append(el("tr", { class: "block" }, el("th", { colspan: table.columns.length + 1 }, title)));
    }
    const all = block !== "published" || state.open.has(table.name) || printing;
    body.append(...(all ? members : members.slice(0, SHOWN)).map((row) => tableRow(table, row)));
    node.append(body);
  }
  node.addEventListener("click", (event) => {
    const button = event.target.closest("button.cell");
    if (button) openCell(table, rows.find((row) => row === button.row), Number(button.dataset.k));
  });
  article.querySelector("table").replaceWith(node);
  article.querySelector(".caption").textContent = metricText(table);
  const untested = choosable(table) && state.metric !== "mAP"
    ? [`No test is made for ${state.metric}: nothing is bold or underlined.`] : [];
  article.querySelector(".notes").replaceChildren(...[...table.notes.filter((note) => !note.general).map((note) => note.text),
    ...untested, ...meanings(rows, "text")].map((note) => el("li", {}, note)));
  const published = (blocks.get("published") || []).length;
  const more = article.querySelector(".more");
  more.hidden = published <= SHOWN;
  more.textContent = state.open.has(table.name) ? "Fewer published lines" : `All ${published} published lines`;
}

function tableHead(table) {
  const [column, order] = state.sort[table.name] || [];
  const head = el("thead");
  const columns = table.columns.map((_, k) => columnOf(table, k));
  if (columns.some(({ top }) => top)) {
    const upper = el("tr", { class: "upper" }, el("th"));
    let last = null;
    for (const { top } of columns) {
      if (last && top && last.textContent === top) last.colSpan += 1;
      else upper.append((last = el("th", { colspan: 1 }, top)));
    }
    head.append(upper);
  }
  const labels = [table.first, ...columns.map(({ label }) => label)];
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
  writeState();
  fillTable(table);
  document.getElementById("table-" + table.name).querySelectorAll("thead tr:last-child button")[column].focus();
}

function tableRow(table, row) {
  const name = el("span", { class: "name", title: row.label + (row.note ? `. ${row.note}` : "") }, row.label);
  const whole = row.whole && row.cells.every((cell) => cell.hole !== undefined);
  const cells = whole ? [el("td", { colspan: row.cells.length, class: "words" }, cellNode(table, row, 0, row.cells[0].hole))]
    : row.cells.map((_, k) => el("td", {}, cellNode(table, row, k)));
  return el("tr", { class: row.m === null ? null : "m m" + row.m },
    el("th", { scope: "row" }, row.m === null ? null : el("span", { class: "swatch", style: colour(row.m), "aria-hidden": "true" }, data.methods[row.m].sign), name), cells);
}

function cellNode(table, row, k, reason) {
  const cell = row.cells[k];
  const hole = cell.hole !== undefined;
  const looks = (cell.best ? "best " : "") + (cell.second ? "second" : "");
  const shown = hole ? el("span", { class: /^(failed|crashed|timeout)/.test(cell.hole) ? "hole failed" : "hole" }, reason || cell.short)
    : [el("span", { class: looks || null }, cell.text), cell.sd ? el("span", { class: "sd" }, "±" + cell.sd) : null,
      (cell.marks || []).map((mark) => el("sup", { class: "mark", title: data.marks[mark] ? data.marks[mark].text : "planned seeds that are done" }, mark))];
  if (!cell.runs.length) return el("span", { title: hole ? cell.hole : null }, shown);
  const column = columnOf(table, k);
  const where = `${row.label}, ${[column.top, column.label].filter(Boolean).join(" ")}: ${hole ? cell.hole : cell.text}`;
  const button = el("button", { type: "button", class: "cell", "data-k": k, title: hole ? cell.hole : null, "aria-label": where }, shown);
  button.row = row;
  return button;
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

/** Why a number is bold or not, in words. */
function why(table, row, k) {
  const cell = row.cells[k], verdict = widened(cell.verdict);
  if (row.block === "oracle") return "Not ranked: its epoch was chosen on the test labels.";
  if (!columnOf(table, k).tested && table.place !== "first") return `Not marked: no test is made for ${columnOf(table, k).metric}.`;
  if (cell.marks.includes("≠")) return "Not marked: it has no seed in common with the best, so the two cannot be compared.";
  if (cell.marks.includes("?")) return "Not marked: its scores are gone, so it cannot be compared.";
  if (!verdict) return "Not marked: there is no second method to compare it with.";
  if (verdict.gap === 0 && row.label === cell.reference) return cell.best ? "Bold: the highest mean of what is shown." : "";
  const gap = `${Math.abs(verdict.gap).toFixed(2)} points ${verdict.gap <= 0 ? "below" : "above"} ${cell.reference} on their common seeds`
    + ` (simultaneous 95 % interval ${verdict.low.toFixed(2)} to ${verdict.high.toFixed(2)}, p = ${verdict.p.toPrecision(2)})`;
  if (verdict.undecided) return `Undecided: ${gap}. On these test images alone it is below the best; the seeds scatter too much to say so in general.`
    + ` A true gap of ${verdict.detectable.toFixed(1)} points would be found four times in five; more seeds find smaller ones.`;
  return verdict.tied
    ? `Bold: ${gap}; not significantly below the best. A true gap of ${verdict.detectable.toFixed(1)} points would be found four times in five.`
    : `Not bold: ${gap}.`;
}

function openCell(table, row, k) {
  const cell = row.cells[k], column = columnOf(table, k);
  const name = [column.top, column.label].filter(Boolean).join(" ");
  const parts = [];
  if (cell.values) {
    const seeds = [...cell.values.entries()];
    const [low, high] = intervalOf(cell);
    const interval = Number.isFinite(low) ? `${low.toFixed(2)} to ${high.toFixed(2)}` : "one seed: none";
    parts.push(el("p", {}, `${table.title}; ${column.metric} (%)`),
      plainTable(["", ...seeds.map(([seed]) => `seed ${seed}`), "mean", "sd"],
        [[column.metric, ...seeds.map(([, value]) => value.toFixed(2)), cell.value.toFixed(2), cell.sd || "–"]]),
      list({ "95 % interval of the mean (t over seeds)": interval, "seeds": `${cell.n} of ${cell.planned} planned`,
        "marks": (cell.marks || []).map((mark) => `${mark} ${data.marks[mark] ? data.marks[mark].text : ""}`).join("; ") }),
      el("p", { class: "why" }, why(table, row, k)));
  } else parts.push(el("p", { class: "why" }, cell.hole));
  openDrawer(cell.runs, `${row.label} · ${name}`, undefined, parts);
}

function openDrawer(ids, title, current = ids.find((id) => data.runs[id].metrics) || ids[0], parts = []) {
  const drawer = $("#drawer");
  const run = data.runs[current];
  const setting = shared(run.setting);
  const rates = new Set(ids.map((other) => shared(data.runs[other].setting).known));
  const tab = (id) => (rates.size > 1 ? `${+(100 * shared(data.runs[id].setting).known).toFixed(2)} % · ` : "") + "seed " + data.runs[id].seed;
  drawer.replaceChildren(
    el("header", {}, el("h3", { id: "drawer-title" }, title || `${data.methods[run.m].label} · ${setting.dataset}`),
      el("button", { type: "button", onclick: () => drawer.close() }, "Close")),
    ...parts,
    ids.length > 1 ? el("div", { class: "tabs" }, ids.map((id) => el("button", { type: "button",
      "aria-current": String(id === current), onclick: () => openDrawer(ids, title, id, parts) }, tab(id)))) : "",
    ...runParts(current, run));
  if (!drawer.open) {
    drawer.showModal();
    drawer.scrollTop = 0;
  }
  state.run = current;
  writeState();
}

function runParts(id, run) {
  const setting = shared(run.setting);
  const parts = [list({ run: id, state: run.reason.startsWith(run.state) ? run.reason : run.state + (run.reason ? `: ${run.reason}` : ""), "data set": setting.dataset, setting: setting.name,
    selection: run.selection, seed: run.seed, encoder: shared(run.encoder), "labels known": run.known == null ? "" : run.known + " %",
    "candidates tried": run.trials, chosen: text(run.chosen), attempt: run.attempt > 1 ? run.attempt : "" })];
  if (run.command) parts.push(part(run.metrics || run.error ? "Run it again" : "Computed by"), command(run.command));
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
  parts.push(part("Method"), list(shared(run.method)), part("Setting"), list(setting));
  if (run.log) parts.push(part("End of the log"), el("pre", {}, run.log));
  if (run.provenance !== undefined) {
    parts.push(part("Provenance"), list({ ...shared(run.provenance), start: run.times[0], end: run.times[1] }));
  }
  return parts;
}

const command = (line) => el("div", { class: "command" }, el("pre", {}, line),
  el("button", { type: "button", onclick: () => copy(line, "Command") }, "Copy"));
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
    el("p", { class: "soft" }, set.how, lines.length ? ` Left: ${a.label}, ${a.what}. Right: ${b.label}, ${b.what}.` : ""),
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

// ---- protocol, missing runs, provenance ----------------------------------------------------------------------------

/** `words` are the columns that hold no numbers, so that a digest is not aligned like one. */
function plainTable(head, rows, words = [0]) {
  const kind = (k) => (words.includes(k) ? "words" : null);
  return el("div", { class: "scroll" }, el("table", {}, el("thead", {}, el("tr", {}, head.map((h, k) => el("th", { scope: "col", class: kind(k) }, h)))),
    el("tbody", {}, rows.map((row) => el("tr", {}, row.map((value, k) => el(k ? "td" : "th", { scope: k ? null : "row", class: kind(k) }, text(value))))))));
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
  const states = {};
  for (const run of Object.values(data.runs)) states[run.state] = (states[run.state] || 0) + 1;
  const failures = data.failures.map((id) => [id, data.runs[id]]).filter(([, run]) => !state.hide.has(run.m));
  $("#failure-area").replaceChildren(
    el("p", { class: "soft" }, (data.failures.length ? "" : "No run has failed. ") + Object.entries(states).map(([name, n]) => `${n} ${name}`).join(", ") + "."),
    ...data.fill.map(([line, n]) => el("div", {}, el("p", { class: "soft" }, n === 1 ? "1 missing run is computed by" : `${n} missing runs are computed by`), command(line))),
    ...failures.map(([, run]) => el("details", { class: "failure m m" + run.m },
      el("summary", {}, `${data.methods[run.m].label}, ${shared(run.setting).name}, ${shared(run.setting).dataset}, seed ${run.seed} `,
        el("span", { class: "soft" }, run.reason.slice(0, 300))),
      command(run.command), el("pre", {}, run.log || run.reason))),
    ...data.damaged.map(([place, why]) => el("p", { class: "failure" }, `${place}: ${why}`)));
}

const fillProvenance = () => $("#provenance-area").replaceChildren(plainTable(["what", "value", "runs"], data.provenance, [0, 1]));

// ---- filters and sections ------------------------------------------------------------------------------------------

function toggle(set, value) {
  if (!set.delete(value)) set.add(value);
  update();
}

function fillFilters() {
  $("#chips").replaceChildren(...data.methods.map((method) => el("button", { type: "button", class: "chip",
    "data-method": method.label, "data-sign": method.sign, style: colour(method.index), title: method.label,
    onclick: () => toggle(state.hide, method.index) }, el("span", {}, method.label))));
  $("#metric").replaceChildren(...data.metrics.map((name) => el("option", { value: name }, name)));
  for (const [selector, kind] of [["#query", "input"], ["#dataset", "change"], ["#metric", "change"]]) {
    $(selector)?.addEventListener(kind, (event) => { state[selector === "#query" ? "q" : selector.slice(1)] = event.target.value; update(); });
  }
  $("#reset").addEventListener("click", () => { Object.assign(state, { q: "", dataset: "", metric: "mAP" }); state.hide.clear(); update(); });
  $("#theme").addEventListener("click", () => {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const now = state.theme || (dark ? "dark" : "light");
    state.theme = now === "dark" ? "light" : "dark";
    update();
  });
}

const MARGIN = 400; // pixels beside the view that are drawn as well
let printing = false;
const OTHERS = { examples: fillExamples, protocol: fillProtocol, failures: fillFailures, provenance: fillProvenance };

/** What is drawn as one: the groups of a section, else the section. */
function unitsOf(section) {
  const groups = [...section.querySelectorAll(".group")];
  return [...groups, ...[section].filter(() => !groups.length || section.id === "first")];
}

let changes = 1; // of the state; a unit that was drawn before the last one is drawn again when it comes into view
const coming = new IntersectionObserver((entries) => entries.filter((one) => one.isIntersecting).forEach((one) => draw(one.target)),
  { rootMargin: MARGIN + "px" });

/** Whether a unit is in view, or will be after a short way. */
function near(unit) {
  const { top, bottom } = unit.getBoundingClientRect();
  return printing || (bottom > -MARGIN && top < innerHeight + MARGIN);
}

const own = (unit, selector) => [...unit.querySelectorAll(selector)].filter((node) => node.closest(".group, section") === unit);

/** Draws what a unit shows, the first time with its frames and figures. */
function draw(unit) {
  if (Number(unit.dataset.drawn) === changes) return;
  if (!unit.dataset.drawn) {
    for (const place of own(unit, ".tables")) {
      const tables = data.tables.filter((table) => table.place === place.dataset.place && (!place.dataset.table || table.name === place.dataset.table));
      place.append(...tables.map(tableArticle));
      if (!tables.length) place.append(el("p", { class: "soft" }, "Nothing measured here has a published counterpart."));
    }
    for (const place of own(unit, ".figures")) {
      for (const figure of data.figures.filter((one) => one.place === place.dataset.place)) {
        const node = el("figure", { id: "figure-" + figure.name });
        node.insertAdjacentHTML("beforeend", figure.svg); // made by the suite; text in it is escaped
        node.append(el("figcaption", {}, figure.caption));
        place.append(node);
      }
    }
  }
  unit.dataset.drawn = changes;
  const inside = new Set(own(unit, "article.table").map((node) => node.id));
  for (const table of data.tables) if (inside.has("table-" + table.name)) fillTable(table);
  if (OTHERS[unit.id]) OTHERS[unit.id]();
  filterByDataset(unit);
}

function filterByDataset(root) {
  for (const node of root.querySelectorAll("[data-dataset]")) {
    node.hidden = Boolean(state.dataset && node.dataset.dataset && node.dataset.dataset !== state.dataset);
  }
}

/** Makes the page show the state. */
function apply() {
  $("#hidden-methods").textContent = [...state.hide].map((m) => `.m${m} { display: none !important; }`).join("\n");
  document.querySelectorAll(".chip").forEach((chip, m) => chip.setAttribute("aria-pressed", String(!state.hide.has(m))));
  $("#query").value = state.q;
  $("#metric").value = state.metric;
  if ($("#dataset")) $("#dataset").value = state.dataset;
  $("#reset").hidden = !(state.q || state.dataset || state.hide.size || state.metric !== "mAP");
  if (state.theme) document.documentElement.dataset.theme = state.theme;
  else delete document.documentElement.dataset.theme;
  for (const link of document.querySelectorAll("nav [data-tab]")) link.setAttribute("aria-current", String(link.dataset.tab === state.tab));
  changes++;
  for (const section of document.querySelectorAll("main > section")) {
    section.hidden = !printing && section.id !== state.tab;
    if (section.hidden) continue;
    filterByDataset(section);
    unitsOf(section).filter(near).forEach(draw);
  }
}

/** Everything is drawn and unfolded for a printer, and folded again behind it. */
function print(on) {
  printing = on;
  apply();
  for (const node of document.querySelectorAll("details")) {
    if (on) node.dataset.was = String(node.open);
    node.open = on || node.dataset.was === "true";
  }
}

async function unpack() {
  const bytes = Uint8Array.from(atob($("#data").textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

async function start() {
  try {
    data = await unpack();
  } catch (error) {
    $("#main").prepend(el("p", { class: "banner" }, "This page needs a browser of 2023 or later: its data cannot be unpacked here."));
    throw error;
  }
  fillFilters();
  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-tab], [data-go]");
    if (link) {
      event.preventDefault();
      if (link.dataset.tab) { state.tab = link.dataset.tab; update(); }
      const target = document.getElementById(link.dataset.then || link.dataset.go || "main");
      if (link.dataset.then) draw(target);
      if (link.dataset.then || link.dataset.go) target.scrollIntoView();
      target.setAttribute("tabindex", "-1");
      target.focus({ preventScroll: true });
    }
    const dot = event.target.closest("figure .run");
    if (dot && data.runs[dot.dataset.run]) openDrawer([dot.dataset.run]);
  });
  $("#drawer").addEventListener("close", () => { state.run = ""; writeState(); });
  $("#drawer").addEventListener("click", (event) => { if (event.target === $("#drawer")) $("#drawer").close(); });
  window.addEventListener("hashchange", () => { readState(); apply(); });
  window.addEventListener("beforeprint", () => print(true));
  window.addEventListener("afterprint", () => print(false));
  readState();
  apply();
  document.querySelectorAll("main > section").forEach((section) => unitsOf(section).forEach((unit) => coming.observe(unit)));
  if (data.runs[state.run]) openDrawer([state.run]);
  document.documentElement.dataset.ready = String(Math.round(performance.now()));  // ms
}

start();
