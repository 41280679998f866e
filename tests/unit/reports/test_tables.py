"""Tables: numbers, marks, holes and layouts from synthetic records; LaTeX that compiles whatever
the names are."""

import csv
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from benchmark.planned import Planned
from reports.columns import Column
from reports.groups import Line, Result, arrange, collect
from reports.labels import slug
from reports.published import FILE, published, same_backbone
from reports.significance import Significance
from reports.statistics import interval
from reports.tables import formats, latex, main, side, tidy
from reports.tables.cells import Measured, Missing, Row, Table, Words, value
from tests.fixtures.synthetic_records import (
    HOSTILE,
    LONG_TAIL,
    ZERO_SHOT,
    partial,
    specification,
    write_run,
)


def tables_of(out, plan=(), titles=None):
    groups = arrange(collect([out], plan, titles))
    significance = Significance(out / "cache")
    significance.prepare(groups)
    return {group.name: main.main_table(group, significance) for group in groups}, groups


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
    values = [entry.value("all") for entry in group.done(Line("last", "dualcoop"), 0.1).values()]
    cell = row_of(table, "dualcoop").cells[0]
    assert (cell.text, cell.sd) == (f"{np.mean(values):.1f}", f"{np.std(values, ddof=1):.1f}")
    assert len(cell.runs) == 2


def test_average_is_the_mean_of_the_numbers_not_of_what_is_printed(sweep):
    (table,) = sweep[0].values()
    first, second, average = row_of(table, "dualcoop").cells
    assert value(average) == pytest.approx((value(first) + value(second)) / 2, rel=1e-12)
    assert row_of(table, "linear_probe").cells[2].reason == "needs every label rate"


def test_best_is_bold_second_underlined_and_oracle_unmarked(sweep):
    (table,) = sweep[0].values()
    assert (
        row_of(table, "dualcoop").cells[0].best
        and not row_of(table, "zero_shot_clip").cells[0].best
    )
    assert row_of(table, "coop").cells[0].second
    oracle = row_of(table, "coop", "oracle").cells[0]
    assert oracle.text and not oracle.best and not oracle.second and oracle.verdict is None
    assert [row.block for row in table.rows] == ["last"] * 4 + ["oracle"]


def test_holes_say_why(tmp_path):
    write_run(tmp_path, specification("coop", partial(0.1)), status="failed")
    write_run(tmp_path, specification("dualcoop", partial(0.1)), images=40)
    plan = [
        Planned(specification("linear_probe", partial(0.1)), "todo", command="python run_all.py"),
        Planned(specification("lm_clip", partial(0.1)), "n/a", "needs captions"),
    ]
    (table,) = tables_of(tmp_path, plan)[0].values()
    assert row_of(table, "coop").cells[0].reason == "failed: ValueError: diverged"
    todo = row_of(table, "linear_probe").cells[0]
    assert todo.reason == "todo: not run yet" and todo.command == "python run_all.py"
    assert row_of(table, "lm_clip").cells[0].reason == "n/a: needs captions"


def test_marks_of_seeds_and_staleness_are_in_every_format(tmp_path):
    """A number over one of three seeds, or by older code, never pastes as if it were whole."""
    for seed in range(3):
        write_run(tmp_path, specification("dualcoop", partial(0.5), seed), images=60)
    spec = specification("coop", partial(0.5), 0)
    write_run(tmp_path, spec, images=60)
    (table,) = tables_of(tmp_path, [Planned(spec, "stale")])[0].values()
    assert row_of(table, "coop").cells[0].marks == ("1/3", "s")
    tex, md, plain = (formats.render(table, form) for form in formats.FORMS)
    row = next(line for line in tex.splitlines() if line.startswith("coop"))
    assert r"\textsuperscript{1/3,s}" in row and "of b planned seeds" in tex and "older code" in tex
    assert "(1/3, s)" in md and "a/b: a of b planned seeds; s: computed by older code." in md
    (line,) = [r for r in csv.DictReader(plain.splitlines()) if r["method"] == "coop"]
    assert (line["seeds"], line["planned seeds"], line["marks"]) == ("1", "3", "1/3 s")


