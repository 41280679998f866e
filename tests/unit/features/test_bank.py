"""Feature banks: right values whatever happens to the process, the disk or the files."""

import json
import multiprocessing
import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark.clip import augmentation
from benchmark.clip.encoder import Clip
from benchmark.clip.encoder_name import parse_encoder
from benchmark.features import bank, chunked_array
from benchmark.features.bank import FeatureBank, stream
from benchmark.task import Dataset, Part
from tests.fixtures.tiny_clip import write_models

N = 300  # three chunks, the last one short


class Pictures:
    """Random pictures by row; some may be broken, and each may take a while."""

    def __init__(
        self, broken: tuple[int, ...] = (), seconds: float = 0, log: Path = Path(os.devnull)
    ) -> None:
        self.broken, self.seconds, self.log, self.opened = broken, seconds, log, []

    def __call__(self, row: int) -> Image.Image:
        self.opened.append(row)
        with self.log.open("a") as file:  # a byte for each image, for tests with several processes
            file.write(".")
        time.sleep(self.seconds)
        if row in self.broken:
            raise OSError("image file is truncated (7 bytes not processed)")
        return Image.fromarray(
            np.random.default_rng(row).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        )


def make_dataset(pictures: Pictures, name: str = "pictures") -> Dataset:
    names = tuple(f"{row}.jpg" for row in range(N))
    return Dataset(
        name, ("a",), ("a",), names, np.zeros(N, np.int64), np.zeros((N, 1), np.int8), {}, pictures
    )


def shift(image: Image.Image, name: str, rng: np.random.Generator) -> Image.Image:
    return Image.fromarray((np.asarray(image) + rng.integers(1, 256)).astype(np.uint8))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Clip]:
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOWLABEL_MODEL_CONFIGS", str(folder))
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield {
            name: Clip(parse_encoder(f"{name}/{path}@32"))
            for name, path in write_models(folder).items()
        }


@pytest.fixture
def clip(clips: dict[str, Clip]) -> Clip:
    return clips["tiny-RN"]


