"""Image features: computed once for each encoder × data set, and the stream that serves them to
methods.

Methods never learn whether features come from the bank or from the frozen encoder at that moment:
both go through `encode`, with the same augmented copies.
"""

import functools
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.clip.encoder import Clip
from benchmark.clip.image_tower import dense_features, frozen_copy, global_features
from benchmark.clip.precision import of_frozen
from benchmark.clip.preprocessing import augment_pixels
from benchmark.features.chunked_array import CHUNK, ChunkedArray
from benchmark.features.limits import size_limit_of
from benchmark.features.prefetch import to_device
from benchmark.features.reading import (
    MAX_LISTED,
    PLAIN,
    broken_images,
    loader_processes,
    read,
)
from benchmark.files import ROOT, write_atomically
from benchmark.sources import as_loaded, digest, import_closure
from benchmark.spec import JsonObject
from benchmark.task import Dataset, Stream, seed_for

FORMAT = 1  # to be raised when the meaning of stored features changes
DTYPES = {"global": np.float32, "regions": np.float16, "pixels": np.uint8}
RENDERED_SAMPLE = 4  # images that stand for a rendered data set
IMAGE_CODE = [ROOT / "benchmark" / "clip" / name for name in ("image_tower.py", "preprocessing.py")]
Progress = Callable[[int, int, float], None]  # images done, images to do, images per second


def encode(clip: Clip, tower: nn.Module, kind: str, pixels: Tensor) -> Tensor:
    """Features of (b, S, S, 3) uint8 pixels, as the bank stores them: unit norm; float16 for
    regions."""
    features = global_features if kind == "global" else dense_features
    with torch.no_grad():
        images = clip.normalise(pixels)
        with of_frozen(clip.description.precision, clip.device):
            found = features(tower, images)
        unit = F.normalize(found.float(), dim=-1)
        return unit if kind == "global" else unit.half()


def augmentation_seeds(
    dataset: Dataset, rows: np.ndarray, augment: str, copies: np.ndarray
) -> np.ndarray:
    """(b,) seeds of the given copies of the given images; copy 0 is the plain image."""
    pairs = zip(rows.tolist(), copies.tolist(), strict=True)
    seeds = [
        seed_for("augment", augment, copy, dataset.names[row]) if copy else PLAIN
        for row, copy in pairs
    ]
    return np.array(seeds, np.int64)


@functools.cache
def _code(roots: tuple[Path, ...]) -> str:
    """Digest of the files that make features of images: those of the encoder's image side and of
    the data, with all that they import there."""
    inside = (ROOT / "benchmark" / "clip", *(root.parent for root in roots))
    reached = import_closure([*IMAGE_CODE, *roots], as_loaded)
    return digest([file for file in reached if file.parent in inside], as_loaded)


def features_code(dataset: Dataset) -> str:
    """Digest of the code that features of this data set come from. Files on disk are told apart by
    names and sizes; for a rendered data set the code that draws it counts too."""
    module = _renderer(dataset)
    return _code((Path(str(module.__file__)),) if module else ())


def _renderer(dataset: Dataset) -> ModuleType | None:
    """The module that draws the images of an embedded data set."""
    draws: object = dataset.open
    while isinstance(draws, functools.partial):
        draws = draws.func
    module = sys.modules.get(getattr(draws, "__module__", ""))
    return module if getattr(module, "EMBEDDED", False) else None


def rendered_pixels(dataset: Dataset) -> str:
    """Fingerprint of a few images of a rendered data set, which has no files to be told apart by:
    other pixels, for instance of another version of a font, are other images."""
    if _renderer(dataset) is None:
        return ""
    whole = hashlib.sha256()
    for row in np.linspace(0, len(dataset.names) - 1, RENDERED_SAMPLE).astype(int):
        whole.update(dataset.open(int(row)).convert("RGB").tobytes())
    return whole.hexdigest()[:16]


