// Tables: what their cells say for the methods that are shown and the metric that is chosen, on the page and as text.

const MAIN = new Set(["last", "val", "oracle"]);

/** The header of a column under the chosen metric. */
function columnOf(table, k) {
  const column = table.columns[k];
  if (!choosable(table) || column.metric !== "mAP" || state.metric === "mAP") return column;
  const label = column.label === "mAP" ? state.metric : column.label;
  return { ...column, label, metric: state.metric, tested: false };
}

const choosable = (table) => table.metric !== "" && table.columns[0].view !== undefined && table.place === table.name;

const metricText = (table) => (choosable(table) && state.metric !== "mAP" ? `${state.metric} (%)` : table.metric);

/** {seed: value} of a measured cell in the chosen metric. */
function seedValues(table, cell, k) {
  const column = columnOf(table, k);
  if (column.metric === table.columns[k].metric) return new Map(cell.seeds);
  const found = new Map();
  for (const id of cell.runs) {
    const run = data.runs[id];
    if (!run.metrics) continue;
    const place = shared(run.metrics[0]).findIndex(([view]) => view === column.view);
    const at = place < 0 ? -1 : shared(run.metrics[0])[place][1].indexOf(column.metric);
    const value = at < 0 ? null : run.metrics[1][place][at];
    if (value !== null && value !== undefined) found.set(run.seed, [...(found.get(run.seed) || []), value]);
  }
  const whole = new Set(cell.seeds.map(([seed]) => seed)); // seeds that have every label rate
  return new Map([...found].filter(([seed]) => whole.has(seed)).map(([seed, values]) => [seed, mean(values)]));
}

/** Rows as they are shown: hidden methods and filtered rows left out, every number with its marks, sorted. */
function shownRows(table) {
  const query = state.q.toLowerCase();
  const titled = table.title.toLowerCase().includes(query);
  const rows = table.rows.filter((row) => !state.hide.has(row.m)).map((row) => ({ ...row, cells: row.cells.map((cell, k) => numbers(table, cell, k)) }));
  const blocks = new Set(rows.map((row) => row.block));
  for (const block of blocks) {
    const members = rows.filter((row) => row.block === block);
    const everything = members.length === table.rows.filter((row) => row.block === block).length;
    table.columns.forEach((_, k) => mark(table, block, members, k, everything));
  }
  return sorted(table, rows.filter((row) => titled || row.label.toLowerCase().includes(query)));
}

/** A cell with the numbers of the chosen metric, not yet compared. */
function numbers(table, cell, k) {
  if (!cell.seeds) return cell;
  const values = seedValues(table, cell, k);
  if (!values.size) return { hole: `no ${columnOf(table, k).metric} in the record`, short: "–", runs: cell.runs };
  const list = [...values.values()], value = mean(list), sd = Math.sqrt(variance(list));
  const same = columnOf(table, k).metric === table.columns[k].metric;
  return { ...cell, values, value, text: fixed(value), sd: list.length > 1 ? fixed(sd) : "", n: list.length,
    marks: [...(list.length < cell.planned ? [`${list.length}/${cell.planned}`] : []), ...(same ? cell.marks : cell.marks.filter((m) => m !== "↓"))],
    best: false, second: false, verdict: null, given: cell.verdict, look: same ? cell.look : 0 };
}

/** The t interval of a cell's mean, found when it is asked for. */
function intervalOf(cell) {
  const half = cell.n > 1 ? studentQuantile(0.025, cell.n - 1) * Math.sqrt(variance([...cell.values.values()]) / cell.n) : NaN;
  return [cell.value - half, cell.value + half];
}

/** Python's rounding of 1 decimal: the nearest double decides, so both print the same. */
const fixed = (value) => value.toFixed(1);