@pytest.fixture(autouse=True)
def fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this process remembers of files it has verified."""
    monkeypatch.setattr(chunked_array, "_verified", {})


ALL = np.arange(N)


def values(feature_bank: FeatureBank, rows: np.ndarray = ALL) -> np.ndarray:
    return feature_bank.ensure(rows).take(rows)


# ---------------------------------------------------------------- values


@pytest.mark.parametrize("name", ["tiny-RN", "tiny-ViT"])
def test_bank_holds_what_the_encoder_gives(
    tmp_path: Path, clips: dict[str, Clip], name: str
) -> None:
    clip, dataset = clips[name], make_dataset(Pictures())
    rows = np.array([0, 299])
    images = torch.stack([clip.preprocess(dataset.open(row)) for row in rows])
    for kind, direct, tolerance in (("global", clip.image, 1e-5), ("regions", clip.regions, 1e-3)):
        feature_bank = FeatureBank(tmp_path, dataset, clip, kind)
        found = values(feature_bank, rows)
        expected = direct(images).numpy()
        np.testing.assert_allclose(found.astype(np.float32), expected, atol=tolerance)
        file = np.load(tmp_path / feature_bank.key / "features.npy")
        assert file.shape == feature_bank.shape and file.nbytes == feature_bank.nbytes
        np.testing.assert_array_equal(file[rows], found)
        np.testing.assert_array_equal(
            feature_bank.array.take(np.array([299, 0, 299])), file[[299, 0, 299]]
        )
    pixels = values(FeatureBank(tmp_path, dataset, clip, "pixels"), rows)
    assert torch.equal(clip.normalise(torch.from_numpy(pixels)), images)


@pytest.mark.parametrize("kind", ["global", "regions", "pixels"])
@pytest.mark.parametrize("copies", [0, 3])
def test_method_cannot_tell_bank_from_streaming(
    tmp_path: Path, clip: Clip, monkeypatch: pytest.MonkeyPatch, kind: str, copies: int
) -> None:
    monkeypatch.setattr(augmentation, "augment", shift)
    rows = np.array([265, 299, 270, 256, 280, 260, 261, 262])
    served = []
    for limit in (1e12, 0):
        dataset = make_dataset(Pictures())
        source = stream(dataset, clip, kind, rows, tmp_path, copies, "shift", size_limit=limit)
        part = Part(
            ("a",), np.zeros((8, 1), np.int8), source, np.random.default_rng(3), torch.device("cpu")
        )
        names = ("", "shift", "shift") if copies or kind == "pixels" else ("", "", "")
        epochs = [part.batches(3, shuffle=True, augment=name) for name in names]
        served.append([torch.cat([x for x, _ in epoch]) for epoch in epochs])
        assert served[-1][0].dtype == torch.float32
    for one, other in zip(*served, strict=True):
        torch.testing.assert_close(one, other, atol=6e-4 if kind == "regions" else 1e-6, rtol=0)
    assert (tmp_path / FeatureBank(tmp_path, dataset, clip, kind).key).is_dir()
    differs = [not torch.equal(x.sort(0)[0], served[0][0].sort(0)[0]) for x in served[0][1:]]
    assert all(differs) == (copies > 0 or kind == "pixels")


def test_copies_are_drawn_for_each_image(
    tmp_path: Path, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copy 0 is plain and only served without an augmentation; over many draws each of the three
    copies is served about as often."""
    monkeypatch.setattr(augmentation, "augment", shift)
    dataset = make_dataset(Pictures())
    copies = [
        values(FeatureBank(tmp_path, dataset, clip, "global", copy, "shift"), ALL[:1])[0]
        for copy in range(4)
    ]
    plain = values(FeatureBank(tmp_path, dataset, clip, "global"), ALL[:1])[0]
    assert np.array_equal(copies[0], plain) and not np.allclose(copies[1], copies[2])
    source = stream(dataset, clip, "global", np.zeros(1, np.int64), tmp_path, 3, "shift")
    x = next(source([np.zeros(300, np.int64)], "shift", np.random.default_rng(0))).numpy()
    counts = [int((x == copy).all(1).sum()) for copy in copies]
    assert counts[0] == 0 and sum(counts) == 300 and min(counts[1:]) > 70
    bare = stream(dataset, clip, "global", np.zeros(1, np.int64), tmp_path)
    with pytest.raises(ValueError, match="no copies made with 'shift'"):
        next(bare([np.zeros(1, np.int64)], "shift", np.random.default_rng(0)))
    assert (
        next(source([np.zeros(9, np.int64)], "", np.random.default_rng(0))).numpy() == plain
    ).all()


def test_keys(tmp_path: Path, clips: dict[str, Clip]) -> None:
    """Everything that changes a feature changes the key; what does not, does not."""
    dataset, clip = make_dataset(Pictures()), clips["tiny-RN"]
    description = clip.description
    variants = [
        replace(description, resize="crop"),
        replace(description, statistics="imagenet"),
        replace(description, image_size=64),
        clips["tiny-ViT"].description,
    ]
    banks = [FeatureBank(tmp_path, dataset, Clip(variant), "global") for variant in variants]
    banks += [
        FeatureBank(tmp_path, dataset, clip, kind) for kind in ("global", "regions", "pixels")
    ]
    banks += [
        FeatureBank(tmp_path, dataset, clip, "global", 1, name) for name in ("flip", "dualcoop")
    ]
    banks += [FeatureBank(tmp_path, dataset, clip, "global", 2, "flip")]
    banks += [FeatureBank(tmp_path, make_dataset(Pictures(), "others"), clip, "global")]
    assert len({one.key for one in banks}) == len(banks)
    elsewhere = FeatureBank(
        tmp_path / "moved",
        make_dataset(Pictures(seconds=1)),
        Clip(description),
        "global",
        0,
        "flip",
    )
    assert elsewhere.key == FeatureBank(tmp_path, dataset, clip, "global").key


# ---------------------------------------------------------------- what is computed, and when


