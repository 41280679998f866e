"""How long a run will take: its work, times the seconds that work took in earlier records.

The work of a fit is epochs × images × classes / batch size, since a step of a method on frozen
features encodes the class names; of a method that trains on pixels it is epochs × images. That of
an evaluation is images × classes, or images. Where another encoder was measured, the seconds are
scaled by the operations of the towers; where nothing was, operations are counted and divided by
`OPERATIONS_A_SECOND`, which is no measurement and is said.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmark import data
from benchmark.clip.architectures import model_config, stride
from benchmark.spec import Encoder, JsonObject, Spec
from benchmark.store import Record, Store
from benchmark.task import Method

OPERATIONS_A_SECOND = 50e9  # float32 on a core
TOKENS = 12  # of a class name, on average, that a learned context makes the tower compute
# images of train and test, classes: what a plan needs before the files are read
SIZES = {
    "voc2007": (5011, 4952, 20),
    "coco2014": (82783, 40504, 80),
    "nus_wide": (161789, 107859, 1006),
    "voc_mlt": (1142, 4952, 20),
    "coco_mlt": (1909, 5000, 80),
}


@dataclass(frozen=True)
class Size:
    train: int
    test: int
    classes: int


@dataclass
class Measured:
    """Seconds for a unit of work with one tower, summed over `runs` records."""

    encoder: Encoder
    fit: float = 0.0
    predict: float = 0.0
    runs: int = 0


class Table(dict[tuple[str, ...], dict[tuple[str, int], Measured]]):
    """What runs have in common -> name and size of their tower -> seconds."""


class Estimator:
    """Seconds of runs and of banks, from the records and banks of a result folder, and from what
    `plan --measure` found."""

    def __init__(self, records: Iterable[Record], features: Path) -> None:
        self.features = features
        self.sizes: dict[tuple[str, str, int], Size] = {}
        self.measured, self.by_steps = Table(), Table()
        for table, found in (
            (self.measured, records),
            (self.by_steps, Store(features / "measured").records()),
        ):
            for record in found:
                if record["status"] == "done" and record["cost"]:
                    self._learn(record, table)
        self.banks = [_bank(path) for path in features.glob("*/key.json")]

    def _learn(self, record: Record, table: "Table") -> None:
        spec, task, cost = record["spec"], record["task"], record["cost"]
        size = Size(task["n_train"], task["n_test"], task["n_classes"])
        self.sizes.setdefault((spec.setting.name, spec.dataset, spec.limit), size)
        pixels = needs_pixels(spec)
        fit = cost.get("fit_s", 0.0) / fit_work(spec, size, pixels)
        predict = cost.get("predict_s", 0.0) / predict_work(size, pixels)
        tower = (spec.encoder.name, spec.encoder.image_size)
        for key in _keys(spec):
            found = table.setdefault(key, {}).setdefault(tower, Measured(spec.encoder))
            found.fit, found.predict, found.runs = (
                found.fit + fit,
                found.predict + predict,
                found.runs + 1,
            )

    def size(self, spec: Spec) -> Size:
        """Of the task, from a record of the same setting and data set, else of the data set."""
        known = self.sizes.get((spec.setting.name, spec.dataset, spec.limit))
        if known is not None:
            return known
        if spec.dataset in SIZES:
            train, test, classes = SIZES[spec.dataset]
        else:
            dataset = data.load(spec.dataset)
            train, test = (len(dataset.splits.get(name, ())) for name in ("train", "test"))
            classes = len(dataset.classes)
        limit = spec.limit or train + test
        return Size(min(train, limit), min(test, limit), classes)

    def has_record(self, spec: Spec) -> bool:
        """Whether the method was run with this tower."""
        return _keys(spec)[1] in self.measured

    def has_pace(self, encoder: Encoder) -> bool:
        """Whether features were made with this tower."""
        tower = (encoder.name, encoder.image_size)
        made = [bank for bank in self.banks if bank["pace"] and bank["dataset"]]
        return tower in {(bank.get("architecture"), bank["image_size"]) for bank in made}

    def run(self, spec: Spec) -> tuple[float, bool]:
        """Seconds of fit and evaluation, and whether records of the method were at hand."""
        size, pixels = self.size(spec), needs_pixels(spec)
        tables = [(t, key) for key in _keys(spec) for t in (self.measured, self.by_steps)]
        known = next((table[key] for table, key in tables if key in table), None)
        if known is None:
            return operations(spec, size, pixels) / OPERATIONS_A_SECOND, False
        fit = predict = 0.0
        count = sum(of_tower.runs for of_tower in known.values())
        for of_tower in known.values():
            ratio = _ratio(spec.encoder, of_tower.encoder, pixels) / count
            fit, predict = fit + of_tower.fit * ratio, predict + of_tower.predict * ratio
        return fit * fit_work(spec, size, pixels) + predict * predict_work(size, pixels), True

    def bank(self, spec: Spec, method: Method) -> float:
        """Seconds for the features that are still missing."""
        wanted, there = self.images(spec, method)
        missing = max(0.0, wanted - there)
        return missing * self.seconds_an_image(spec.encoder, method.needs)

    def images(self, spec: Spec, method: Method) -> tuple[int, float]:
        """How many images the features of a run are made of, augmented copies of the training
        images included, and of how many they are there."""
        size = self.size(spec)
        wanted = size.train + size.test + method.copies * size.train
        same = [
            bank
            for bank in self.banks
            if bank["dataset"] == spec.dataset
            and bank["kind"] == method.needs
            and bank["image_size"] == spec.encoder.image_size
            and bank.get("architecture", spec.encoder.name) == spec.encoder.name
        ]
        return wanted, sum(float(bank["images_there"]) for bank in same[: 1 + method.copies])

    def seconds_an_image(self, encoder: Encoder, kind: str) -> float:
        """As measured when a bank of this tower was made, or scaled from that of another tower."""
        if kind == "pixels":
            return 0.002  # decoded and resized on one core
        paces = [
            (float(bank["pace"]), _image_operations(bank["architecture"], bank["image_size"]))
            for bank in self.banks
            if bank["pace"] and "architecture" in bank
        ]
        wanted = _image_operations(encoder.name, encoder.image_size)
        if not paces:
            return wanted / OPERATIONS_A_SECOND
        return min((abs(done - wanted), pace * wanted / done) for pace, done in paces)[1]


def bytes_an_image(encoder: Encoder, kind: str) -> int:
    """Of the features of an image as a bank keeps them."""
    config = model_config(encoder.name)
    width, step = int(config["embed_dim"]), stride(config["vision_cfg"])
    if kind == "pixels":
        return 3 * encoder.image_size**2
    if kind == "global":
        return 4 * width
    return 2 * width * ((encoder.image_size // step) ** 2 + 1) if step else 0


def needs_pixels(spec: Spec) -> bool:
    """Whether the method trains the image tower, as far as its parameters tell."""
    return "context_length" not in spec.method.parameters and "batch_norm" in spec.method.parameters


def fit_work(spec: Spec, size: Size, pixels: bool) -> float:
    images = size.train * _epochs(spec) * _number(spec, "draws")
    if pixels:
        return max(1.0, images)
    return max(1.0, images * size.classes / _number(spec, "batch_size"))


def predict_work(size: Size, pixels: bool) -> float:
    return max(1.0, float(size.test * (1 if pixels else size.classes)))


def operations(spec: Spec, size: Size, pixels: bool) -> float:
    """Of a fit and an evaluation, to about a factor of three."""
    encoder = spec.encoder
    if pixels:
        image = _image_operations(encoder.name, encoder.image_size)
        return image * (3 * fit_work(spec, size, pixels) + size.test)
    if "context_length" in spec.method.parameters:
        copies = 2 if spec.method.get("class_specific") else 1
        a_class = 2 * 3 * copies * TOKENS * _token_operations(encoder.name)
        return a_class * fit_work(spec, size, pixels)
    width = int(model_config(encoder.name)["embed_dim"])
    # a logistic regression takes some hundred passes over the features
    return 4.0 * width * size.classes * (200 * size.train * _epochs(spec) + size.test)


def _epochs(spec: Spec) -> float:
    """1 for a logistic regression, whose `epochs` belong to the losses that it can have instead."""
    if "C" in spec.method.parameters and not spec.method.get("loss"):
        return 1.0
    return _number(spec, "epochs")


def _number(spec: Spec, parameter: str) -> float:
    value = spec.method.get(parameter, 1)
    return float(value) if isinstance(value, int | float) and value else 1.0


def _keys(spec: Spec) -> list[tuple[str, ...]]:
    """What a run has in common with others, the nearest first."""
    kind = (spec.method.name, str(spec.method.get("class_specific")))
    tower = (spec.encoder.name, str(spec.encoder.image_size))
    return [(*kind, *tower, spec.dataset), (*kind, *tower), kind, (spec.method.name,)]


def _ratio(wanted: Encoder, measured: Encoder, pixels: bool) -> float:
    if (wanted.name, wanted.image_size) == (measured.name, measured.image_size):
        return 1.0
    if pixels:
        return _image_operations(wanted.name, wanted.image_size) / _image_operations(
            measured.name, measured.image_size
        )
    return _token_operations(wanted.name) / _token_operations(measured.name)


def _token_operations(name: str) -> float:
    """Of the text tower for a token: 12 W² multiplications a layer."""
    text = model_config(name).get("text_cfg", {})
    return 24.0 * float(text.get("width", 512)) ** 2 * float(text.get("layers", 12))


def _image_operations(name: str, size: int) -> float:
    """Of the image tower for an image: 12 W² a token and layer of a ViT; the bottlenecks of a
    ResNet, whose stages have side S/4, S/8, S/16, S/32 and planes W, 2W, 4W, 8W."""
    visual = model_config(name)["vision_cfg"]
    layers, width = visual.get("layers", 12), float(visual.get("width", 768))
    if not isinstance(layers, list):
        tokens = (size / float(visual.get("patch_size") or 16)) ** 2 + 1
        return float(layers) * tokens * (24 * width**2 + 4 * tokens * width)
    total, came = 0.0, width
    for stage, blocks in enumerate(layers):
        planes, positions = width * 2**stage, (size / 2 ** (stage + 2)) ** 2
        first = came * planes + 9 * planes**2 + 4 * planes**2 + 4 * came * planes
        total += 2 * positions * (first + (blocks - 1) * 17 * planes**2)
        came = 4 * planes
    return total


def _bank(key: Path) -> JsonObject:
    """`key.json` of a bank with how many images are there and the seconds that one took."""
    found: JsonObject = {"images_there": 0, "pace": 0.0}
    try:
        found |= json.loads(key.read_text())
        found["images_there"] = 128 * len(json.loads((key.parent / "marks.json").read_text()))
        pace = json.loads((key.parent / "pace.json").read_text())
        found["pace"] = pace["seconds"] / max(1, pace["images"])
    except (OSError, ValueError, KeyError):
        pass
    return found
