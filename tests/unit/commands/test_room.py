"""What the features of a plan take on the disk is said before the sweep, from the command line."""

import shutil

import run_all
from benchmark import commands
from benchmark.store import Store

FLAGS = ["--settings", "partial(known=.5)", "--datasets", "digits", "--seeds", "0"]
FLAGS += ["--backend", "inline", "--limit", "40"]
BOTH = ["--methods", "zero_shot_clip(regions=[False, True])"]  # global features and regions


def test_features_above_the_limit_say_so_before_the_sweep(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LOWLABEL_BANK_LIMIT", "0.00001")
    command = ["run", *FLAGS, "--methods", "zero_shot_clip", "--out", str(tmp_path)]
    assert commands.main(command, run_all.QUICK, run_all.FULL) == 0
    said = capsys.readouterr().out.splitlines()
    (note,) = [line for line in said if "computed again for every batch" in line]
    assert "global of digits, pocket-RN would take 0.0 MB, above the limit of 0.0 MB" in note
    assert "LOWLABEL_BANK_LIMIT, in GB, raises it" in note
    assert said.index(note) < next(i for i, line in enumerate(said) if "runs to do" in line)
    assert not list(tmp_path.glob("features/*/features.npy"))


def test_what_fits_is_not_spoken_of(tmp_path, capsys, monkeypatch):
    command = ["run", *FLAGS, "--methods", "zero_shot_clip", "--out", str(tmp_path)]
    assert commands.main(command, run_all.QUICK, run_all.FULL) == 0
    assert "computed again" not in capsys.readouterr().out
    # and what is there needs no room
    usage = shutil.disk_usage(tmp_path)._replace(free=50_000)
    monkeypatch.setattr("benchmark.commands.room.shutil.disk_usage", lambda path: usage)
    assert commands.main([*command, "--fresh", "all"], run_all.QUICK, run_all.FULL) == 0


def test_a_disk_too_small_for_all_banks_is_one_sentence(tmp_path, monkeypatch, capsys):
    usage = shutil.disk_usage(tmp_path)._replace(free=100_000)
    command = ["run", *FLAGS, *BOTH, "--out", str(tmp_path)]
    monkeypatch.setattr("benchmark.commands.room.shutil.disk_usage", lambda path: usage)
    assert commands.main(command, run_all.QUICK, run_all.FULL) == 2
    error = capsys.readouterr().err
    assert "the features of this plan need" in error and "LOWLABEL_BANK_LIMIT=0" in error
    assert error.count("\n") == 1 and not Store(tmp_path).records()
