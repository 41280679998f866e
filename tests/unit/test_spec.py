"""The noun of the project: its JSON, its id, its texts."""

import json

from hypothesis import given
from hypothesis import strategies as st

from benchmark.spec import SCHEMA, Choice, Encoder, Job, Spec

SCALARS = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4)
VALUES = SCALARS | st.booleans() | st.tuples(SCALARS, st.tuples(SCALARS))
PARAMETERS = st.dictionaries(st.text(min_size=1).filter(lambda key: key != "name"), VALUES)
ENCODER = Encoder("RN101", "openai", 448)


@given(PARAMETERS, st.randoms())
def test_a_spec_survives_json_and_its_id_does_not_depend_on_the_order_of_keys(values, random):
    spec = Spec(Choice("coop", values), Choice("partial", {"dataset": "digits"}), ENCODER, seed=3)
    again = Spec.from_json(json.loads(json.dumps(spec.to_json())))
    assert again == spec and again.id == spec.id
    keys = list(values)
    random.shuffle(keys)
    shuffled = Choice("coop", {key: values[key] for key in keys})
    assert Spec(shuffled, spec.setting, ENCODER, seed=3).id == spec.id
    assert Spec(spec.method, spec.setting, ENCODER, seed=4).id != spec.id


def test_a_job_survives_json():
    spec = Spec(Choice("coop", {"rates": (0.1, 0.2)}), Choice("partial"), ENCODER)
    job = Job(spec, "/data", {"methods:idea": "/home/idea.py"}, 2.5, "a bank", True)
    assert Job.from_json(json.loads(json.dumps(job.to_json()))) == job


def test_texts_of_an_encoder():
    assert Encoder("pocket-RN", "shipped", 96).text == "pocket-RN"
    assert Encoder("pocket-RN", "shipped", 64, "crop").text == "pocket-RN@64+crop"
    assert Encoder("RN50", "openai", 224, "crop", "imagenet").text == (
        "RN50/openai@224+crop+imagenet"
    )
    local = Encoder("RN50", "sha256:" + 16 * "abcd", 224)
    assert local.label == "RN50/sha256:abcdabcdabcd@224+gelu" and len(local.text) > len(local.label)


def test_ids_are_those_of_the_first_records():
    """What a run is named by must not change by accident: every record would count as missing."""
    spec = Spec(Choice("zero_shot_clip"), Choice("partial", {"known": 0.1}), ENCODER)
    assert "activation" not in ENCODER.to_json()  # the records came before it
    assert SCHEMA == 1 and spec.id == "56b6d561b745"
