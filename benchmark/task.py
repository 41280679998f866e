"""The types that everything speaks: Dataset, Task, View, Part, Setting, Method, Run.

Shapes: N images, C classes, D feature width, R regions, B batch, H × W pixels.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import numpy as np
from PIL import Image

from benchmark.spec import JsonObject, Value

if TYPE_CHECKING:  # a list of methods, or the answer to a misspelt name, needs no torch
    import torch
    from torch import Tensor

PRESENT, ABSENT, UNKNOWN = 1, 0, -1  # int8 everywhere, on disk too


def seed_for(*names: object) -> int:
    """A seed in [0, 2³¹) that depends on the names alone, e.g. `seed_for("mask", "voc2007", 0)`."""
    digest = hashlib.sha256("\x1f".join(str(name) for name in names).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


@dataclass(frozen=True)
class Dataset:
    """All images of a data set, in one fixed order, with every label that the files state.

    `y` is (N, C) int8: UNKNOWN only where the files themselves leave a label open (VOC's difficult
    objects). `open(i)` returns image i as RGB and is picklable, so that loader processes can call
    it.
    """

    name: str
    classes: tuple[str, ...]  # prompt-ready: "dining table"
    raw_classes: tuple[str, ...]  # as the label files spell them: "diningtable"
    names: tuple[str, ...]  # (N,) stable identifiers, e.g. relative paths
    sizes: np.ndarray  # (N,) int64, bytes of each image file, 0 for rendered images
    y: np.ndarray  # (N, C) int8
    splits: dict[str, np.ndarray]  # name -> rows (n,) int64
    open: Callable[[int], Image.Image]
    captions: tuple[str, ...] | None = None  # (N,), "" for an image without one
    # (N,) class indices of each image as its file lists them; None: in the order of the classes
    listed: tuple[tuple[int, ...], ...] | None = None
    # counted exclusions, rules that were applied
    notes: JsonObject = field(default_factory=dict)

    def fingerprint(self) -> str:
        """sha256 over ordered names and sizes; part of the key of a feature bank."""
        digest = hashlib.sha256()
        for name, size in zip(self.names, self.sizes, strict=True):
            digest.update(f"{name}\t{size}\n".encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class Labels:
    """One part of a task: `rows` (n,) int64 into the data set, `y` (n, C) int8 with UNKNOWN."""

    rows: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class View:
    """Where to score: `rows` (N_test,) bool × `columns` (C,) bool of the test labels."""

    rows: np.ndarray
    columns: np.ndarray


@dataclass(frozen=True)
class Criterion:
    """How the official code of a protocol chooses an epoch on its test images: by the highest
    `metric` (of `metrics.official_criterion`) of the view `on`. That epoch is reported for `views`,
    () meaning all, and kept as the checkpoint `name`."""

    name: str
    metric: str
    on: str
    views: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    """What a setting asks: masked train and val labels, true test labels, views on them (the first
    is the headline).

    `seen` (C,) bool are the classes that have labels in train. `groups` are named class subsets
    (head, medium, tail, seen, unseen) that a report may draw, (C,) bool each.
    """

    dataset: Dataset
    classes: tuple[str, ...]
    train: Labels
    val: Labels
    test: Labels
    seen: np.ndarray
    views: dict[str, View]
    groups: dict[str, np.ndarray] = field(default_factory=dict)
    # what `--selection oracle` does; () is the best mAP of the headline
    official: tuple[Criterion, ...] = ()

    def seen_y(self, labels: Labels) -> np.ndarray:
        """(n, C_seen) int8: the labels of a part without the columns of unseen classes."""
        return labels.y[:, self.seen]


class Prompts(Protocol):
    """Learned contexts in front of class names, through the frozen text tower."""

    @property
    def width(self) -> int:
        """W, of a word vector."""

    def select(self, indices: Sequence[int] | np.ndarray) -> Prompts:
        """The same for some of the classes."""

    def initial_context(self, text: str) -> Tensor:
        """(M, W) word vectors of a text."""

    def bytes_a_context(self, shape: torch.Size) -> int:
        """About what a step needs for one context of that shape."""

    def encode(self, *contexts: Tensor) -> tuple[Tensor, ...]:
        """Raw text features (C, D) for each context (M, W), or (C, M, W) class-specific."""

    def encode_stack(self, contexts: Tensor) -> Tensor:
        """(K, C, D) for K contexts (K, M, W) or (K, C, M, W), in one pass."""


class Clip(Protocol):
    """The encoder as a method sees it; loaded when its weights are first needed.

    Features are float32, of unit norm, and come without gradients. `module` is shared by all runs
    of a process: a method that fine-tunes it works on a copy.
    """

    device: torch.device

    @property
    def module(self) -> Any:
        """The open_clip model; open_clip has no types, so a method says what it takes from it."""

    @property
    def tokenizer(self) -> Callable[[list[str]], Tensor]:
        """P texts -> (P, 77) int64."""

    @property
    def width(self) -> int:
        """D, of the joint embedding."""

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the regions."""

    @property
    def scale(self) -> float:
        """exp(logit_scale), about 100."""

    def text(self, prompts: list[str]) -> Tensor:
        """(P, D), each distinct prompt encoded once."""

    def prompts(self, classes: tuple[str, ...]) -> Prompts:
        """Learned contexts in front of these class names."""

    def image(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, D)."""

    def regions(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, h·w + 1, D), the mean token first."""


