"""Two users of one machine, each with a umask that closes everything: one pool of leases, one
result folder."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest

from benchmark.files import share
from benchmark.store import Store
from tests.fixtures.fake_executor import notes

ROOT = Path(__file__).resolve().parents[2]
USERS = (65533, 65534)
# everything is imported first: the interpreter may lie where only root can read
AS_USER = """
import os, sys
from pathlib import Path
import joblib, psutil
from benchmark.files import share
from benchmark.sweep.schedule import run_jobs
from tests.fixtures.fake_executor import a_job
user, out = int(sys.argv[1]), Path(sys.argv[2])
psutil.Process().children(), joblib.cpu_count(), psutil.cpu_count(logical=False)
os.setgroups([]), os.setgid(user), os.setuid(user), os.umask(0o077)
"""
SWEEP = """
jobs = [a_job(i, seconds=0.03) for i in range(40)]
executor = "tests.fixtures.fake_executor:execute"
summary = run_jobs(jobs, out, backend="inline", executor=executor)
sys.exit(0 if summary.done + summary.skipped == 40 else 1)
"""


def start(user: int, code: str, out: Path, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", AS_USER + code, str(user), str(out)],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture
def common():
    """A folder that everybody may write to."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    (folder / "out").mkdir()
    (folder / "out").chmod(0o777)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
def test_two_users_share_leases_and_results(common):
    environment = {
        "LOWLABEL_LEASES": str(common / "out/leases"),
        "LOWLABEL_PRETEND_DEVICES": "2",
    }
    sweeps = [start(user, SWEEP, common / "out", **environment) for user in USERS]
    for sweep in sweeps:
        printed, _ = sweep.communicate(timeout=300)
        assert sweep.returncode == 0, printed
    records = Store(common / "out").records()
    assert len(records) == 40 and {record["status"] for record in records} == {"done"}
    starts = notes(common / "out", "start")
    assert max(Counter(id for _, id, _ in starts).values()) == 1  # no run twice
    owners = {path.stat().st_uid for path in (common / "out").glob("runs/*/record.json")}
    assert owners == set(USERS)  # both have worked


def test_what_is_made_in_a_folder_is_as_open_as_the_folder(tmp_path):
    before = os.umask(0o077)
    try:
        for mode, wanted in ((0o2775, 0o664), (0o777, 0o666), (0o700, 0o600)):
            folder = tmp_path / oct(mode)
            folder.mkdir()
            folder.chmod(mode)
            os.umask(0o077)
            share(folder)
            (folder / "file").touch()
            assert (folder / "file").stat().st_mode & 0o777 == wanted
    finally:
        os.umask(before)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_a_closed_folder_is_one_sentence(common):
    (common / "out").chmod(0o755)
    printed, _ = start(65534, "share(out)", common / "out").communicate(timeout=60)
    assert "belongs to another user and is closed" in printed.splitlines()[-1], printed
