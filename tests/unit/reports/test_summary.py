"""The first screen says what the records say: every number of it is made again from scores with
scikit-learn."""

import re

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

import reports
from benchmark.planned import Planned, keep, kept
from benchmark.store import Store
from reports import page
from tests.fixtures.synthetic_records import partial, specification, write_run

METHODS = {"zero_shot_clip": 0.9, "coop": 1.2, "dualcoop": 1.6}
RATES = (0.1, 0.5)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    out = tmp_path_factory.mktemp("summary")
    for method, skill in METHODS.items():
        for rate in RATES:
            for seed in range(3):
                spec = specification(method, partial(rate), seed)
                write_run(out, spec, images=150, skill=skill + rate)
    return out


def recomputed(out, method):
    """Mean over seeds and rates, from scores and truth alone."""
    store, found = Store(out), []
    for record in store.records():
        if record["spec"].method.name == method and record["status"] == "done":
            targets = store.task(record["task"]["fingerprint"])["targets"]
            scores = store.scores(record["id"])
            found.append(100 * average_precision_score(targets, scores, average="macro"))
    return np.mean(found)


def test_winner_margin_and_gain_are_those_of_the_scores(out):
    text = page.build([out], embedded=["pictograms"]).text
    means = {method: recomputed(out, method) for method in METHODS}
    sentence = next(line for line in text.splitlines() if "leads with" in line)
    assert "dualcoop leads with" in sentence and "averaged over 2 label rates" in sentence
    margin = means["dualcoop"] - means["coop"]
    gain = means["dualcoop"] - means["zero_shot_clip"]
    assert f"with {means['dualcoop']:.1f} mAP" in sentence
    assert f"{margin:.1f} above coop" in sentence and f"{gain:+.1f} against zero-shot" in sentence
    low, high = map(float, re.search(r"95 %: (-?[\d.]+) to (-?[\d.]+)", sentence).groups())
    assert low < margin < high
    assert "18 of 18 runs are done." in text and "do not predict the order of methods" in text
    html = (out / "report.html").read_text()
    assert sentence.split(";")[0] in html.replace("&#39;", "'") and "commit 0123abc" in html


def test_missing_runs_are_known_from_the_plan_with_their_command(tmp_path):
    """Half of the records are gone: the summary does not call the rest everything."""
    specs = [specification("coop", partial(r), s) for r in RATES for s in range(3)]
    keep(tmp_path, "python run_all.py --settings partial", [Planned(spec) for spec in specs])
    for spec in specs[:3]:
        write_run(tmp_path, spec, images=40)
    text = page.build([tmp_path], kept(tmp_path)).text
    assert "3 of 6 runs are done, 3 todo." in text
    assert "3 missing runs: python run_all.py --settings partial" in text
    assert "only coop was measured" in text and "mAP at 10 % of the labels. 3 of 6 runs" in text


def test_a_plan_is_replaced_by_the_same_command_and_joined_by_others(tmp_path):
    first, second = (specification("coop", partial(rate)) for rate in RATES)
    keep(tmp_path, "a", [Planned(first), Planned(second, "n/a", "why")])
    keep(tmp_path, "a", [Planned(first, "done")])
    keep(tmp_path, "b", [Planned(second, "n/a", "why")])
    (tmp_path / "plans" / "broken.json").write_text("{")
    found = {row.spec.id: row for row in kept(tmp_path)}
    assert (found[first.id].state, found[first.id].command) == ("todo", "a")
    assert (found[second.id].state, found[second.id].reason) == ("n/a", "why")


def test_load_gives_every_metric_of_every_record(out, tmp_path):
    write_run(tmp_path, specification("lm_clip", partial(0.5)), status="failed")
    table = reports.load(out, tmp_path)
    records = Store(out).records()
    numbers = sum(len(view) for record in records for view in record["metrics"].values())
    assert len(table) == numbers + 1 and table.value.isna().sum() == 1
    one = table[(table.method == "coop") & (table.metric == "mAP") & (table.setting_known == 0.5)]
    assert sorted(one.seed) == [0, 1, 2] and set(one["view"]) == {"all"}
    record = next(r for r in records if r["id"] == one.iloc[0]["id"])
    assert one.iloc[0]["value"] == record["metrics"]["all"]["mAP"]
    with pytest.raises(FileNotFoundError, match="no result folder"):
        reports.load(tmp_path / "nothing")


def test_the_report_writes_the_data_frame(out):
    pandas = pytest.importorskip("pandas")
    page.build([out])
    plain = pandas.read_csv(out / "results.csv")
    assert plain["value"].tolist() == pytest.approx(reports.load(out)["value"].tolist())
    pytest.importorskip("pyarrow")
    packed = pandas.read_parquet(out / "results.parquet")
    assert list(packed.columns) == list(plain.columns) and len(packed) == len(plain)
    assert packed["value"].tolist() == reports.load(out)["value"].tolist()