class Preset(dict[str, Value]):
    """Field values, and where they were read: `Preset("README: lr 0.001", learning_rate=0.001)`."""

    def __init__(self, source: str, /, **values: Value) -> None:
        super().__init__(values)
        self.source = source


Presets = Mapping[str, Mapping[str, Value]]  # name -> field values
NEEDS = ("global", "regions", "pixels")


class Setting:
    """Base of a setting: a file in `settings/` holds a dataclass `Setting(benchmark.Setting)`; its
    fields are the protocol."""

    # Choosing a preset (`preset="paper"`) fills its values in before explicit arguments.
    PRESETS: ClassVar[Presets] = {}
    # What the papers use here; taken for data that is not embedded, unless --encoders says else.
    encoder: ClassVar[str] = "RN101/openai@448"
    dataset: str
    # "imagenet" where a protocol fixes mean and deviation of the pixels for every encoder.
    statistics: str = ""

    def build(self, seed: int) -> Task:
        """The task of this seed. Raises `FileNotFoundError` that lists the files it wants."""
        raise NotImplementedError

    def skip(self, method: Method) -> str:
        """Why this method cannot be run here, or ""."""
        return ""


class Method:
    """Base of a method: a file in `methods/` holds a dataclass `Method(benchmark.Method)`; its
    fields are the hyper-parameters. Only `needs`, `fit` and `predict` have no default."""

    # As in `Setting`; which one the plan takes where none is named: `presets.preset_for`.
    PRESETS: ClassVar[Presets] = {}
    # The name in tables, e.g. "LM-CLIP"; "" means the file's name.
    title: ClassVar[str] = ""
    # Augmented copies of each training image whose features are cached, and drawn from in training.
    copies: int = 0
    # The augmentation of those copies, or of pixels as they are read: "flip", "dualcoop".
    augment: str = ""
    # Whether it learns from sentences about the images, which few data sets have.
    needs_captions: ClassVar[bool] = False
    # After a fit, when the state holds more than what was trained; None: the state's size.
    trainable_parameters: int | None = None

    # Where these two do not depend on the fields, `needs = "regions"`, `open_vocabulary = True`.

    @property
    def needs(self) -> str:
        """What x is: "global" (B, D) or "regions" (B, R, D), of unit norm, or "pixels" (B, 3, H,
        W)."""
        raise NotImplementedError

    @property
    def open_vocabulary(self) -> bool:
        """Whether classes that no training label was seen for can be scored."""
        return False

    def fit(self, clip: Clip, train: Part, val: Part, run: Run) -> None:
        """Learns from the known labels; where nothing else is said, `fit_many` of one run."""
        (failure,) = self.fit_many(clip, [Member(self, train, val, run)])
        if failure is not None:
            raise failure

    # False for a method whose scores depend on no label and no seed: runs share them.
    learns: ClassVar[bool] = True
    # Parameters in which runs may differ that `fit_many` fits together; None: there is no such.
    may_differ: ClassVar[tuple[str, ...] | None] = None

    @classmethod
    def fit_many(cls, clip: Clip, members: Sequence[Member]) -> list[Exception | None]:
        """Fits runs whose training parts have the same shape, each with the result of its own
        `fit`; says for each what went wrong with it alone. Raises what concerns all of them."""
        raise NotImplementedError

    @classmethod
    def bytes_a_member(cls, clip: Clip, member: Member) -> int:
        """About what a step of `fit_many` needs for one run: so many as fit are fitted together."""
        raise NotImplementedError

    def predict(self, clip: Clip, x: Tensor, classes: tuple[str, ...]) -> Tensor:
        """(B, len(classes)) float32 logits, larger = present; each image on its own."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Tensor]:
        """What training changed: selection of an epoch and checkpoints keep it."""
        return {}

    def load_state_dict(
        self, clip: Clip, classes: tuple[str, ...], state: dict[str, Tensor]
    ) -> None:
        """Puts a state back; `classes` are those of the training labels."""
        assert not state, f"{type(self).__name__} has a state and no load_state_dict"

    def region_weights(self, clip: Clip, x: Tensor, classes: tuple[str, ...]) -> Tensor | None:
        """(B, R, C) for the report's heat maps, None where a method has none."""
        return None

    def image_features(self, clip: Clip, x: Tensor) -> Tensor | None:
        """(B, D) of a fine-tuned image tower, for the distances PD and ND; None: the frozen one."""
        return None


