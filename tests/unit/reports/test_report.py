"""The page as a file: self-contained, small, honest about holes, safe with hostile text, made from
anything."""

import json
import re

import pytest

from benchmark.plan import Row
from benchmark.store import Store
from reports import page
from reports.html.content import as_json
from tests.fixtures.synthetic_records import (
    HOSTILE,
    METHODS,
    partial,
    small_sweep,
    specification,
    write_run,
)


def data_of(path):
    html = path.read_text(encoding="utf-8")
    return json.loads(
        re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)[1]
    )


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The quick suite's shape with one failure, made from a folder with hostile text."""
    out = tmp_path_factory.mktemp("report")
    small_sweep(out, seeds=1, levels=(0.1, 0.9), images=60)
    error = {
        "type": "<b>Error</b>",
        "message": HOSTILE["tag"] + HOSTILE["long"],
        "log": "\n".join(HOSTILE.values()),
    }
    write_run(out, specification("coop", partial(0.5)), status="crashed", error=error)
    return page.build([out])


def test_one_file_without_any_address(report):
    html = report.read_text(encoding="utf-8")
    assert "http" not in html.lower()
    assert (
        not re.findall(r'(?:src|href)="(?!#|data:)', html)
        and "@import" not in html
        and not re.search(r"url\((?!#)", html)
    )
    assert HOSTILE["address"] in json.dumps(data_of(report))  # yet the text is all there


def test_tables_and_figures_lie_beside_the_page(report):
    names = {path.name for path in (report.parent / "tables").iterdir()}
    assert {f"partial_pictograms_pocket-RN.{form}" for form in ("tex", "md", "csv")} <= names
    assert any(path.suffix == ".pdf" for path in (report.parent / "figures").iterdir())


def test_hostile_text_stays_text(report):
    html = report.read_text(encoding="utf-8")
    assert "<script>alert" not in html and html.count("</script>") == 2
    failed = next(run for run in data_of(report)["runs"].values() if run["state"] == "failed")
    assert "<script>alert" in failed["reason"] and HOSTILE["rtl"] in failed["log"]
    assert failed["command"].startswith("python run_all.py one ")


def test_drawer_data_is_complete(report):
    data = data_of(report)
    run = next(run for run in data["runs"].values() if run["state"] == "done")
    names = data["shared"][run["metrics"][0]]
    assert names[0][0] in ("all", "zsl") and "mAP" in names[0][1]
    assert len(run["ap"]) == len(data["shared"][run["classes"]]) and len(run["history"][1]) <= 41
    assert f"--out {report.parent}" in run["command"]


def test_examples_show_truth_scores_and_weights(report):
    (one, *_) = data_of(report)["examples"]
    assert len(one["images"]) == 8 and one["images"][0]["picture"].startswith(
        "data:image/jpeg;base64,"
    )
    mapped = next(line for line in one["lines"] if line["maps"])
    assert (
        mapped["label"] == "dualcoop"
        and mapped["grid"] == [3, 3]
        and len(mapped["maps"][0][0][1]) == 9
    )
    top = [score for _, score in mapped["top"][0]]
    assert top == sorted(top, reverse=True)


def test_protocol_states_realised_rates(report):
    one = data_of(report)["protocol"][0]
    assert [row["level"] for row in one["rows"]] == ["10 %", "90 %"] and one["rows"][0][
        "realised"
    ] == "9.98 %"


def test_summary_counts(report):
    html = report.read_text(encoding="utf-8")
    total = len(data_of(report)["runs"])
    assert f"{total - 1} of {total} runs are done; 1 failed." in html
    assert "in 4 cells compared:" in html


def test_size_of_the_page_for_five_hundred_runs(report):
    size, runs = len(report.read_bytes()), len(data_of(report)["runs"])
    per_run = len(json.dumps(data_of(report)["runs"], ensure_ascii=False)) / runs
    assert size + per_run * (500 - runs) < 5e6


def test_an_empty_folder_says_what_to_run(tmp_path):
    html = page.build([tmp_path]).read_text()
    assert "python run_all.py" in html and "no results here yet" in html


def test_only_failures_make_a_report(tmp_path):
    for method in METHODS:
        write_run(tmp_path, specification(method, partial(0.5)), status="failed")
    path = page.build([tmp_path])
    assert (
        len(data_of(path)["failures"]) == 5
        and "No two methods can be compared yet." in path.read_text()
    )


def test_only_a_plan_makes_a_report(tmp_path):
    spec = specification("coop", partial(0.5))
    path = page.build([tmp_path], [Row(spec, "todo")])
    assert data_of(path)["tables"][0]["rows"][0]["cells"][0][3] == "not run"
    assert "0 of 1 runs are done; 1 not run." in path.read_text()


def test_tables_only(tmp_path):
    write_run(tmp_path, specification("coop", partial(0.5)), images=40)
    assert page.build([tmp_path], tables_only=True) == tmp_path / "tables"
    assert not (tmp_path / "report.html").exists() and not (tmp_path / "figures").exists()


def test_a_class_without_positives_and_broken_records_do_not_stop_it(tmp_path):
    run = write_run(tmp_path, specification("coop", partial(0.5)), images=40)
    broken = tmp_path / "runs" / ("f" * 12)
    broken.mkdir(parents=True)
    (broken / "record.json").write_text('{"schema": 1, "id"')
    record = Store(tmp_path).read(run)
    record["per_class"]["AP"][0] = None
    Store(tmp_path).write(record, Store(tmp_path).scores(run))
    assert data_of(page.build([tmp_path]))["runs"][run]["ap"][0] is None


def test_json_can_stand_in_a_script():
    text = as_json({"a": "</script><!-- HTTPS:// \u2028"})
    assert (
        "<" not in text
        and "http" not in text.lower()
        and json.loads(text) == {"a": "</script><!-- HTTPS:// \u2028"}
    )
