"""How methods, encoders and files are called in tables and figures."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping

from benchmark.spec import Spec

LONGEST_LABEL = 60
LONGEST_NOTE = 2_000  # of our own sentences; what comes from a record is shorter


def method_labels(specs: Mapping[str, Spec], titles: Mapping[str, str]) -> dict[str, str]:
    """{run id: label} of {run id: spec}: a method's title (default: its name) and the
    parameters in which its runs differ, "CoOp (context_length=4)".

    A preset that goes with the encoder, setting and data set (the plan chooses one) makes no
    difference to be shown.
    """
    by_name: dict[str, dict[str, Spec]] = defaultdict(dict)
    for id, spec in specs.items():
        by_name[spec.method.name][id] = spec
    long: dict[str, str] = {}
    for name, members in by_name.items():
        presets: dict[tuple[str, str, str], set[object]] = defaultdict(set)
        for spec in members.values():
            case = (spec.encoder.label, spec.setting.name, spec.dataset)
            presets[case].add(spec.method.get("preset"))
        mixed = any(len(found) > 1 for found in presets.values())
        # preset -> parameter -> values
        values: dict[object, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        for spec in members.values():
            for parameter, value in spec.method.parameters.items():
                values["" if mixed else spec.method.get("preset")][parameter].add(repr(value))
        title = plain(titles.get(name) or name)
        for id, spec in members.items():
            spread = values["" if mixed else spec.method.get("preset")]
            shown = [f"{k}={v}" for k, v in spec.method.parameters.items() if len(spread[k]) > 1]
            long[id] = f"{title} ({', '.join(shown)})" if shown else title
    short = _shortened(long.values())
    return {id: short[label] for id, label in long.items()}


def _shortened(labels: Iterable[str]) -> dict[str, str]:
    """Cuts labels that no table could hold, and keeps them distinct."""
    short: dict[str, str] = {}
    for label in sorted(set(labels)):
        text, number = cut(label, LONGEST_LABEL), 2
        while text in short.values():
            text = f"{label[: LONGEST_LABEL - 5]}… #{number}"
            number += 1
        short[label] = text
    return short


def cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def plain(text: str, longest: int = 200) -> str:
    """One line without control characters."""
    text = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in str(text))
    return cut(" ".join(text.split()), longest)


def count(number: int, noun: str, plural: str = "") -> str:
    """ "1 run", "2 runs"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def listed(words: Iterable[str]) -> str:
    """ "a, b and c"."""
    found = list(words)
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} and {found[-1]}" * bool(found)


def slug(text: str) -> str:
    """A file name: letters, digits, dots and dashes, at most 80 characters."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in ".-") else "_" for c in text)
    return "_".join(filter(None, kept.split("_"))).strip(".")[:80] or "table"