def test_methods_that_tie_are_all_bold(tmp_path):
    for method in ("dualcoop", "lm_clip"):  # nearly the same skill, few images
        write_run(tmp_path, specification(method, partial(0.5)), images=60)
    (table,) = tables_of(tmp_path)[0].values()
    cells = [row_of(table, method).cells[0] for method in ("dualcoop", "lm_clip")]
    assert all(cell.best for cell in cells)
    behind = next(cell for cell in cells if cell.verdict.gap < 0)
    assert behind.verdict.p > 0.05 and behind.verdict.detectable > 1


def test_weak_variants_turn_no_number_bold(tmp_path):
    """Adding methods that are far below leaves every verdict of the others as it was."""
    for known in (0.1, 0.5):
        for seed in range(2):
            for method, skill in (("dualcoop", 1.5), ("coop", 1.2), ("linear_probe", 1.35)):
                spec = specification(method, partial(known), seed)
                write_run(tmp_path, spec, images=150, skill=skill)
    (few,) = tables_of(tmp_path)[0].values()
    for known in (0.1, 0.5):
        for seed in range(2):
            for epochs in range(1, 8):
                spec = specification("lm_clip", partial(known), seed, epochs=epochs)
                write_run(tmp_path, spec, images=150, skill=0.1)
    (many,) = tables_of(tmp_path)[0].values()
    labels = {row.label for row in few.rows}
    weak = [row.cells for row in many.rows if row.label not in labels]
    for row in few.rows:
        cells = zip(row.cells, row_of(many, row.label).cells, *weak, strict=True)
        for before, after, *added in cells:
            assert (before.best, before.verdict.tied) == (after.best, after.verdict.tied)
            # p never falls from step to step: the largest of those that went out before counts
            out = [cell.verdict.p for cell in added if cell.verdict and cell.verdict.p < 0.05]
            largest = max(before.verdict.p, *out)
            assert after.verdict.p in (before.verdict.p, pytest.approx(largest, rel=1e-9))
    assert any(not cell.best for row in few.rows for cell in row.cells)


def test_without_a_common_seed_nothing_is_compared(tmp_path):
    """CoOp with one seed beside a probe with two others: neither ties with the other."""
    write_run(tmp_path, specification("coop", partial(0.5), 0), images=60)
    for seed in (1, 2):
        write_run(tmp_path, specification("linear_probe", partial(0.5), seed), images=60)
    (table,) = tables_of(tmp_path)[0].values()
    cells = [row_of(table, method).cells[0] for method in ("coop", "linear_probe")]
    assert not any(cell.best or cell.second for cell in cells)
    assert all("≠" in cell.marks for cell in cells)
    for seed in (1, 2):  # now two can be compared, and the third still cannot
        write_run(tmp_path, specification("dualcoop", partial(0.5), seed), images=60)
    (table,) = tables_of(tmp_path)[0].values()
    assert row_of(table, "dualcoop").cells[0].best
    assert "≠" in row_of(table, "coop").cells[0].marks
    assert "no seed in common" in formats.render(table, "md")


def test_every_metric_that_is_marked_was_tested(tmp_path):
    """P, R and F1 at k and the harmonic mean: bold follows a test, never a plain maximum."""
    for method in ("dualcoop", "lm_clip"):
        write_run(tmp_path, specification(method, ZERO_SHOT), images=40)
    (table,) = tables_of(tmp_path)[0].values()
    for k, column in enumerate(table.columns):
        cells = [row_of(table, method).cells[k] for method in ("dualcoop", "lm_clip")]
        assert all(cell.verdict is not None for cell in cells), column
        assert all(cell.best == cell.verdict.tied for cell in cells)
    assert any(sum(row.cells[k].best for row in table.rows) == 2 for k in range(len(table.columns)))


def test_every_table_names_metric_images_seeds_and_protocol(sweep):
    (table,) = sweep[0].values()
    for form in formats.FORMS:
        assert "mAP" in formats.render(table, form)
    for form in ("tex", "md"):
        text = formats.render(table, form)
        for word in ("mAP (", "120 test images", "10 classes", "2 seeds", "mask=nested"):
            assert word in text, (form, word)
    caption = next(
        line for line in formats.render(table, "tex").splitlines() if line.startswith(r"\caption")
    )
    assert r"mAP (\%)" in caption and "120 test images" in caption and "Protocol" in caption


