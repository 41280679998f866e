"""`run_all.py diff A B`: why two numbers differ, in words: protocol, parameters, labels, code,
versions."""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmark import registry
from benchmark.commands.names import find
from benchmark.commands.suite import Suite
from benchmark.spec import Choice, Spec
from benchmark.store import Provenance, Record, Store, TaskRecord


def prepare(arguments: argparse.Namespace, suite: Suite) -> Callable[[], int]:
    text = explain(Path(arguments.out), arguments.a, arguments.b)

    def say() -> int:
        print(text)
        return 0

    return say


def explain(out: Path, a: str, b: str) -> str:
    """Several lines of text, most decisive difference first."""
    store = Store(out)
    first, second = find(store, a), find(store, b)
    lines = [f"A {first['id']}  {first['spec'].label}{_headline(first)}"]
    lines += [f"B {second['id']}  {second['spec'].label}{_headline(second)}"]
    sections = {
        "Protocol": _protocol(first["spec"].setting, second["spec"].setting),
        "Selection and seed": _selection(first["spec"], second["spec"]),
        "Method": _plain(first["spec"].method.to_json(), second["spec"].method.to_json()),
        "Encoder": _plain(first["spec"].encoder.to_json(), second["spec"].encoder.to_json()),
        "Labels": _labels(first["task"], second["task"]),
        "Code and versions": _code(first["provenance"], second["provenance"]),
    }
    for title, differences in sections.items():
        if differences:
            lines += [f"\n{title}:", *(f"  - {line}" for line in differences)]
    if not any(sections.values()):
        lines.append(
            "\nNothing recorded differs; what is left is the non-determinism of the hardware."
        )
    return "\n".join(lines)


def _headline(record: Record) -> str:
    for view, values in record["metrics"].items():
        if record["status"] == "done" and values.get("mAP") is not None:
            return f"  mAP {values['mAP']:.2f} ({view})"
    return f"  {record['status']}"


def _changed(a: Mapping[str, object], b: Mapping[str, object]) -> list[str]:
    return [key for key in dict.fromkeys([*a, *b]) if a.get(key) != b.get(key)]


def _plain(a: Mapping[str, object], b: Mapping[str, object]) -> list[str]:
    return [
        f"{key}: {a.get(key, 'absent')!r} against {b.get(key, 'absent')!r}"
        for key in _changed(a, b)
    ]


def _protocol(first: Choice, second: Choice) -> list[str]:
    if first.name != second.name:
        return [
            f"Different settings: {first.name} against {second.name}; the numbers answer different "
            f"questions."
        ]
    a, b = first.parameters, second.parameters
    module = sys.modules[registry.load("settings", first.name).__module__]
    sentences = getattr(module, "EXPLANATIONS", {})
    return [
        sentences.get(key, key + ": {a} against {b}").format(a=repr(a.get(key)), b=repr(b.get(key)))
        for key in _changed(a, b)
    ]


def _selection(a: Spec, b: Spec) -> list[str]:
    meaning = {
        "last": "the last epoch",
        "val": "the best epoch on validation",
        "oracle": "the best epoch on TEST",
    }
    lines = []
    if a.selection != b.selection:
        lines.append(f"A reports {meaning[a.selection]}, B {meaning[b.selection]}.")
        if "oracle" in (a.selection, b.selection):
            lines.append(
                "An epoch chosen on test is an optimistic maximum; it is never ranked with the "
                "others."
            )
    if a.seed != b.seed:
        lines.append(
            f"Seed {a.seed} against {b.seed}: other masks, validation images and initialisation."
        )
    return lines


def _labels(a: TaskRecord, b: TaskRecord) -> list[str]:
    """A record may come from anybody: what it does not say is not compared."""
    lines = []
    if _differ("fingerprint", a, b):
        lines.append(
            f"Other test labels or images: {a.get('n_test')} against {b.get('n_test')} test images."
        )
    if _differ("labels", a, b):
        lines += [
            f"{name}: {_said(a.get(name))} against {_said(b.get(name))}"
            for name in ("known_rate", "n_train", "n_val")
        ]
        positives = [sum(filter(None, one.get("known_positives", []))) for one in (a, b)]
        lines.append(f"known positive labels: {positives[0]} against {positives[1]}")
    return lines


def _differ(name: str, a: TaskRecord, b: TaskRecord) -> bool:
    return bool(a and b) and a.get(name) != b.get(name)


def _said(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _code(a: Provenance, b: Provenance) -> list[str]:
    lines = []
    commits = [one.get("commit", "")[:10] or "unknown" for one in (a, b)]
    if a.get("code_digest") != b.get("code_digest") and a.get("commit") != b.get("commit"):
        lines.append(f"The code changed: commit {commits[0]} against {commits[1]}.")
    if a.get("weights_sha256") != b.get("weights_sha256"):
        lines.append("The encoder's weights file differs.")
    lines += _plain(a.get("versions", {}), b.get("versions", {}))
    return lines