class FeatureBank:
    """Features of all images of a data set under one encoder: "global" (N, D) float32, "regions"
    (N, R, D) float16, "pixels" (N, S, S, 3) uint8, resized but not normalised. Copy 0 is plain,
    others are copies under `augment`.
    """

    def __init__(
        self,
        folder: Path,
        dataset: Dataset,
        clip: Clip,
        kind: str,
        copy: int = 0,
        augment: str = "",
    ) -> None:
        self.dataset, self.clip, self.kind = dataset, clip, kind
        self.copy, self.augment = copy, augment if copy else ""
        size = clip.description.image_size
        if kind == "regions":
            h, w = clip.grid
            item: tuple[int, ...] = (h * w + 1, clip.width)
        else:
            item = {"global": (clip.width,), "pixels": (size, size, 3)}[kind]
        self.shape, self.dtype = (len(dataset.names), *item), np.dtype(DTYPES[kind])
        self.folder = Path(folder)

    @cached_property
    def parts(self) -> JsonObject:
        """What the key is made from; kept in `key.json` beside the features."""
        description = self.clip.description
        parts: JsonObject = {
            "format": FORMAT,
            "dataset": self.dataset.name,
            "fingerprint": self.dataset.fingerprint(),
            "kind": self.kind,
            "shape": self.shape,
            "dtype": self.dtype.name,
            "image_size": description.image_size,
            "resize": description.resize,
            "copy": self.copy,
            "augment": self.augment,
            "code": features_code(self.dataset),
            "pixels": rendered_pixels(self.dataset),
        }
        if self.kind != "pixels":
            parts |= {"architecture": description.name, "weights": self.clip.weights_sha256}
            parts |= {"activation": description.activation, "precision": description.precision}
            parts |= {"mean": self.clip.statistics[0], "std": self.clip.statistics[1]}
        return parts

    @cached_property
    def key(self) -> str:
        """16 hexadecimal digits; the name of the folder."""
        return hashlib.sha256(json.dumps(self.parts, sort_keys=True).encode()).hexdigest()[:16]

    @cached_property
    def array(self) -> ChunkedArray:
        copy = f", copy {self.copy} ({self.augment})" if self.copy else ""
        label = f"{self.kind} features of {self.dataset.name}, {self.clip.description.text}{copy}"
        return ChunkedArray(self.folder / self.key, self.shape, self.dtype, label)

    @property
    def nbytes(self) -> int:
        """Size when every image is computed."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def ensure(self, rows: np.ndarray, progress: Progress | None = None) -> ChunkedArray:
        """Computes what is missing of `rows` (n,) and returns the array (N, …), valid there.

        Raises `ValueError` that says what to do when images cannot be read, or the disk is full or
        not writable.
        """
        chunks = np.unique(np.asarray(rows, np.int64) // CHUNK).tolist()
        if self.array.missing(chunks):
            with self.array.locked():
                # another process may have computed them meanwhile
                missing = self.array.missing(chunks)
                if missing:
                    self._compute(missing, progress or print_progress(self.array.label))
        return self.array

    def _compute(self, chunks: list[int], progress: Progress) -> None:
        """A broken image does not stop the others: all are named together, and whole chunks are
        kept."""
        total, done, started, broken = (
            sum(len(self.array.rows(chunk)) for chunk in chunks),
            0,
            time.monotonic(),
            [],
        )
        with self.array.writer(chunks) as store:
            write_atomically(
                self.array.folder / "key.json", json.dumps(self.parts, indent=1).encode()
            )
            for chunk, values, messages in self._features(chunks):
                broken += messages
                if len(broken) >= MAX_LISTED:
                    break
                if not messages:
                    store(chunk, values)
                done += len(self.array.rows(chunk))
                progress(done, total, done / (time.monotonic() - started))
        before = self.pace()
        pace = {
            "images": before["images"] + done,
            "seconds": before["seconds"] + time.monotonic() - started,
        }
        write_atomically(self.array.folder / "pace.json", json.dumps(pace).encode())
        if broken:
            raise broken_images(broken)

    def pace(self) -> dict[str, float]:
        """How many "images" were computed, by whichever runs, and in how many "seconds"."""
        try:
            pace = json.loads((self.array.folder / "pace.json").read_bytes())
            return {"images": int(pace["images"]), "seconds": float(pace["seconds"])}
        except (OSError, ValueError, KeyError, TypeError):  # none yet, or damaged
            return {"images": 0, "seconds": 0.0}

    def _features(self, chunks: list[int]) -> Iterator[tuple[int, np.ndarray, list[str]]]:
        """Chunk, its values (c, …), what is broken in it. Batches never cross chunks: values depend
        on nothing else."""
        size = 32 if self.clip.device.type == "cpu" else CHUNK
        tower = None if self.kind == "pixels" else frozen_copy(self.clip.module.visual)
        splits = [
            np.array_split(rows, -(-len(rows) // size)) for rows in map(self.array.rows, chunks)
        ]
        batches = [rows for split in splits for rows in split]
        seeds = [
            augmentation_seeds(self.dataset, rows, self.augment, np.full(len(rows), self.copy))
            for rows in batches
        ]
        workers = loader_processes(self.dataset, np.concatenate(batches))
        images = read(self.dataset, batches, self.clip.transform, self.augment, seeds, workers)
        for chunk, split in zip(chunks, splits, strict=True):
            values, broken = [], []
            for _ in split:
                pixels, messages = next(images)
                broken += messages
                if pixels is not None and not broken:
                    values.append(
                        pixels
                        if tower is None
                        else encode(self.clip, tower, self.kind, pixels).cpu()
                    )
            yield chunk, (np.empty(0) if broken else torch.cat(values).numpy()), broken


def make(
    dataset: Dataset,
    clip: Clip,
    kind: str,
    rows: list[np.ndarray],
    folder: Path,
    augment: str,
    say: Callable[[str], None],
) -> None:
    """Stores what `stream` will serve: `rows` of copy 0, of copy 1, … Nothing when all copies
    together are above the limit: then features are computed as they are asked for."""
    banks = [FeatureBank(folder, dataset, clip, kind, copy, augment) for copy in range(len(rows))]
    if sum(bank.nbytes for bank in banks) > size_limit_of(kind):
        return  # the command has said so
    missing = [
        (bank.array, bank.array.missing(np.unique(wanted // CHUNK).tolist()))
        for bank, wanted in zip(banks, rows, strict=True)
    ]
    banks[0].array.require_room(sum(array.unreserved(chunks) for array, chunks in missing))
    for bank, wanted in zip(banks, rows, strict=True):
        bank.ensure(wanted, print_progress(bank.array.label, write=say))


def extraction_seconds(
    dataset: Dataset, clip: Clip, kind: str, folder: Path, copies: int = 0, augment: str = ""
) -> float:
    """What the stored features that `stream` serves took to compute, in whichever runs; 0 where
    nothing is stored and the encoder runs for each batch."""
    numbers = range(1 if kind == "pixels" else copies + 1)
    banks = [FeatureBank(folder, dataset, clip, kind, copy, augment) for copy in numbers]
    return sum(bank.pace()["seconds"] for bank in banks)


def stream(
    dataset: Dataset,
    clip: Clip,
    kind: str,
    rows: np.ndarray,
    folder: Path,
    copies: int = 0,
    augment: str = "",
    size_limit: float | None = None,
    progress: Progress | None = None,
) -> Stream:
    """The stream of a `Part`: positions into `rows` (n,) -> float32 batches of `kind` on the
    encoder's device.

    Frozen features come from the bank (computed here, now) unless the plain images and all
    augmented `copies` together would be larger than `size_limit`; then the encoder runs for each
    batch. A batch asked for with an augmentation draws one of the copies for each image. Pixels are
    augmented as they are served, with fresh random numbers. Raises `ValueError` for an augmentation
    without copies: there would be nothing but plain features to serve.
    """
    rows = np.asarray(rows, np.int64)
    if kind == "pixels":
        return _pixel_stream(
            dataset,
            clip,
            rows,
            folder,
            size_limit_of(kind) if size_limit is None else size_limit,
            progress,
        )
    if size_limit is None:
        size_limit = size_limit_of(kind)
    banks = [FeatureBank(folder, dataset, clip, kind, copy, augment) for copy in range(copies + 1)]
    stored = None
    if sum(bank.nbytes for bank in banks) <= size_limit:
        stored = [bank.ensure(rows, progress) for bank in banks]

    def serve(
        chunks: Iterable[np.ndarray], name: str, rng: np.random.Generator
    ) -> Iterator[Tensor]:
        if name and (name != augment or not copies):
            raise ValueError(f"there are no copies made with {name!r} to draw from: add copies=8")
        wanted = [rows[positions] for positions in chunks]
        drawn = [
            rng.integers(1, copies + 1, size=len(some)) if name else np.zeros(len(some), np.int64)
            for some in wanted
        ]
        if stored is None:
            yield from _forward(dataset, clip, kind, wanted, augment, drawn)
            return
        batches = (take(stored, *pair) for pair in zip(wanted, drawn, strict=True))
        yield from (x.float() for x in to_device(batches, clip.device))

    return serve


def take(stored: list[ChunkedArray], rows: np.ndarray, copies: np.ndarray) -> np.ndarray:
    """Rows (b,), each from the array of its copy (b,)."""
    if len(stored) == 1:
        return stored[0].take(rows)
    values = np.empty((len(rows), *stored[0].shape[1:]), stored[0].dtype)
    for number in np.unique(copies):
        values[copies == number] = stored[number].take(rows[copies == number])
    return values


def _forward(
    dataset: Dataset,
    clip: Clip,
    kind: str,
    batches: list[np.ndarray],
    augment: str,
    copies: list[np.ndarray],
) -> Iterator[Tensor]:
    """What the bank would hold, computed now."""
    tower = frozen_copy(clip.module.visual)
    seeds = [
        augmentation_seeds(dataset, some, augment, copy)
        for some, copy in zip(batches, copies, strict=True)
    ]
    for pixels in _read_all(dataset, batches, clip, augment, seeds):
        yield encode(clip, tower, kind, pixels).float()


def _read_all(
    dataset: Dataset, batches: list[np.ndarray], clip: Clip, augment: str, seeds: list[np.ndarray]
) -> Iterator[Tensor]:
    workers = loader_processes(dataset, np.concatenate([np.empty(0, np.int64), *batches]))
    for pixels, broken in read(dataset, batches, clip.transform, augment, seeds, workers):
        if pixels is None:
            raise broken_images(broken)
        yield pixels


def _pixel_stream(
    dataset: Dataset,
    clip: Clip,
    rows: np.ndarray,
    folder: Path,
    size_limit: float,
    progress: Progress | None,
) -> Stream:
    bank = FeatureBank(folder, dataset, clip, "pixels")
    stored = bank.ensure(rows, progress) if bank.nbytes <= size_limit else None

    def serve(
        chunks: Iterable[np.ndarray], name: str, rng: np.random.Generator
    ) -> Iterator[Tensor]:
        wanted = [rows[positions] for positions in chunks]
        plain = [np.full(len(some), PLAIN) for some in wanted]
        seeds = [rng.integers(2**62, size=len(some)) for some in wanted] if name else plain
        if stored is None:
            yield from map(clip.normalise, _read_all(dataset, wanted, clip, name, seeds))
            return
        batches = (
            augmented(stored.take(some), name, numbers)
            for some, numbers in zip(wanted, seeds, strict=True)
        )
        yield from map(clip.normalise, to_device(batches, clip.device))

    return serve


def augmented(pixels: np.ndarray, name: str, seeds: np.ndarray) -> np.ndarray:
    """(b, S, S, 3) uint8, each image augmented with its own seed; "" leaves them as they are."""
    if not name:
        return pixels
    pairs = zip(pixels, seeds, strict=True)
    return np.stack(
        [augment_pixels(image, name, np.random.default_rng(seed)) for image, seed in pairs]
    )


def to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def print_progress(
    label: str, every: float = 10, write: Callable[[str], None] = to_stderr
) -> Progress:
    """A line every ten seconds: how far, how fast, how long still."""
    last = time.monotonic()

    def show(done: int, total: int, rate: float) -> None:
        nonlocal last
        if time.monotonic() - last >= every:
            last = time.monotonic()
            left = (total - done) / rate
            to_go = f"{left / 60:.0f} min" if left >= 90 else f"{left:.0f} s"
            write(f"{label}: {done:,}/{total:,} images, {rate:.1f}/s, {to_go} to go")

    return show