def test_a_trained_method_below_zero_shot_is_flagged(tmp_path):
    for method, skill in (("zero_shot_clip", 1.0), ("dualcoop", 0.5), ("coop", 1.5)):
        write_run(tmp_path, specification(method, partial(0.5)), images=200, skill=skill)
    (table,) = tables_of(tmp_path)[0].values()
    assert row_of(table, "dualcoop").cells[0].marks == ("↓",)
    assert row_of(table, "coop").cells[0].marks == row_of(table, "zero_shot_clip").cells[0].marks
    assert "below zero-shot CLIP" in formats.render(table, "tex")


def test_plan_names_what_does_not_apply_once_a_row(tmp_path):
    write_run(tmp_path, specification("coop", ZERO_SHOT), images=60)
    other = specification("linear_probe", ZERO_SHOT)
    plan = [Planned(other, "n/a", "closed vocabulary")]
    (table,) = tables_of(tmp_path, plan)[0].values()
    assert row_of(table, "linear_probe").cells[0].reason == "n/a: closed vocabulary"
    for form in ("tex", "md"):
        assert formats.render(table, form).count("closed vocabulary") == 1


def test_titles_of_plugins_stand_in_tables(tmp_path):
    for epochs in (3, 4):
        write_run(tmp_path, specification("lm_clip", partial(0.5), epochs=epochs), images=40)
    write_run(tmp_path, specification("coop", partial(0.5)), images=40)
    built, _ = tables_of(tmp_path, titles={"lm_clip": "LM-CLIP"})
    labels = {row.label for table in built.values() for row in table.rows}
    assert labels == {"LM-CLIP (epochs=3)", "LM-CLIP (epochs=4)", "coop"}


def test_zero_shot_and_long_tail_layouts(tmp_path):
    for setting in (ZERO_SHOT, LONG_TAIL):
        write_run(tmp_path, specification("coop", setting), images=60)
    built, groups = tables_of(tmp_path)
    zero_shot, long_tail = (
        built["zero_shot_pictograms65_pocket-RN"],
        built["long_tail_pictograms_lt_pocket-RN"],
    )
    assert [column.label for column in zero_shot.columns] == [
        *("P@3", "R@3", "F1@3", "F1@5", "mAP") * 2,
        "H",
    ]
    assert [column.label for column in long_tail.columns] == ["total", "head", "medium", "tail"]
    (entry,) = groups[0].usable
    seen, unseen = entry.value("seen"), entry.value("unseen")
    assert row_of(zero_shot, "coop").cells[-1].text == f"{2 * seen * unseen / (seen + unseen):.1f}"
    assert value(row_of(long_tail, "coop").cells[3]) == pytest.approx(
        np.nanmean(groups[1].usable[0].average_precision[7:])
    )


def test_long_tail_shows_the_rule_of_the_published_lines_beside_ours(tmp_path):
    """Published head, middle and tail columns take the softmax over all classes: a row of that
    rule stands below ours, and a note says which is which."""
    for setting in (ZERO_SHOT, LONG_TAIL):
        write_run(tmp_path, specification("coop", setting), images=60)
    built, _ = tables_of(tmp_path)
    table = built["long_tail_pictograms_lt_pocket-RN"]
    labels = [row.label for row in table.rows]
    assert labels.index("coop, softmax") == labels.index("coop") + 1
    ours, published = row_of(table, "coop").cells, row_of(table, "coop, softmax").cells
    assert [value(cell) for cell in published] == pytest.approx([value(c) - 1 for c in ours])
    assert any("mAP_softmax_official" in note for note in table.notes)
    other = built["zero_shot_pictograms65_pocket-RN"]
    assert not any("softmax" in text for text in (*other.notes, *(r.label for r in other.rows)))