def upload(values: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """The values on the device. A GPU fetches them from pinned memory when it gets there: the host
    does not wait for what it has still to do."""
    import torch

    tensor = torch.from_numpy(values) if isinstance(values, np.ndarray) else values
    if device.type == "cpu" or tensor.device == device:
        return tensor
    return (tensor if tensor.is_pinned() else tensor.pin_memory()).to(device, non_blocking=True)


Stream = Callable[[Iterable[np.ndarray], str, np.random.Generator], Iterator["Tensor"]]


@dataclass
class Part:
    """Images and masked labels as a method sees them: `y` (n, C_seen) int8, never a label of an
    unseen class.

    `features` is (n, D) float32 when the method needs "global", read when it is first asked for;
    `batches` serves every kind.
    """

    classes: tuple[str, ...]
    y: np.ndarray
    stream: Stream  # batches of positions (b,) -> batches of x on the device
    rng: np.random.Generator
    device: torch.device
    x: Tensor | None = None  # all of `features`, once they were read …
    read: Callable[[], Tensor] | None = None  # … by this
    captions: tuple[str, ...] | None = None  # (n,)
    # (n,) columns that are known to be present, as the label file lists them; None: by column
    listed: tuple[tuple[int, ...], ...] | None = None

    def present(self, row: int) -> list[int]:
        """Columns of the classes that are known to be present in an image, in the file's order."""
        if self.listed is not None:
            return list(self.listed[row])
        return np.flatnonzero(self.y[row] == PRESENT).tolist()

    def __len__(self) -> int:
        return len(self.y)

    @property
    def features(self) -> Tensor:
        """(n, D), for a method that needs "global"."""
        if self.x is None and self.read is not None:
            self.x = self.read()
        if self.x is None:
            raise ValueError('only needs = "global" has all features at once: read by `batches`')
        return self.x

    def batches(
        self, size: int, shuffle: bool = False, augment: str = "", rows: np.ndarray | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields x (b, …) and y (b, C_seen) int8.

        `rows` (k,) gives the positions to serve, repeats allowed (weighted sampling); default: each
        once. `augment` names a training augmentation ("flip", "dualcoop"): pixels are transformed
        as they are read, frozen features are drawn from the bank's cached copies (`Method.copies`).
        """
        order = np.arange(len(self.y)) if rows is None else np.asarray(rows)
        if shuffle:
            order = self.rng.permutation(order)
        chunks = [order[start : start + size] for start in range(0, len(order), size)]
        for chunk, x in zip(chunks, self.stream(chunks, augment, self.rng), strict=True):
            yield x, upload(self.y[chunk], self.device)


class Scalars(Protocol):
    """A TensorBoard writer, or what looks like one."""

    def add_scalar(self, tag: str, value: float, step: int) -> None: ...

    def close(self) -> None: ...


@dataclass
class Run:
    """What the engine lends to `fit`: a named seed, a scratch folder, a log, and the selection of
    an epoch."""

    seed: int
    device: torch.device
    folder: Path  # results/runs/<id>; `scratch` below it is removed afterwards
    # set by the engine when the selection asks for it
    evaluate: Callable[[Method], dict[str, float]] | None = None
    keep: Callable[[int, Method, dict[str, float]], None] | None = None
    tensorboard: Scalars | None = None
    chosen: JsonObject = field(default_factory=dict)  # what was selected on val
    trials: int = 1  # candidates looked at
    history: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    @property
    def scratch(self) -> Path:
        path = self.folder / "scratch"
        path.mkdir(parents=True, exist_ok=True)
        return path

    def log(self, **scalars: float) -> None:
        """One row of `history.csv`; `epoch` is TensorBoard's step. Tags hold slashes:
        `log(**{"train/loss": x})`."""
        self.history.append({name: float(value) for name, value in scalars.items()})
        columns = list(dict.fromkeys(name for row in self.history for name in row))
        with (self.folder / "history.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self.history)
        if self.tensorboard is not None:
            for name, value in scalars.items():
                if name != "epoch":
                    self.tensorboard.add_scalar(
                        name, value, int(scalars.get("epoch", len(self.history) - 1))
                    )

    def end_of_epoch(self, epoch: int, method: Method, **scalars: float) -> None:
        """Logs the epoch's scalars; with selection `val` or `oracle` the engine scores it and keeps
        the best state."""
        scores = self.evaluate(method) if self.evaluate is not None else {}
        if self.keep is not None:
            self.keep(epoch, method, scores)
        self.log(epoch=epoch, **scalars, **scores)


class Member(NamedTuple):
    """A run that is fitted together with others: what its own `fit` would be handed."""

    method: Method
    train: Part
    val: Part
    run: Run