/** Bold, underline and verdicts of one column of a block, among the members that are shown. */
function mark(table, block, members, k, everything) {
  const measured = members.filter((row) => row.cells[k].values);
  const test = (table.tests[block] || [])[k];
  const tested = test && columnOf(table, k).tested;
  if (everything && (tested || table.place === "first")) { // as it was computed for the tables on disk
    for (const { cells } of measured) {
      const cell = cells[k], [gap, low, high, p, detectable, tied, undecided] = cell.given;
      cell.best = Boolean(cell.look & 1);
      cell.second = Boolean(cell.look & 2);
      cell.verdict = cell.given.length ? { gap, low, high, p, detectable, tied: Boolean(tied), undecided: Boolean(undecided) } : null;
      cell.reference = measured.map((row) => row.cells[k].given).findIndex((one) => one.length && one[0] === 0 && one[4] === null);
      cell.reference = cell.reference < 0 ? "" : measured[cell.reference].label;
    }
    return;
  }
  for (const { cells } of measured) cells[k].marks = cells[k].marks.filter((m) => m !== "≠" && m !== "~");
  if (!tested) return;
  const compared = measured.filter((row) => test.m.includes(row.m));
  if (compared.length < 2) return;
  const place = (i, j) => {
    const [a, b] = [test.m.indexOf(compared[i].m), test.m.indexOf(compared[j].m)].sort((x, y) => y - x);
    return a * (a - 1) / 2 + b;
  };
  const { best, verdicts } = compareWithBest(compared.map((row) => row.cells[k].values),
    (i, j) => test.images[place(i, j)], (i, j) => test.dof[place(i, j)] ?? Infinity);
  const order = compared.map((_, i) => i).filter((i) => verdicts[i])
    .sort((a, b) => (a !== best) - (b !== best) || compared[b].cells[k].value - compared[a].cells[k].value);
  compared.forEach((row, i) => {
    const cell = row.cells[k];
    cell.verdict = verdicts[i];
    cell.best = Boolean(verdicts[i] && verdicts[i].tied && !verdicts[i].undecided && order.length > 1);
    cell.second = order.length > 1 && order[1] === i;
    cell.reference = best < 0 ? "" : compared[best].label;
    if (!verdicts[i]) cell.marks = [...cell.marks, "≠"];
    else if (verdicts[i].undecided) cell.marks = [...cell.marks, "~"];
  });
}

function sorted(table, rows) {
  if (!state.sort[table.name]) return rows;
  const [column, order] = state.sort[table.name];
  const blocks = [...new Set(table.rows.map((row) => row.block))];
  const value = (row) => (column ? row.cells[column - 1].value ?? null : row.label);
  const compare = (a, b) => typeof a === "string" ? order * a.localeCompare(b)
    : a === null || b === null ? (a === null) - (b === null) : order * (a - b);
  return [...rows].sort((a, b) => blocks.indexOf(a.block) - blocks.indexOf(b.block) || compare(value(a), value(b)));
}

// ---- as text -------------------------------------------------------------------------------------------------------

/** A table as LaTeX, Markdown or CSV, of what is shown; the same text as the file in tables/ when nothing is hidden. */
function tableText(table, form) {
  const rows = shownRows(table);
  if (form === "csv") return [table.head.csv, ...rows.flatMap((row) => csvRows(table, row))].join("\n") + "\n";
  const lines = [renamed(table, table.head[form], form)];
  let block = null;
  for (const row of rows) {
    if (form === "tex" && row.block !== block) lines.push(table.rules[row.block]);
    block = row.block;
    const cells = row.cells.map((cell) => cellText(cell, form));
    lines.push(row.whole ? row.whole[form === "tex" ? 0 : 1]
      : form === "tex" ? [row.tex, ...cells].join(" & ") + " \\\\" : `| ${[row.md, ...cells].join(" | ")} |`);
  }
  const notes = [...table.notes.map((note) => note[form]), ...meanings(rows, form)];
  if (form === "md") return [...lines, "\n" + notes.map((note) => "- " + note).join("\n")].join("\n").trimEnd() + "\n";
  const below = notes.slice(table.notes.length ? 1 : 0).join("\\newline ");
  lines.push("\\bottomrule\n\\end{tabular}");
  if (below) lines.push(`\\par\\smallskip\\parbox{\\linewidth}{\\scriptsize\\raggedright ${below}}`);
  return [...lines, `\\end{${table.columns.length > 6 ? "table*" : "table"}}`].join("\n") + "\n";
}

