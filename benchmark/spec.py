"""The noun of the project: a run, from the plan to the page.

A `Spec` says what is asked of one run and nothing else; its JSON is what a record keeps and what
the run's id is made from. A `Job` is a spec with what a child process needs to compute it.
"""

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePath
from typing import Any, cast

SCHEMA = 1  # a record of another schema counts as missing, so its run is computed again
POCKET = ("pocket-RN", "pocket-ViT")  # the encoders that ship with the suite …
POCKET_SIZE = 96  # … and the pixels of a side that they take

Value = bool | int | float | str | None | tuple["Value", ...]  # of a parameter
# What `json` reads and writes; its values are checked where they are used.
JsonObject = dict[str, Any]

SHOWN = 10  # names that an error message lists; of more, the nearest five


def nearest(wrong: str, known: Iterable[str]) -> str:
    """The tail of an error message: the nearest match, then what is known."""
    names = list(known)
    match = difflib.get_close_matches(wrong, names, n=1, cutoff=0.5)
    hint = f"Did you mean {match[0]!r}? " if match else ""
    if len(names) <= SHOWN:
        return f"{hint}Known: {', '.join(names) or 'none'}."
    close = difflib.get_close_matches(wrong, names, n=5, cutoff=0.0)
    return f"{hint}The nearest of {len(names)}: {', '.join(close)}."


@dataclass(frozen=True)
class Choice:
    """A method or a setting by name, with every parameter and all defaults filled in."""

    name: str
    parameters: Mapping[str, Value] = field(default_factory=dict)

    @classmethod
    def from_json(cls, state: JsonObject) -> "Choice":
        """From {"name": …, parameter: value, …}. Raises `ValueError` for anything else."""
        if not isinstance(state, Mapping) or not isinstance(state.get("name"), str):
            raise ValueError(f"{state!r} names no plugin")
        values = {key: _frozen(value) for key, value in state.items() if key != "name"}
        return cls(state["name"], values)

    def to_json(self) -> JsonObject:
        return {"name": self.name, **{k: _listed(v) for k, v in self.parameters.items()}}

    def get(self, parameter: str, default: Value = "") -> Value:
        return self.parameters.get(parameter, default)

    @property
    def parameter_text(self) -> str:
        """ "context_length=4, epochs=50", sorted by name."""
        return ", ".join(f"{name}={self.parameters[name]!r}" for name in sorted(self.parameters))


def _frozen(value: object) -> Value:
    """JSON has no tuples, parameters have no lists."""
    if isinstance(value, list | tuple):
        return tuple(_frozen(item) for item in value)
    return cast(Value, value)


def _listed(value: Value) -> object:
    return [_listed(item) for item in value] if isinstance(value, tuple) else value


YOUNGER = {
    "activation": "gelu",
    "precision": "fp32",
}  # fields that the first records of an encoder do not have


@dataclass(frozen=True)
class Encoder:
    """A complete description of an encoder; `clip.encoder_name.parse_encoder` makes it from text.

    `weights` is a tag of open_clip, "shipped" for the pocket encoders, or "sha256:…" for a local
    file, whose path is remembered on this machine and is no part of the description.
    """

    name: str  # architecture
    weights: str
    image_size: int  # pixels of a side
    resize: str = "squash"  # or "crop"
    statistics: str = "clip"  # or "imagenet": mean and standard deviation of the pixels
    activation: str = "gelu"  # or "quickgelu", with which OpenAI trained; see `clip.encoder_name`
    precision: str = "fp32"  # or "tf32", "bf16"; see `clip.precision`

    @classmethod
    def from_json(cls, state: JsonObject) -> "Encoder":
        try:
            return cls(**state)
        except TypeError as error:
            raise ValueError(f"{state!r} describes no encoder ({error})") from None

    def to_json(self) -> JsonObject:
        """Younger fields appear where they are not what was before them: ids stay."""
        state = dict(self.__dict__)
        return {k: v for k, v in state.items() if k not in YOUNGER or v != YOUNGER[k]}

    @property
    def flags(self) -> str:
        """What follows the size in `text`, e.g. "+crop+imagenet"; the activation of published
        weights is known, that of a local file is said."""
        flags = "+crop" * (self.resize == "crop") + "+imagenet" * (self.statistics == "imagenet")
        flags += f"+{self.activation}" * self.weights.startswith("sha256:")
        return flags + f"+{self.precision}" * (self.precision != "fp32")

    @property
    def text(self) -> str:
        """As on the command line: "pocket-RN", "RN101/openai@448", "ViT-B-16/openai@224+crop"."""
        if self.weights == "shipped" and self.image_size == POCKET_SIZE:
            return self.name + self.flags
        weights = "" if self.weights == "shipped" else f"/{self.weights}"
        return f"{self.name}{weights}@{self.image_size}{self.flags}"

    @property
    def label(self) -> str:
        """`text` for tables: of a checksum only its beginning."""
        weights = self.weights[:19] if self.weights.startswith("sha256:") else self.weights
        return self.text.replace(self.weights, weights)


