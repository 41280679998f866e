"""The page as a file: self-contained, small, honest about holes, safe with hostile text, made from
anything."""

import base64
import gzip
import json
import re

import pytest

from benchmark import integrity
from benchmark.planned import Planned
from benchmark.store import Store
from reports import page
from reports.html.content import packed
from tests.fixtures.synthetic_records import (
    HOSTILE,
    METHODS,
    partial,
    small_sweep,
    specification,
    write_run,
)


def build(*arguments, **options):
    return page.build(*arguments, **options).path


def data_of(path):
    html = path.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/octet-stream" id="data">(.*?)</script>', html)
    return json.loads(gzip.decompress(base64.b64decode(found[1])))


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
    return build([out])


def test_one_file_without_any_address(report):
    html = report.read_text(encoding="utf-8")
    assert not re.search("https?:", html.lower())
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


def test_the_command_of_a_run_names_its_plugins_and_is_quoted(tmp_path):
    """`one` runs no file that its user does not name; what a record says is no shell."""
    out = tmp_path / "my results"
    id = write_run(out, specification("coop", partial(0.5)), images=20)
    path = out / "runs" / id / "record.json"
    state = json.loads(path.read_text())
    state["provenance"]["plugins"] = {"methods:coop": "/x/$(id).py"}
    state["seal"] = integrity.seal(state)
    path.write_text(json.dumps(state))
    (run,) = data_of(page.build([out], program="lowlabel").path)["runs"].values()
    assert run["command"] == f"lowlabel one {id} --out '{out}' --plugin '/x/$(id).py'"


def test_drawer_data_is_complete(report):
    data = data_of(report)
    run = next(run for run in data["runs"].values() if run["state"] == "done")
    names = data["shared"][run["metrics"][0]]
    assert names[0][0] in ("all", "zsl") and "mAP" in names[0][1] and "mAP" in data["metrics"]
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
    assert f"{total - 1} of {total} runs are done, 1 failed." in html
    assert html.count("leads with") == 3


def test_size_of_the_page_for_five_hundred_runs(report):
    size, runs = len(report.read_bytes()), len(data_of(report)["runs"])
    per_run = len(json.dumps(data_of(report)["runs"], ensure_ascii=False)) / runs
    assert size + per_run * (500 - runs) < 5e6


def test_an_empty_folder_says_what_to_run(tmp_path):
    html = build([tmp_path]).read_text()
    assert "python run_all.py" in html and "no results here yet" in html


def test_only_failures_make_a_report(tmp_path):
    for method in METHODS:
        write_run(tmp_path, specification(method, partial(0.5)), status="failed")
    path = build([tmp_path])
    assert len(data_of(path)["failures"]) == 5 and "no method has a number yet." in path.read_text()


def test_only_a_plan_makes_a_report(tmp_path):
    command = "python run_all.py --settings partial"
    spec = specification("coop", partial(0.5))
    path = build([tmp_path], [Planned(spec, "todo", command=command)])
    assert data_of(path)["tables"][0]["rows"][0]["cells"][0]["hole"] == "todo: not run yet"
    html = path.read_text()
    assert "0 of 1 run is done, 1 todo." in html and command in html


@pytest.mark.parametrize("kind", ["method", "seed", "rate"])
def test_one_of_everything_makes_a_sensible_page(kind, tmp_path):
    methods = ["coop"] if kind == "method" else ["coop", "dualcoop"]
    seeds = [0] if kind == "seed" else [0, 1]
    rates = [0.5] if kind == "rate" else [0.1, 0.5]
    for method in methods:
        for rate in rates:
            for seed in seeds:
                write_run(tmp_path, specification(method, partial(rate), seed), images=40)
    html = build([tmp_path]).read_text()
    assert ("only coop was measured" in html) == (kind == "method")
    assert not re.search(r"\bnan\b", re.sub(r"<script.*?</script>", "", html, flags=re.S))


def test_tables_only(tmp_path):
    write_run(tmp_path, specification("coop", partial(0.5)), images=40)
    assert build([tmp_path], tables_only=True) == tmp_path / "tables"
    assert not (tmp_path / "report.html").exists() and not (tmp_path / "figures").exists()


def test_a_class_without_positives_and_broken_records_do_not_stop_it(tmp_path):
    run = write_run(tmp_path, specification("coop", partial(0.5)), images=40)
    broken = tmp_path / "runs" / ("f" * 12)
    broken.mkdir(parents=True)
    (broken / "record.json").write_text('{"schema": 1, "id"')
    record = Store(tmp_path).read(run)
    record["per_class"]["AP"][0] = None
    Store(tmp_path).write(record, Store(tmp_path).scores(run))
    assert data_of(build([tmp_path]))["runs"][run]["ap"][0] is None


def test_packed_data_can_stand_in_a_script():
    text = packed({"a": "</script><!-- HTTPS:// \u2028"})
    assert not set(text) & set("<>:&")
    assert json.loads(gzip.decompress(base64.b64decode(text))) == {
        "a": "</script><!-- HTTPS:// \u2028"
    }