/** The head with the name of the chosen metric in caption and columns. */
function renamed(table, head, form) {
  if (metricText(table) === table.metric) return head;
  const name = state.metric.replaceAll("_", "\\_");
  const found = head.replaceAll(form === "tex" ? table.metric_tex : table.metric_md, form === "tex" ? `${name} (\\%)` : `${name} (%)`);
  return form === "tex" ? found.replaceAll(/(& )mAP(?= [&\\])/g, `$1${name}`) : found.replaceAll(/(\| (?:\w+ )?)mAP(?= \|)/g, `$1${name}`);
}

/** What the marks of the rows mean, as one sentence. */
function meanings(rows, form) {
  const used = new Set(rows.flatMap((row) => row.cells.flatMap((cell) => cell.marks || [])));
  const found = Object.entries(data.marks).filter(([mark]) => used.has(mark))
    .map(([mark, meaning]) => `${form === "text" ? mark : meaning[form]}: ${meaning.text}`);
  if ([...used].some((mark) => mark.includes("/"))) found.unshift("a/b: a of b planned seeds");
  return found.length ? [found.join("; ") + "."] : [];
}

function cellText(cell, form) {
  const escaped = (mark) => (data.marks[mark] ? data.marks[mark][form] : mark);
  if (cell.hole !== undefined) return form === "tex" ? cell.short.replace("–", "--") : cell.short;
  let text = cell.text;
  if (cell.second) text = form === "tex" ? `\\underline{${text}}` : `<u>${text}</u>`;
  if (cell.best) text = form === "tex" ? `\\textbf{${text}}` : `**${text}**`;
  if (cell.sd) text += form === "tex" ? `{\\tiny$\\pm$${cell.sd}}` : ` ± ${cell.sd}`;
  if (!cell.marks || !cell.marks.length) return text;
  return text + (form === "tex" ? `\\textsuperscript{${cell.marks.map(escaped).join(",")}}` : ` (${cell.marks.map(escaped).join(", ")})`);
}

function csvRows(table, row) {
  const quoted = (value) => {
    let text = value === null || value === undefined || Number.isNaN(value) ? "" : String(value);
    text = text.replace(/[\p{C}\p{Z}]/gu, " ").trim().replace(/ +/g, " "); // as labels.plain
    if ([...text].length > 200) text = [...text].slice(0, 199).join("") + "…";
    if (typeof value === "string" && /^[=+@]/.test(text)) text = "'" + text;
    return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return row.cells.map((cell, k) => {
    const column = columnOf(table, k);
    const name = [column.top, column.label].filter(Boolean).join(" ");
    const start = [row.label, row.block, name, table.metric && data.blocks[row.block] ? column.metric : ""];
    const marks = (cell.marks || []).join(" ");
    let numbers = [cell.value ?? cell.text ?? "", "", "", "", "", "", "", "", marks, ""];
    if (cell.hole !== undefined) numbers = [...Array(9).fill(""), cell.hole];
    else if (cell.values) {
      const p = cell.verdict ? cell.verdict.p : "", tied = cell.verdict ? (cell.verdict.undecided ? "undecided" : cell.verdict.tied ? "True" : "False") : "";
      numbers = [cell.value, cell.n > 1 ? Math.sqrt(variance([...cell.values.values()])) : "", cell.n, cell.planned, ...intervalOf(cell), p, tied, marks, ""];
    }
    return [...start, ...numbers, row.note].map(quoted).join(",");
  });
}