def test_only_wanted_chunks_once(tmp_path: Path, clip: Clip) -> None:
    pictures = Pictures()
    feature_bank = FeatureBank(tmp_path, make_dataset(pictures), clip, "global")
    steps = []
    feature_bank.ensure(np.array([299, 5]), progress=lambda *step: steps.append(step))
    assert sorted(pictures.opened) == [*range(128), *range(256, 300)]
    assert [step[:2] for step in steps] == [(128, 172), (172, 172)] and all(
        rate > 0 for *_, rate in steps
    )
    feature_bank.ensure(np.array([130]))
    assert sorted(pictures.opened) == list(range(N))
    again = values(FeatureBank(tmp_path, make_dataset(pictures), clip, "global"))
    assert len(pictures.opened) == N and np.isfinite(again).all()
    assert len(values(feature_bank, np.empty(0, np.int64))) == 0


def test_weights_are_not_loaded_for_stored_features(tmp_path: Path, clip: Clip) -> None:
    dataset = make_dataset(Pictures())
    FeatureBank(tmp_path, dataset, clip, "regions").ensure(ALL)
    lazy = Clip(clip.description)
    x = next(
        stream(dataset, lazy, "regions", ALL, tmp_path)([ALL[:4]], "", np.random.default_rng(0))
    )
    assert x.shape == (4, 2, 24) and "module" not in lazy.__dict__


def test_interrupted_bank_equals_the_uninterrupted_one(tmp_path: Path, clip: Clip) -> None:
    """Ctrl-C in the third chunk: the first two are kept, and the features are the same bytes in the
    end."""
    pictures = Pictures()
    whole = values(FeatureBank(tmp_path / "whole", make_dataset(pictures), clip, "global"))

    def interrupted(row: int) -> Image.Image:
        if row == 270:
            raise KeyboardInterrupt
        return pictures(row)

    with pytest.raises(KeyboardInterrupt):
        FeatureBank(tmp_path / "cut", make_dataset(interrupted), clip, "global").ensure(ALL)
    pictures.opened.clear()
    resumed = values(FeatureBank(tmp_path / "cut", make_dataset(pictures), clip, "global"))
    assert pictures.opened == list(range(256, 300))
    np.testing.assert_array_equal(resumed, whole)


def _fill(folder: Path, clip: Clip) -> None:
    pictures = Pictures(seconds=0.002, log=folder.with_suffix(".log"))
    FeatureBank(folder, make_dataset(pictures), clip, "pixels").ensure(ALL)


def _start(*arguments: object) -> multiprocessing.Process:
    process = multiprocessing.get_context("fork").Process(target=_fill, args=arguments)
    process.start()
    return process


def test_kill_at_any_moment_then_resume(tmp_path: Path, clip: Clip) -> None:
    """kill -9 again and again: each start goes on from the marks, and the features are those of an
    undisturbed run."""
    whole = FeatureBank(tmp_path / "whole", make_dataset(Pictures()), clip, "pixels")
    expected = values(whole)
    patience, kills = 0.1, 0
    while True:
        process = _start(tmp_path / "killed", clip)
        process.join(patience)
        if process.exitcode is not None:
            break
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        patience, kills = patience * 1.4, kills + 1
    assert process.exitcode == 0 and kills >= 2
    np.testing.assert_array_equal(
        np.load(tmp_path / "killed" / whole.key / "features.npy"), expected
    )


def test_two_processes_compute_it_once(
    tmp_path: Path, clip: Clip, capfd: pytest.CaptureFixture
) -> None:
    with FeatureBank(tmp_path / "bank", make_dataset(Pictures()), clip, "pixels").array.locked():
        processes = [_start(tmp_path / "bank", clip) for _ in range(2)]
        said = ""
        while said.count("another process computes the pixels features of pictures") < 2:
            time.sleep(0.05)
            said += capfd.readouterr().err
        assert all(process.exitcode is None for process in processes)
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert (tmp_path / "bank.log").stat().st_size == N


# ---------------------------------------------------------------- damage and refusals


