"""The GPUs that this process may use, found without torch and without waiting for ever."""

import functools
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

PATIENCE = 10  # seconds that nvidia-smi has to answer
ON_THE_CPU = "CUDA_VISIBLE_DEVICES= in front of the command runs on the CPU"


def visible_gpus() -> list[tuple[str, str]]:
    """(value for CUDA_VISIBLE_DEVICES, machine-wide name) of each GPU; [] means the CPU.

    Where nvidia-smi is at hand the name is the UUID, so a sweep that was given "2" and one that was
    given "GPU-3f1c…" lease the same file. Like CUDA, the list ends at the first "-1". Raises
    `ValueError` where there are GPUs and they cannot be used: nothing goes to the CPU unasked.
    """
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None and not chosen.strip():
        return []
    uuids = listed_by_nvidia_smi()
    gpus = [(uuid, uuid) for uuid in uuids] if chosen is None else _chosen(chosen, uuids)
    if gpus and not torch_has_cuda():
        raise ValueError(
            f"this machine has {len(gpus)} GPU(s), but the installed torch is built without CUDA: "
            f"install a build for CUDA (pytorch.org), or {ON_THE_CPU}"
        )
    return gpus


def _chosen(text: str, uuids: list[str]) -> list[tuple[str, str]]:
    gpus = []
    for value in (part.strip() for part in text.split(",")):
        if value.isdigit():
            name = uuids[int(value)] if int(value) < len(uuids) else f"gpu{value}"
        elif value.startswith(("GPU-", "MIG-")):  # CUDA accepts the beginning of a UUID
            name = next((uuid for uuid in uuids if uuid.startswith(value)), value.replace("/", "-"))
        else:
            break
        gpus.append((value, name))
    return gpus


def listed_by_nvidia_smi() -> list[str]:
    """UUIDs in the order of the machine; a GPU that is cut into MIG instances is replaced by its
    instances.

    A GPU that nvidia-smi only complains about is left out, which is said on standard error, as is
    that there is none at all. Raises `ValueError` when nvidia-smi does not answer.
    """
    if shutil.which("nvidia-smi") is None:
        return []
    try:
        answer = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, check=False, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        raise ValueError(
            f"nvidia-smi did not answer within {PATIENCE} s, the driver hangs: restart it, or "
            f"{ON_THE_CPU}"
        ) from None
    except OSError as error:
        raise ValueError(f"nvidia-smi cannot be started ({error}); {ON_THE_CPU}") from error
    uuids: list[str] = []
    for uuid in re.findall(r"\(UUID: ((?:GPU|MIG)-[^)]+)\)", answer.stdout):
        if uuid.startswith("MIG-") and uuids and uuids[-1].startswith("GPU-"):
            uuids.pop()
        uuids.append(uuid)
    lines = [*answer.stdout.splitlines(), *answer.stderr.splitlines()]
    complaints = [line.strip() for line in lines if line.strip() and "UUID:" not in line]
    if not uuids:
        reason = complaints[0].rstrip(".") if complaints else f"exit code {answer.returncode}"
        _say(f"nvidia-smi finds no GPU ({reason}): runs go to the CPU")
    elif complaints or answer.returncode != 0:
        reason = "; ".join(complaints) or f"exit code {answer.returncode}"
        _say(f"nvidia-smi lists {len(uuids)} GPU(s), which are used, and reports: {reason}")
    return uuids


@functools.cache
def torch_has_cuda() -> bool:
    """Whether the installed torch is a build for GPUs, read off its files: importing it takes
    seconds."""
    package = importlib.util.find_spec("torch")
    if package is None or package.origin is None:
        return False
    text = Path(package.origin).with_name("version.py").read_text()
    return re.search(r"^(cuda|hip)\b[^=]*= *['\"]", text, re.MULTILINE) is not None


@functools.cache
def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
