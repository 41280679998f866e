"""Shared fixtures: one torch thread a test process, an empty data root, a method that needs no
training."""

import os
from pathlib import Path

# before torch is imported: pytest-xdist runs a process per core
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest


@pytest.fixture(autouse=True)
def _no_real_data(tmp_path_factory, monkeypatch):
    """Tests never see data sets that happen to lie on the machine."""
    monkeypatch.setenv("LOWLABEL_DATA", str(tmp_path_factory.getbasetemp() / "no-data"))


@pytest.fixture(autouse=True)
def _miniatures_are_subsets(monkeypatch):
    """Tests read miniature copies, as `--allow-subset` allows."""
    monkeypatch.setenv("LOWLABEL_ALLOW_SUBSET", "1")


@pytest.fixture
def shared() -> Path:
    """The folder `shared` beside the checkout with golden vectors and real label lists."""
    path = Path(__file__).resolve().parents[2] / "shared"
    if not path.is_dir():
        pytest.skip("no shared/ beside the checkout (golden vectors and label lists)")
    return path
