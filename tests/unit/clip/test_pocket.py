"""The pocket CLIPs: ordinary open_clip models, the shipped weights, and what they are good for."""

import csv
import hashlib
import json
import shutil

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from benchmark.clip import pocket
from benchmark.data import digits, pictograms
from benchmark.pretraining import captions, corpus, distil, objectives, pretrain, text, towers

# isort: split
import open_clip

ZERO_SHOT_BAND = {"pictograms": (40, 80), "digits": (25, 75)}  # mAP in percent on 300 test scenes
IN_DOMAIN = 80  # at least this mAP on held-out pretraining scenes, by the log


@pytest.fixture(scope="module", params=pocket.NAMES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def model(name):
    return pocket.create(name)


def test_create_gives_an_ordinary_frozen_open_clip_model(name, model):
    assert isinstance(model, open_clip.CLIP) and name in open_clip.list_models()
    assert not model.training and not any(
        parameter.requires_grad for parameter in model.parameters()
    )
    assert model.context_length == 77 and model.token_embedding.weight.shape == (49408, 128)
    assert {value.dtype for value in model.parameters()} == {torch.float32}


def test_embeddings_have_the_right_shapes(model):
    assert model.encode_image(torch.zeros(2, 3, 96, 96)).shape == (2, 128)
    prompts = model.encode_text(open_clip.tokenize(["a photo of a cat.", "seven", "a"]))
    assert prompts.shape == (3, 128) and torch.isfinite(prompts).all()


def test_every_shipped_token_is_used_and_all_others_are_zero(name, model):
    filled = np.flatnonzero(model.token_embedding.weight.abs().sum(1).numpy())
    assert np.array_equal(filled, text.Vocabulary().ids)


def test_shipped_files_are_small_and_recorded(name):
    assert sum(pocket.weights_path(each).stat().st_size for each in pocket.NAMES) < 20_000_000
    assert set(json.loads((pocket.FOLDER / "sha256.json").read_text())) == set(pocket.NAMES)
    rows = list(csv.DictReader((pocket.FOLDER / f"{name}.csv").open()))
    assert int(rows[-1]["samples"]) >= (distil if name in distil.TEACHER else pretrain).SAMPLES
    assert float(rows[-1]["mAP"]) >= IN_DOMAIN


def test_a_damaged_or_missing_weights_file_is_a_clear_error(monkeypatch, tmp_path):
    for file in pocket.FOLDER.glob("*.json"):
        shutil.copy(file, tmp_path)
    monkeypatch.setattr(pocket, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match=r"pocket-RN\.npz is missing .*expected sha256"):
        pocket.create("pocket-RN")
    (tmp_path / "pocket-RN.npz").write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"pocket-RN\.npz has sha256 \w{64}, expected \w{64}"):
        pocket.create("pocket-RN")
    with pytest.raises(ValueError, match="pocket-RN, pocket-ViT"):
        pocket.create("pocket")


def test_weights_survive_writing_and_reading(name, model, tmp_path):
    ids = text.Vocabulary().ids
    state = model.state_dict()
    state[pocket.TOKENS] = state[pocket.TOKENS][torch.from_numpy(ids)]
    sha256 = pocket.write_weights(tmp_path / "again.npz", state, ids)
    again = pocket.read_weights(tmp_path / "again.npz", model)
    assert len(sha256) == 64 and again.keys() == model.state_dict().keys()
    assert all(torch.equal(again[key], value) for key, value in model.state_dict().items())


def test_pretraining_passes_equal_those_of_open_clip(model):
    pixels = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    expected = model.encode_image(pixels, normalize=True)
    torch.testing.assert_close(
        towers.image_features(model.visual, pixels)[0], expected, rtol=1e-4, atol=1e-5
    )
    ids = open_clip.tokenize(["a photo of a cat.", "star"])
    expected = model.encode_text(ids, normalize=True)
    torch.testing.assert_close(
        towers.text_features(model, ids[:, :8]), expected, rtol=1e-4, atol=1e-5
    )


def test_region_features_are_those_the_engine_serves(model):
    from benchmark.clip.image_tower import dense_features

    pixels = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.normalize(dense_features(model.visual, pixels)[:, 1:], dim=-1)
    torch.testing.assert_close(
        towers.image_features(model.visual, pixels)[1], expected, rtol=1e-4, atol=1e-5
    )


def test_pretraining_never_shows_the_forms_of_the_benchmark():
    shown = {corpus.glyph_of(np.random.default_rng(i), i % 75)[1] for i in range(1500)}
    assert not shown & {c for _, other in pictograms.FORMS.values() for c in other}
    assert {str(digit) for digit in range(10)} < shown


def test_the_benchmark_style_is_rare_in_pretraining():
    styles = [corpus.sample_style(np.random.default_rng(i)).values() for i in range(4000)]
    share = np.mean([all(word in style for word in corpus.BENCHMARK_STYLE) for style in styles])
    assert 0 < share < 0.02


def test_pretraining_scenes_are_pure_functions_of_their_number():
    first, again = (corpus.pretraining_scene(12345, 64, 4) for _ in range(2))
    assert np.array_equal(first.picture, again.picture) and first.styles == again.styles
    assert not np.array_equal(first.picture, corpus.pretraining_scene(12346, 64, 4).picture)


def test_region_targets_mark_where_an_object_is():
    scene = corpus.Scene(
        np.zeros((3, 96, 96), np.uint8), np.array([4]), np.float32([[34, 2, 60, 30]]), ()
    )
    targets, weights = objectives.region_targets([scene], 3)
    assert targets[0, :, 4].nonzero().flatten().tolist() == [3] and targets.sum() == 1
    assert weights.min() == 1, "the box touches no second cell"


