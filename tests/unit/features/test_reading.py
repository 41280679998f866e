"""Reading images: broken files are named, processes make no difference, augmentations depend on
seeds alone."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark.clip import augmentation
from benchmark.clip.preprocessing import Transform
from benchmark.features import reading
from benchmark.features.reading import PLAIN, read
from benchmark.task import Dataset


def _open(folder: Path, row: int) -> Image.Image:
    return Image.open(folder / f"{row}.jpg")


@pytest.fixture
def photos(tmp_path: Path) -> Dataset:
    """Ten small JPEG files."""
    rng = np.random.default_rng(0)
    for row in range(10):
        Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(
            tmp_path / f"{row}.jpg"
        )
    names = tuple(f"{row}.jpg" for row in range(10))
    sizes = np.array([(tmp_path / name).stat().st_size for name in names])
    return Dataset(
        "photos",
        ("a",),
        ("a",),
        names,
        sizes,
        np.zeros((10, 1), np.int8),
        {},
        partial(_open, tmp_path),
    )


def shift(image: Image.Image, name: str, rng: np.random.Generator) -> Image.Image:
    """A stand-in for an augmentation: adds one random number to every byte."""
    return Image.fromarray((np.asarray(image) + rng.integers(256)).astype(np.uint8))


BATCHES = [np.arange(0, 4), np.array([9, 4, 4]), np.array([7])]


def test_processes_make_no_difference(photos: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augmentation, "augment", shift)
    seeds = [np.array([1, 2, PLAIN, 4]), np.array([5, 6, 7]), np.array([PLAIN])]
    state = torch.get_rng_state()
    here, there = (
        [pixels for pixels, _ in read(photos, BATCHES, Transform(32), "shift", seeds, workers)]
        for workers in (0, 2)
    )
    # reading draws nothing from the random state that training uses
    assert torch.equal(torch.get_rng_state(), state)
    assert [tuple(pixels.shape) for pixels in here] == [
        (4, 32, 32, 3),
        (3, 32, 32, 3),
        (1, 32, 32, 3),
    ]
    assert all(torch.equal(one, other) for one, other in zip(here, there, strict=True))
    assert not torch.equal(here[1][1], here[1][2])  # the same image under two seeds
    plain = [pixels for pixels, _ in read(photos, BATCHES, Transform(32))]
    assert torch.equal(plain[0][2], here[0][2]) and torch.equal(plain[2], here[2])
    assert not torch.equal(plain[0][0], here[0][0])


def test_broken_files_are_named(photos: Dataset, tmp_path: Path) -> None:
    content = (tmp_path / "3.jpg").read_bytes()
    (tmp_path / "3.jpg").write_bytes(content[: len(content) // 2])
    (tmp_path / "5.jpg").unlink()
    (tmp_path / "6.jpg").write_bytes(b"")
    (tmp_path / "8.jpg").write_bytes(b"<html>not found</html>")
    found = list(read(photos, [np.arange(3), np.arange(3, 6), np.arange(6, 10)], Transform(32)))
    assert found[0][1] == [] and found[1][0] is None and found[2][0] is None
    messages = found[1][1] + found[2][1]
    for message, (name, reason) in zip(
        messages,
        [
            ("3.jpg", "truncated"),
            ("5.jpg", "No such file"),
            ("6.jpg", "cannot identify"),
            ("8.jpg", "cannot identify"),
        ],
        strict=True,
    ):
        assert message.startswith(name) and reason in message
    said = str(reading.broken_images(messages))
    assert "4 image(s) cannot be read" in said and "same command again" in said and "5.jpg" in said


def test_a_programming_error_is_not_taken_for_a_broken_image(photos: Dataset) -> None:
    with pytest.raises(IndexError):
        list(read(photos, [np.array([99])], Transform(32)))


def test_loader_processes_only_where_files_are_decoded(
    photos: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reading.loader_processes(photos, np.arange(10)) == 0
    assert reading.loader_processes(photos, np.zeros(300, np.int64)) >= 1
    rendered = Dataset(**{**photos.__dict__, "sizes": np.zeros(10, np.int64)})
    assert reading.loader_processes(rendered, np.zeros(300, np.int64)) == 0
    for cores, wanted in (("1", 1), ("3", 3), ("64", 8)):  # those of the slot
        monkeypatch.setenv("LOWLABEL_DECODERS", cores)
        assert reading.loader_processes(photos, np.zeros(300, np.int64)) == wanted


@pytest.mark.parametrize("shape", [(50, 91), (91, 50), (33, 32), (64, 64)])
def test_crop_is_the_centre(shape: tuple[int, int]) -> None:
    """Rings around the centre stay centred: rows and columns of the crop are as symmetric as those
    of the image."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    distance = np.hypot(y - (shape[0] - 1) / 2, x - (shape[1] - 1) / 2)
    pixels = np.repeat((255 - np.clip(distance * 5, 0, 255)).astype(np.uint8)[..., None], 3, axis=2)
    found = Transform(32, "crop")(Image.fromarray(pixels)).astype(int)
    assert found.shape == (32, 32, 3)
    assert np.abs(found - found[::-1]).max() <= 12 and np.abs(found - found[:, ::-1]).max() <= 12