def test_labels_show_parameters_only_where_runs_differ(tmp_path):
    for length in (4, 16):
        write_run(tmp_path, specification("coop", partial(0.5), context_length=length), images=40)
    write_run(tmp_path, specification("dualcoop", partial(0.5)), images=40)
    labels = {entry.method for entry in collect([tmp_path])}
    assert labels == {"coop (context_length=4)", "coop (context_length=16)", "dualcoop"}


def test_a_preset_that_goes_with_the_encoder_is_not_a_variant(tmp_path):
    for spec in (
        specification("coop", partial(0.5)),
        specification("coop", partial(0.5, "voc2007"), encoder="RN101"),
    ):
        write_run(tmp_path, spec, images=40)
    assert {entry.method for entry in collect([tmp_path])} == {"coop"}


def test_protocols_make_separate_tables(tmp_path):
    for mask in ("nested", "skewed"):
        write_run(tmp_path, specification("coop", {**partial(0.5), "mask": mask}), images=40)
    assert len(tables_of(tmp_path)[0]) == 2


def test_two_folders_are_joined_and_a_done_run_wins(tmp_path):
    spec = specification("coop", partial(0.5))
    write_run(tmp_path / "a", spec, status="failed")
    write_run(tmp_path / "b", spec, images=40)
    write_run(tmp_path / "b", specification("dualcoop", partial(0.5)), images=40)
    entries = collect([tmp_path / "a", tmp_path / "b"])
    assert [entry.state for entry in entries] == ["done", "done"]
    assert all(isinstance(entry, Result) for entry in entries)


def test_scores_that_are_gone_leave_the_number_without_a_mark(tmp_path):
    for method in ("coop", "dualcoop", "lm_clip"):
        run = write_run(tmp_path, specification(method, partial(0.5)), images=40)
        if method == "dualcoop":
            (tmp_path / "runs" / run / "scores.npy").unlink()
    (table,) = tables_of(tmp_path)[0].values()
    gone = row_of(table, "dualcoop").cells[0]
    assert gone.text and not gone.best and gone.marks == ("?",)
    assert row_of(table, "lm_clip").cells[0].best


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
    lines = [r for r in built["partial_voc2007_RN101_openai_224"].rows if r.block == "published"]
    paper = next(r for r in lines if r.label.startswith("DualCoOp (CLIP RN101, 448 px)"))
    assert paper.label.endswith("[DualCoOp22]") and len({r.label for r in lines}) == len(lines)
    # the average of what is printed here
    assert [cell.text for cell in paper.cells] == ["90.3", "92.2", "91.2"]
    gaps = side.gap_table(groups)
    assert len({row.label for row in gaps.rows}) == len(gaps.rows)
    row = next(row for row in gaps.rows if row.cells[1].text == "90.3")
    measured, _, gap, covered = row.cells
    assert gap.value == pytest.approx(value(measured) - 90.3) and covered.text in ("yes", "no")
    for form in formats.FORMS:  # the source is printed in every format
        text = formats.render(gaps, form)
        assert "DualCoOp22" in text and "result.png" in text


def test_cost_is_from_pixels_and_sums_are_apart(tmp_path):
    """Features that another run computed count with their seconds; a record of before they were
    noted says nothing of them."""
    for epochs, cost in ((3, {"extraction_s": 7.0}), (4, {"extraction_s": None})):
        spec = specification("coop", partial(0.5), epochs=epochs)
        write_run(tmp_path, spec, images=40, cost={"feature_s": 0.01, **cost})
    (group,) = tables_of(tmp_path)[1]
    table = side.cost_table(group)
    labels = [column.label for column in table.columns]
    cold, cached, features = (labels.index(name) for name in labels[:3])
    cells = row_of(table, "coop (epochs=3)").cells
    assert cells[features].value == 7.0
    assert cells[cold].value == pytest.approx(7.0 + cells[cached].value)
    assert row_of(table, "coop (epochs=4)").cells[cold] == Missing("–")
    assert "RAM, increase (MB)" in labels and "candidates tried" not in labels
    sums = side.query_table(group)
    assert "Sums over runs" in sums.notes[0] and "shared its device" in table.notes[1]