@pytest.mark.parametrize("style", list(captions.PLACES))
def test_every_word_of_a_caption_is_in_the_vocabulary(style):
    vocabulary = text.Vocabulary()
    random = np.random.default_rng(0)
    texts = [captions.style_template(random, (style,)).format("cat") for _ in range(20)]
    texts += [captions.plain_template(random).format("playing card") for _ in range(20)]
    assert vocabulary(texts).shape[1] <= 77


@pytest.fixture
def few_templates(monkeypatch):
    monkeypatch.setattr(distil, "TEMPLATES", 4)


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """A pool of 64 scenes of one object, in a file as a run keeps it."""
    return distil.scene_pool(
        "pocket-RN", distil.Stage(0, 32, 1, 64, 1e-3), tmp_path_factory.mktemp("pool"), 1
    )


@pytest.mark.parametrize("name", pocket.NAMES)
def test_pretraining_resumes_to_the_same_weights(name, tmp_path, monkeypatch, few_templates, pool):
    """Two steps at once equal one step, a stop, and one step."""
    distilled = name in distil.TEACHER
    trainer, batch = (distil.Student, (pool, 1e-3)) if distilled else (pretrain.Trainer, (1_000,))
    monkeypatch.setattr(distil if distilled else pretrain, "BATCH", 32)
    (tmp_path / "straight").mkdir()
    straight, stopped = trainer(name, tmp_path / "straight"), trainer(name, tmp_path)
    straight.step(*batch)
    stopped.step(*batch)
    stopped.save()
    resumed = trainer(name, tmp_path)
    assert resumed.samples == 32 and straight.step(*batch) == resumed.step(*batch)
    for value, other in zip(
        straight.average.state_dict().values(), resumed.average.state_dict().values(), strict=True
    ):
        assert torch.equal(value, other)


def test_the_parts_of_two_processes_make_up_the_batch_of_one(
    tmp_path, monkeypatch, few_templates, pool
):
    monkeypatch.setattr(distil, "BATCH", 32)
    student = distil.Student("pocket-ViT", tmp_path)
    whole, *halves = (
        student.losses(pool, 0, 1),
        student.losses(pool, 0, 2),
        student.losses(pool, 1, 2),
    )
    for key in distil.WEIGHTS:
        torch.testing.assert_close((halves[0][key] + halves[1][key]) / 2, whole[key])


def test_a_pool_holds_the_scenes_and_the_features_of_the_teacher(pool):
    scene = corpus.pretraining_scene(9, 32, 1)
    assert np.array_equal(pool["pixels"][9], scene.picture) and np.array_equal(
        pool["boxes"][9], scene.boxes
    )
    assert (
        pool["labels"][9].tolist()
        == scene.labels.tolist()
        == pool["targets"][9].nonzero()[0].tolist()
    )
    assert {word for word, has in zip(distil.WORDS, pool["words"][9], strict=True) if has} == set(
        scene.styles
    )
    features = towers.image_features(
        pocket.create("pocket-RN").visual, objectives.pixels_of([scene])
    )[0]
    torch.testing.assert_close(
        torch.from_numpy(pool["wanted"][9]), features[0], rtol=1e-4, atol=1e-5
    )


def test_two_processes_distil_evaluate_and_ship(tmp_path, monkeypatch, few_templates):
    """A whole run of two batches, on canvases of both sizes; the shipped weights of the package
    stay as they are."""
    stages = distil.Stage(0, 32, 1, 128, 1e-3), distil.Stage(128, 64, 4, 128, 1e-3)
    monkeypatch.setattr(pretrain, "FOLDER", tmp_path)
    monkeypatch.setattr(distil, "weights_path", lambda name: tmp_path / f"{name}.npz")
    distil.distil("pocket-ViT", tmp_path / "run", 256, 2, stages, evaluate_every=128, evaluated=75)
    rows = list(csv.DictReader((tmp_path / "pocket-ViT.csv").open()))
    assert [(row["samples"], row["canvas"]) for row in rows] == [("128", "32"), ("256", "64")]
    sha256 = hashlib.sha256((tmp_path / "pocket-ViT.npz").read_bytes()).hexdigest()
    assert json.loads((tmp_path / "sha256.json").read_text()) == {"pocket-ViT": sha256}
    fresh = open_clip.create_model("pocket-ViT")
    state = pocket.read_weights(tmp_path / "pocket-ViT.npz", fresh)
    assert torch.equal(
        state["text_projection"], pocket.create("pocket-RN").state_dict()["text_projection"]
    )


def test_every_pass_through_a_pool_shows_every_scene_once_in_another_order():
    first, second = distil.lap_order(50, 0), distil.lap_order(50, 1)
    assert sorted(first) == sorted(second) == list(range(50)) and not np.array_equal(first, second)


@pytest.mark.parametrize("data", [pictograms, digits], ids=["pictograms", "digits"])
def test_zero_shot_is_above_chance_and_leaves_room(model, data):
    dataset = data.load(None)
    rows = dataset.splits["test"][:300]
    pictures = [np.asarray(dataset.open(int(row))).transpose(2, 0, 1) for row in rows]
    scenes = [corpus.Scene(picture, np.array([0]), np.zeros((1, 4)), ()) for picture in pictures]
    with torch.no_grad():
        images = model.encode_image(objectives.pixels_of(scenes), normalize=True)
        prompts = open_clip.tokenize([f"a photo of a {c}." for c in dataset.classes])
        scores = images @ model.encode_text(prompts, normalize=True).T
    score = 100 * average_precision_score(dataset.y[rows], scores.numpy())
    low, high = ZERO_SHOT_BAND[dataset.name]
    assert low <= score <= high, f"{score:.1f} mAP, chance {100 * dataset.y[rows].mean():.1f}"
