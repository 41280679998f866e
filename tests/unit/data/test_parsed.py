"""Label files are parsed once for all processes of a sweep, and again whenever they might be other
ones."""

import numpy as np
import pytest

from benchmark.data import _parsed, coco2014, nus_wide
from tests.fixtures.miniatures import build_coco2014, build_nus_wide

DATASETS = {"coco": (build_coco2014, coco2014), "nus": (build_nus_wide, nus_wide)}
PARSERS = {"coco": "_read_file", "nus": "_matrix"}


@pytest.fixture(params=DATASETS)
def kept(request, tmp_path, monkeypatch):
    """`load()` returns the data set and how many files it parsed."""
    build, module = DATASETS[request.param]
    build(tmp_path / "data")
    monkeypatch.setattr(_parsed, "_folder", tmp_path / "labels")
    parse, calls = getattr(module, PARSERS[request.param]), []

    def counting(*arguments):
        calls.append(arguments)
        return parse(*arguments)

    monkeypatch.setattr(module, PARSERS[request.param], counting)

    def load():
        calls.clear()
        return module.load(tmp_path / "data"), len(calls)

    load.files = lambda: sorted((tmp_path / "labels").glob("*.npz"))
    return load


def equal(a, b) -> bool:
    same = a.names == b.names and a.classes == b.classes and a.notes == b.notes
    return same and np.array_equal(a.y, b.y) and a.y.dtype == b.y.dtype == np.int8


def test_the_second_process_parses_nothing_and_has_the_same(kept, monkeypatch):
    first, parsed = kept()
    again, parsed_again = kept()
    assert parsed and not parsed_again and equal(first, again)
    monkeypatch.setattr(_parsed, "_folder", None)
    plain, _ = kept()
    assert equal(first, plain)


@pytest.mark.parametrize("damage", ["cut", "bits", "empty", "text"])
def test_what_is_damaged_is_parsed_again(kept, damage):
    first, parsed = kept()
    for path in kept.files():
        data = bytearray(path.read_bytes())
        for place in range(200, len(data), 64):  # one alone may hit what nobody reads
            data[place] ^= 4
        whole = path.read_bytes()
        other = {"cut": whole[:-40], "bits": bytes(data), "empty": b"", "text": b"no archive"}
        path.write_bytes(other[damage])
    again, parsed_again = kept()
    assert parsed_again == parsed and equal(first, again)
    assert kept()[1] == 0  # and it is mended


def test_edited_files_and_other_code_are_parsed_again(kept, tmp_path, monkeypatch):
    _, parsed = kept()
    number = len(kept.files())
    for path in (tmp_path / "data").rglob("*"):
        if path.suffix in (".json", ".dat"):
            path.write_bytes(path.read_bytes())  # of the same size
    assert kept()[1] > 0
    monkeypatch.setattr(_parsed, "digest", lambda *_: "other code")
    assert kept()[1] == parsed
    assert len(kept.files()) == number  # nothing old is left lying about


def test_a_full_disk_stops_nobody(kept, monkeypatch):
    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_parsed, "write_atomically", no_space)
    assert kept()[1] and kept()[1]