@dataclass(frozen=True)
class Spec:
    """What one run is asked: equal specs are the same run, whatever machine, path or code."""

    method: Choice
    setting: Choice
    encoder: Encoder
    selection: str = "last"
    seed: int = 0
    # Images of each split that take part, for a smoke run; 0 is all, and then it is in no JSON.
    limit: int = 0

    @classmethod
    def from_json(cls, state: JsonObject) -> "Spec":
        """Raises `ValueError` for what is not the JSON of a spec."""
        try:
            return cls(
                Choice.from_json(state["method"]),
                Choice.from_json(state["setting"]),
                Encoder.from_json(state["encoder"]),
                str(state["selection"]),
                int(state["seed"]),
                int(state.get("limit", 0)),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"no description of a run: {type(error).__name__} {error}") from None

    def to_json(self) -> JsonObject:
        return {
            "method": self.method.to_json(),
            "setting": self.setting.to_json(),
            "encoder": self.encoder.to_json(),
            "selection": self.selection,
            "seed": self.seed,
            **({"limit": self.limit} if self.limit else {}),
        }

    @cached_property
    def id(self) -> str:
        """12 hex digits of the sha256 of the canonical JSON: the order of keys does not matter."""
        state = {"schema": SCHEMA, **self.to_json()}
        text = json.dumps(state, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def methods(self) -> str:
        """The method's name and, after a space, that of a method it holds: "tuned dualcoop"."""
        held = str(self.method.get("method")).partition("(")[0].strip()
        return " ".join(filter(None, [self.method.name, PurePath(held).stem]))

    @property
    def dataset(self) -> str:
        return str(self.setting.get("dataset"))

    @property
    def label(self) -> str:
        """One line by which a person recognises a run."""
        known = f"known={self.setting.get('known')}" if "known" in self.setting.parameters else ""
        parts = [self.method.name, self.setting.name, self.dataset, known, self.encoder.label]
        limited = [self.limited] if self.limit else []
        return " ".join([*filter(None, parts), f"seed={self.seed}", *limited])

    @property
    def limited(self) -> str:
        """What a number of a smoke run is called wherever it is shown; "" for all images."""
        return f"limited to {self.limit} images a split" if self.limit else ""


@dataclass(frozen=True)
class Job:
    """A run as it is sent to the process that computes it."""

    spec: Spec
    data: str = "data"  # root folder of the data sets
    # "kind:name" -> file outside the suite
    plugins: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0  # estimate
    bank: str = ""  # jobs with the same text share a feature bank
    tensorboard: bool = False
    cohort: str = ""  # jobs with the same text can be computed as one

    @property
    def id(self) -> str:
        return self.spec.id

    @classmethod
    def from_json(cls, state: JsonObject) -> "Job":
        return cls(**{**state, "spec": Spec.from_json(state["spec"])})

    def to_json(self) -> JsonObject:
        return {**self.__dict__, "spec": self.spec.to_json(), "plugins": dict(self.plugins)}
