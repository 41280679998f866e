"""Tables: numbers, marks, holes and layouts from synthetic records; LaTeX that compiles whatever
the names are."""

import csv
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from benchmark.plan import Row as PlanRow
from benchmark.spec import Choice
from reports.groups import arrange, collect, slug
from reports.published import published, same_backbone
from reports.significance import Significance
from reports.tables import formats, main, side
from reports.tables.formats import Cell, Row, Table
from tests.fixtures.synthetic_records import (
    HOSTILE,
    LONG_TAIL,
    ZERO_SHOT,
    partial,
    specification,
    write_run,
)


def tables_of(out, plan=None):
    groups = arrange(collect([out], plan))
    significance = Significance(out / "cache")
    significance.prepare(groups)
    return {table.name: table for table in main.main_tables(groups, significance)}, groups


def row_of(table, label, block="last"):
    return next(row for row in table.rows if (row.label, row.block) == (label, block))


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Partial labels on two rates and two seeds, with an oracle run, a failure and a run that is
    missing."""
    out = tmp_path_factory.mktemp("sweep")
    for method in ("coop", "dualcoop", "zero_shot_clip"):
        for known in (0.1, 0.5):
            for seed in (0, 1):
                failed = (method, known) == ("coop", 0.5)
                write_run(
                    out,
                    specification(method, partial(known), seed),
                    status="failed" if failed else "done",
                )
    write_run(out, specification("linear_probe", partial(0.1), 0))
    for known in (0.1, 0.5):
        write_run(out, specification("coop", partial(known), 0, "oracle"))
    return tables_of(out)


def test_numbers_are_means_and_sample_deviations_over_seeds(sweep):
    (table,), (group,) = sweep[0].values(), sweep[1]
    values = [entry.value("all") for entry in group.done(("last", "dualcoop"), 0.1).values()]
    cell = row_of(table, "dualcoop").cells[0]
    assert (cell.text, cell.sd) == (f"{np.mean(values):.1f}", f"{np.std(values, ddof=1):.1f}")
    assert len(cell.runs) == 2


def test_average_is_made_of_the_printed_cells(sweep):
    (table,) = sweep[0].values()
    first, second, average = row_of(table, "dualcoop").cells
    assert average.text == f"{(float(first.text) + float(second.text)) / 2:.1f}"
    assert row_of(table, "linear_probe").cells[2].hole == "needs every label rate"


def test_best_is_bold_second_underlined_and_oracle_unmarked(sweep):
    (table,) = sweep[0].values()
    assert (
        row_of(table, "dualcoop").cells[0].best
        and not row_of(table, "zero_shot_clip").cells[0].best
    )
    assert row_of(table, "coop").cells[0].second
    oracle = row_of(table, "coop", "oracle").cells[0]
    assert oracle.text and not oracle.best and not oracle.second
    assert [row.block for row in table.rows] == ["last"] * 4 + ["oracle", ""]


def test_holes_say_why(sweep):
    (table,) = sweep[0].values()
    assert row_of(table, "coop").cells[1].hole == "failed: ValueError: diverged"
    assert row_of(table, "linear_probe").cells[1].hole == "not run"
    assert row_of(table, "linear_probe").cells[0].marks == ("1 of 2 seeds",)
    assert any("coop: failed: ValueError" in note for note in table.notes)


def test_methods_that_tie_are_all_bold(tmp_path):
    for method in ("dualcoop", "lm_clip"):  # nearly the same skill, few images
        write_run(tmp_path, specification(method, partial(0.5)), images=60)
    (table,) = tables_of(tmp_path)[0].values()
    assert row_of(table, "dualcoop").cells[0].best and row_of(table, "lm_clip").cells[0].best
    assert float(row_of(table, "Detectable difference", "").cells[0].text) > 1


def test_plan_names_what_does_not_apply_and_what_is_stale(tmp_path):
    done = specification("coop", ZERO_SHOT)
    write_run(tmp_path, done, images=60)
    other = specification("linear_probe", ZERO_SHOT)
    plan = [
        PlanRow(done, "stale"),
        PlanRow(other, "n/a", "closed vocabulary"),
    ]
    (table,) = tables_of(tmp_path, plan)[0].values()
    assert row_of(table, "coop").cells[0].marks == ("stale",)
    assert row_of(table, "linear_probe").cells[0].hole == "n/a: closed vocabulary"


def test_zero_shot_and_long_tail_layouts(tmp_path):
    for setting in (ZERO_SHOT, LONG_TAIL):
        write_run(tmp_path, specification("coop", setting), images=60)
    built, groups = tables_of(tmp_path)
    zero_shot, long_tail = (
        built["zero_shot_pictograms65_pocket-RN"],
        built["long_tail_pictograms_lt_pocket-RN"],
    )
    assert [label for _, label in zero_shot.columns] == [
        *("P@3", "R@3", "F1@3", "F1@5", "mAP") * 2,
        "H",
    ]
    assert [label for _, label in long_tail.columns] == ["total", "head", "medium", "tail"]
    (entry,) = groups[0].usable()
    seen, unseen = entry.value("seen"), entry.value("unseen")
    assert row_of(zero_shot, "coop").cells[-1].text == f"{2 * seen * unseen / (seen + unseen):.1f}"
    assert row_of(long_tail, "coop").cells[3].exact == pytest.approx(
        np.nanmean(groups[1].usable()[0].average_precision()[7:])
    )


def test_labels_show_parameters_only_where_runs_differ(tmp_path):
    for length in (4, 16):
        write_run(tmp_path, specification("coop", partial(0.5), context_length=length), images=40)
    write_run(tmp_path, specification("dualcoop", partial(0.5)), images=40)
    labels = {entry.method for entry in collect([tmp_path])}
    assert labels == {"coop(context_length=4)", "coop(context_length=16)", "dualcoop"}


def test_a_preset_that_goes_with_the_encoder_is_not_a_variant(tmp_path):
    pocket = replace(
        specification("coop", partial(0.5)),
        method=Choice("coop", {"epochs": 5, "preset": "pocket"}),
    )
    official = replace(
        specification("coop", partial(0.5, "voc2007"), encoder="RN101"),
        method=Choice("coop", {"epochs": 50, "preset": ""}),
    )
    for spec in (pocket, official):
        write_run(tmp_path, spec, images=40)
    assert {entry.method for entry in collect([tmp_path])} == {"coop"}


def test_protocols_make_separate_tables(tmp_path):
    for mask in ("nested", "community"):
        write_run(tmp_path, specification("coop", {**partial(0.5), "mask": mask}), images=40)
    assert sorted(tables_of(tmp_path)[0]) == [
        "partial_pictograms_pocket-RN_mask_community",
        "partial_pictograms_pocket-RN_mask_nested",
    ]


def test_two_folders_are_joined_and_a_done_run_wins(tmp_path):
    spec = specification("coop", partial(0.5))
    write_run(tmp_path / "a", spec, status="failed")
    write_run(tmp_path / "b", spec, images=40)
    write_run(tmp_path / "b", specification("dualcoop", partial(0.5)), images=40)
    entries = collect([tmp_path / "a", tmp_path / "b"])
    assert [entry.state for entry in entries] == ["done", "done"]


def test_scores_that_are_gone_leave_the_number_without_a_test(tmp_path):
    for method in ("coop", "dualcoop"):
        run = write_run(tmp_path, specification(method, partial(0.5)), images=40)
        (tmp_path / "runs" / run / "scores.npy").unlink()
    (table,) = tables_of(tmp_path)[0].values()
    assert row_of(table, "coop").cells[0].text and "Detectable difference" not in {
        row.label for row in table.rows
    }


# ---- published -----------------------------------------------------------------------------------


def test_published_lines_are_beside_measured_ones_of_the_same_data_only(tmp_path):
    for known in (0.1, 0.2):
        for seed in (0, 1):
            write_run(
                tmp_path,
                specification("dualcoop", partial(known, "voc2007"), seed, encoder="RN101"),
                images=40,
            )
    write_run(tmp_path, specification("dualcoop", partial(0.1)), images=40)
    built, groups = tables_of(tmp_path)
    blocks = {name: [row.block for row in table.rows] for name, table in built.items()}
    assert "published" in blocks["partial_voc2007_RN101_openai_224"]
    assert "published" not in blocks["partial_pictograms_pocket-RN"]
    paper = next(
        r
        for r in built["partial_voc2007_RN101_openai_224"].rows
        if r.label == "DualCoOp [CLIP RN101, 448 px]"
    )
    # the average of what is printed here
    assert [cell.text for cell in paper.cells] == ["90.3", "92.2", "91.2"]
    gaps = side.gap_table(groups)
    row = next(row for row in gaps.rows if row.cells[1].text == "90.3")
    assert row.cells[2].exact == pytest.approx(row.cells[0].exact - 90.3) and row.cells[3].text in (
        "yes",
        "no",
    )
    assert "result.png" in row.note


def test_nothing_unverified_is_printed():
    with main.published.__globals__["FILE"].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["certainty"] for row in rows} == {"verified", "verified-secondary"}
    assert all(float(row["value"]) > 0 and row["source"] for row in rows)
    assert len(published("partial", "coco2014")) > 10
    assert same_backbone("CLIP ViT-B/16", "ViT-B-16") and not same_backbone(
        "RN101 (ImageNet)", "RN101"
    )


# ---- formats -------------------------------------------------------------------------------------


def hostile_table():
    texts = tuple(HOSTILE.values())
    rows = tuple(
        Row(text, "last", (Cell("81.4", "0.3", best=True), Cell(hole=f"failed: {text}")))
        for text in texts
    )
    columns = (("Top & co", "10 %"), ("Top & co", "a_b"))
    return Table("hostile", f"Names: {' '.join(texts)}", "", columns, rows, texts)


def check_latex(text):
    """Balanced groups and environments, every row as wide as the columns, no raw special
    characters."""
    plain = re.sub(r"\\[\\{}$&%#_]", "", text)
    body = "\n".join(line.split("%")[0] for line in plain.splitlines())
    assert body.count("{") == body.count("}") and body.count("$") % 2 == 0
    assert re.findall(r"\\begin\{([\w*]+)\}", text) == re.findall(r"\\end\{([\w*]+)\}", text)[::-1]
    columns = len(re.search(r"\\begin\{tabular\}\{(l?c*)\}", text)[1])
    for line in text.split(r"\toprule")[1].split(r"\bottomrule")[0].splitlines():
        if line.endswith(r"\\"):
            spans = [int(n) for n in re.findall(r"\\multicolumn\{(\d+)\}", line)]
            assert len(re.findall(r"(?<!\\)&", line)) + 1 + sum(spans) - len(spans) == columns, line
    assert text.isascii()


@pytest.mark.parametrize("which", ["hostile", "sweep"])
def test_latex_is_sound(which, sweep):
    check_latex(
        formats.render(
            hostile_table() if which == "hostile" else next(iter(sweep[0].values())), "tex"
        )
    )


def test_latex_escapes_names():
    assert formats.latex_text("100%_csc&co") == r"100\%\_csc\&co"
    assert formats.latex_text("שם") == "{[}U+05E9{]}{[}U+05DD{]}"
    assert (
        formats.latex_text("Café ±1 \\x{}~^")
        == r"Café $\pm$1 \textbackslash{}x\{\}\textasciitilde{}\textasciicircum{}"
    )
    assert len(formats.latex_text("x" * 10_000)) < 250
    # a row may start with it, and \\[ takes an argument
    assert formats.latex_text("[a]*") == "{[}a{]}{*}"


@pytest.mark.skipif(
    not (shutil.which("pdflatex") or shutil.which("tectonic")), reason="no LaTeX engine installed"
)
def test_latex_compiles(tmp_path, sweep):
    inputs = []
    for table in (hostile_table(), *sweep[0].values()):
        (tmp_path / f"{table.name}.tex").write_text(formats.render(table, "tex"))
        inputs.append(rf"\input{{{table.name}}}")
    lines = [
        r"\documentclass{article}",
        r"\usepackage{booktabs}",
        r"\begin{document}",
        *inputs,
        r"\end{document}",
    ]
    (tmp_path / "main.tex").write_text("\n".join(lines))
    engine = (
        ["pdflatex", "-halt-on-error", "-interaction=nonstopmode"]
        if shutil.which("pdflatex")
        else ["tectonic"]
    )
    done = subprocess.run([*engine, "main.tex"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]


def test_markdown_and_csv_keep_hostile_names_as_text(sweep):
    markdown, plain = formats.render(hostile_table(), "md"), formats.render(hostile_table(), "csv")
    assert "<script" not in markdown and "| **81.4** ± 0.3 |" in markdown
    lines = list(csv.reader(plain.splitlines()))
    assert {len(line) for line in lines} == {6} and lines[1][0] == HOSTILE["tag"]
    assert (
        len(next(iter(csv.reader([formats.csv_parts(hostile_table())[1][2]])))[0])
        == formats.LONGEST
    )
    (table,) = sweep[0].values()
    rows = list(csv.DictReader(formats.render(table, "csv").splitlines()))
    assert float(rows[0]["10 %"]) == pytest.approx(
        row_of(table, rows[0]["method"]).cells[0].exact, abs=1e-4
    )
    assert formats.csv_parts(
        Table("t", "", "", (("", "a"),), (Row("=1+1", "last", (Cell("1"),)),))
    )[1] == ["'=1+1,last,1,"]


def test_names_of_files():
    assert slug("partial ../é <x> RN50/openai@224") == "partial_.._x_RN50_openai_224"