def test_nothing_unverified_is_printed():
    with FILE.open(newline="") as file:
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
    cell = Measured(interval([81.4, 81.6, 81.2]), planned=3, best=True)
    rows = tuple(Row(text, "last", (cell, Missing(f"failed: {text}"))) for text in texts)
    columns = (Column("10 %", top="Top & co"), Column("a_b", top="Top & co"))
    return Table("hostile", f"Names: {' '.join(texts)}", "", columns, rows, texts, "mAP (%)")


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
    assert latex.escape("100%_csc&co") == r"100\%\_csc\&co"
    assert latex.escape("שם") == "{[}U+05E9{]}{[}U+05DD{]}"
    assert (
        latex.escape("Café ±1 \\x{}~^")
        == r"Café $\pm$1 \textbackslash{}x\{\}\textasciitilde{}\textasciicircum{}"
    )
    assert len(latex.escape("x" * 10_000)) < 250
    # a row may start with it, and \\[ takes an argument
    assert latex.escape("[a]*") == "{[}a{]}{*}"


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


def test_markdown_and_csv_keep_hostile_names_as_text():
    markdown, plain = formats.render(hostile_table(), "md"), formats.render(hostile_table(), "csv")
    assert "<script" not in markdown and "| **81.4** ± 0.2 |" in markdown
    lines = list(csv.reader(plain.splitlines()))
    assert {len(line) for line in lines} == {len(tidy.HEADER)} and lines[1][0] == HOSTILE["tag"]
    assert len(lines[5][0]) == 200
    row = Row("=1+1", "last", (Words("yes"),))
    assert tidy.rows(Table("t", "", "", (Column("a"),), (row,)), row)[0].startswith("'=1+1,last,a")


def test_no_sentence_of_ours_is_cut(sweep):
    (table,) = sweep[0].values()
    whole = replace(table, notes=(*table.notes, *main.GENERAL.values()))
    for form in ("tex", "md"):
        assert r"\dots" not in formats.render(whole, form) and "…" not in formats.render(
            whole, form
        )


def test_csv_keeps_every_digit_and_what_the_marks_rest_on(sweep):
    (table,) = sweep[0].values()
    rows = list(csv.DictReader(formats.render(table, "csv").splitlines()))
    assert len(rows) == sum(len(row.cells) for row in table.rows)
    for line in rows:
        cell = next(
            cell
            for row in table.rows
            for column, cell in zip(table.columns, row.cells, strict=True)
            if (row.label, row.block, column.text) == (line["method"], line["kind"], line["column"])
        )
        if isinstance(cell, Missing):
            assert line["why empty"] == cell.reason and not line["value"]
            continue
        i = cell.interval
        assert float(line["value"]) == i.mean and int(line["seeds"]) == i.n
        if i.n > 1:
            assert (float(line["sd"]), float(line["low"])) == (i.sd, i.low)
        if line["kind"] == "last":
            assert float(line["p against the best"]) == cell.verdict.p
            said = "undecided" if cell.verdict.undecided else str(cell.best)
            assert line["tied with the best"] == said and cell.verdict.tied >= cell.best


def test_names_of_files():
    assert slug("partial ../é <x> RN50/openai@224") == "partial_.._x_RN50_openai_224"


def test_protocols_of_single_positive_never_share_a_table_or_a_published_line(tmp_path):
    for protocol in ("cole", "splc"):
        setting = {"name": "single_positive", "dataset": "voc2012", "protocol": protocol}
        write_run(tmp_path, specification("dualcoop", setting, encoder="RN101"), images=40)
    built, groups = tables_of(tmp_path)
    assert len(groups) == 2 and len({group.title for group in groups}) == 2
    lines = {
        group.setting.get("protocol"): {
            row.label for row in built[group.name].rows if row.block == "published"
        }
        for group in groups
    }
    assert any(label.startswith("ROLE") for label in lines["cole"])
    assert any(label.startswith("SCPNet") for label in lines["splc"])
    assert not lines["cole"] & lines["splc"]
    assert all(f"protocol={group.setting.get('protocol')}" in group.title for group in groups)