def test_damage_is_found_and_mended(
    tmp_path: Path, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = Pictures()
    feature_bank = FeatureBank(tmp_path, make_dataset(pictures), clip, "pixels")
    expected = values(feature_bank)
    path = feature_bank.array.path
    complete = path.read_bytes()

    def mended(data: bytes) -> list[int]:
        """Rows that are computed again when another process finds these bytes."""
        pictures.opened.clear()
        path.write_bytes(data)
        monkeypatch.setattr(chunked_array, "_verified", {})
        np.testing.assert_array_equal(values(feature_bank), expected)
        return sorted(pictures.opened)

    assert mended(complete) == []
    assert mended(complete[:-1]) == list(range(256, 300))
    assert mended(complete[: len(complete) // 2]) == list(range(128, 300))
    assert mended(b"") == list(range(N))
    flipped = bytearray(complete)
    flipped[-200_000] ^= 1
    assert mended(bytes(flipped)) == list(range(128, 256))
    pictures.opened.clear()
    path.write_bytes(complete[:-1])  # cut while this process runs
    np.testing.assert_array_equal(values(feature_bank), expected)
    assert pictures.opened == list(range(256, 300))


def test_processes_share_one_check_of_a_file_that_does_not_change(
    tmp_path: Path, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child of a sweep does not read the whole bank again: who wrote or checked it has said so,
    for a day."""
    feature_bank = FeatureBank(tmp_path, make_dataset(Pictures()), clip, "pixels")
    feature_bank.ensure(ALL)
    read, checksum = [], chunked_array.zlib.crc32
    monkeypatch.setattr(
        chunked_array.zlib, "crc32", lambda data: read.append(len(data)) or checksum(data)
    )

    def bytes_read_by_another_process() -> int:
        monkeypatch.setattr(chunked_array, "_verified", {})
        read.clear()
        feature_bank.ensure(ALL)
        return sum(read)

    assert bytes_read_by_another_process() == 0
    os.utime(feature_bank.array.path)  # somebody touched it
    assert bytes_read_by_another_process() == feature_bank.nbytes
    assert bytes_read_by_another_process() == 0
    monkeypatch.setattr(chunked_array, "TRUST", 0.0)
    assert bytes_read_by_another_process() == feature_bank.nbytes
    (feature_bank.array.folder / "verified.json").write_text("{")
    monkeypatch.setattr(chunked_array, "TRUST", 3600.0)
    assert bytes_read_by_another_process() == feature_bank.nbytes


@pytest.mark.parametrize("marks", ["", "{", '{"0": 1, "1', b"\xff\xfe", "[1]", "7"])
def test_damaged_marks_mean_nothing_is_complete(
    tmp_path: Path, clip: Clip, marks: str | bytes
) -> None:
    pictures = Pictures()
    feature_bank = FeatureBank(tmp_path, make_dataset(pictures), clip, "pixels")
    feature_bank.ensure(ALL)
    (tmp_path / feature_bank.key / "marks.json").write_bytes(
        marks if isinstance(marks, bytes) else marks.encode()
    )
    pictures.opened.clear()
    feature_bank.ensure(ALL)
    assert (
        pictures.opened == list(range(N))
        and len(json.loads((tmp_path / feature_bank.key / "marks.json").read_text())) == 3
    )


def test_broken_images_are_named_together_and_the_rest_is_kept(tmp_path: Path, clip: Clip) -> None:
    pictures = Pictures(broken=(3, 100, 299))
    with pytest.raises(ValueError, match="3 image") as caught:
        FeatureBank(tmp_path, make_dataset(pictures), clip, "global").ensure(ALL)
    assert all(f"{row}.jpg: image file is truncated" in str(caught.value) for row in (3, 100, 299))
    repaired = Pictures()
    assert np.isfinite(values(FeatureBank(tmp_path, make_dataset(repaired), clip, "global"))).all()
    assert repaired.opened == [*range(128), *range(256, 300)]
    with pytest.raises(ValueError, match="at least 64 image") as caught:
        FeatureBank(
            tmp_path / "b", make_dataset(Pictures(broken=tuple(range(0, N, 2)))), clip, "pixels"
        ).ensure(ALL)
    assert str(caught.value).count("truncated") == 20
    with pytest.raises(ValueError, match=r"299\.jpg"):
        list(
            stream(make_dataset(pictures), clip, "pixels", ALL, tmp_path, size_limit=0)(
                [ALL], "", None
            )
        )


def test_unwritable_folder(tmp_path: Path, clip: Clip) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(
        ValueError, match=r"cannot write features below .*file: Not a directory; choose .* --out"
    ):
        FeatureBank(tmp_path / "file", make_dataset(Pictures()), clip, "pixels").ensure(ALL)


def test_too_little_room_is_said_before_the_work(
    tmp_path: Path, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = Pictures()
    usage = chunked_array.shutil.disk_usage(tmp_path)._replace(free=300_000)
    monkeypatch.setattr(chunked_array.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(
        ValueError,
        match=r"pixels features of pictures, tiny-RN.* need 0.9 MB, 0.3 MB free .* --out",
    ):
        FeatureBank(tmp_path, make_dataset(pictures), clip, "pixels").ensure(ALL)
    assert pictures.opened == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A file system of 1 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting a small tmpfs needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_disk_full(small_disk: Path, clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = Pictures()
    feature_bank = FeatureBank(small_disk, make_dataset(pictures), clip, "pixels")
    (small_disk / "other").write_bytes(bytes(500_000))
    with pytest.raises(ValueError, match=r"need 0.9 MB, 0.5 MB free"):
        feature_bank.ensure(ALL)
    assert pictures.opened == []
    # as if another process filled the disk meanwhile
    usage = chunked_array.shutil.disk_usage(small_disk)._replace(free=10**9)
    with monkeypatch.context() as patch:
        patch.setattr(chunked_array.shutil, "disk_usage", lambda path: usage)
        with pytest.raises(ValueError, match=r"need 0.9 MB"):
            feature_bank.ensure(ALL)
        # and on file systems that reserve nothing, while writing
        if hasattr(os, "posix_fallocate"):
            patch.setattr(os, "posix_fallocate", lambda *arguments: None)
            with pytest.raises(ValueError, match=r"need 0.9 MB"):
                feature_bank.ensure(ALL)
    (small_disk / "other").unlink()
    expected = np.stack([clip.transform(Pictures()(row)) for row in (0, 299)])
    np.testing.assert_array_equal(values(feature_bank)[[0, 299]], expected)


def test_reserved_space_counts_once(small_disk: Path, clip: Clip) -> None:
    """A bank that was killed after it reserved its 0.9 of 1 MB goes on, although little more is
    free."""
    feature_bank = FeatureBank(small_disk, make_dataset(Pictures()), clip, "pixels")
    with feature_bank.array.locked(), feature_bank.array.writer([0, 1, 2]):
        assert chunked_array.shutil.disk_usage(small_disk).free < 200_000
    assert len(values(feature_bank)) == N


def test_progress_lines(capsys: pytest.CaptureFixture) -> None:
    show = bank.print_progress("regions", every=0)
    show(500, 10_000, 40.0)
    show(9_990, 10_000, 40.0)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "regions: 500/10,000 images, 40.0/s, 4 min to go",
        "regions: 9,990/10,000 images, 40.0/s, 0 s to go",
    ]


def test_files_are_decoded_by_processes(tmp_path: Path, clip: Clip) -> None:
    """Where images have a size on disk they are real files: loader processes read them, with the
    same result."""
    rendered, files = (
        make_dataset(Pictures()),
        make_dataset(pictures := Pictures(log=tmp_path / "log")),
    )
    files.sizes[:] = 1
    expected = values(FeatureBank(tmp_path, rendered, clip, "regions"))
    found = values(FeatureBank(tmp_path, files, clip, "regions"))
    np.testing.assert_array_equal(found, expected)
    assert pictures.opened == [] and (tmp_path / "log").stat().st_size == N  # opened, but not here


def test_room_for_all_copies_is_asked_for_before_the_first(
    tmp_path: Path, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One copy of three would fit."""
    pictures = Pictures()
    one = FeatureBank(tmp_path, make_dataset(pictures), clip, "regions").nbytes
    usage = chunked_array.shutil.disk_usage(tmp_path)._replace(free=one + 1000)
    monkeypatch.setattr(chunked_array.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ValueError, match=r"regions features of pictures, .* need .* free"):
        bank.make(make_dataset(pictures), clip, "regions", [ALL] * 3, tmp_path, "shift", print)
    assert pictures.opened == [] and not list(tmp_path.rglob("features.npy"))
