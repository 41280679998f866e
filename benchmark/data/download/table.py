"""What `run_all.py data` prints: which files are there, which are missing, where they come from."""

import re
import textwrap
from pathlib import Path

from benchmark import data
from benchmark.data.download import places
from benchmark.data.download.fetch import readable, status
from benchmark.data.download.sources import LICENCES, SOURCES, STEPS


def table(root: Path, name: str | None = None) -> str:
    """Plain text for a newcomer: an overview, then every data set on disk (or the one asked for)
    with its files."""
    names = [name] if name else data.names()
    width = max(map(len, names))
    lines = [f"Data sets below {root} (another folder: --data DIR)", ""]
    for each in names:
        lines.append(
            f"  {each:{width}}  {_state(each, root):29}  "
            f"{(data.module(each).__doc__ or '').partition(chr(10))[0]}"
        )
    for each in names:
        if each in SOURCES:
            missing = data.module(each).missing(root)
            lines += ["", *_details(each, root, missing, full=name is not None)]
    if not name:
        lines += [
            "",
            "Embedded data sets are rendered when needed: `python run_all.py` works without any "
            "download.",
        ]
        lines += ["Full checksums and one data set alone: python run_all.py data NAME"]
    return "\n".join(lines) + "\n"


def _state(name: str, root: Path) -> str:
    if data.embedded(name):
        return "embedded"
    if not data.available(name, root):
        return "ready"
    if name not in SOURCES:
        return "not there"
    left = sum(row.source.size for row in status(name, root) if not row.state.startswith("there"))
    return f"incomplete, {readable(left)} to fetch" if SOURCES[name] else "incomplete, by hand"


def _details(name: str, root: Path, missing: list[str], full: bool) -> list[str]:
    rows = status(name, root)
    lines = [f"{name}"]
    for row in rows:
        checksum = row.checksum if full else _shortened(row.checksum)
        size = readable(row.source.size)
        lines.append(f"  {row.source.file:28} {size:>8}  {row.state}; checksum {checksum}")
        lines.append(f"  {'':28} {'':>8}  {row.source.address}")
    for vouched in dict.fromkeys(row.source.vouched for row in rows if row.source.checksum):
        lines.append(f"  checksums  {vouched}")
    lines += _wrapped("licence", LICENCES[name])
    wanted = [*places.interrupted(name, root), *missing]
    if wanted:
        lines += _wrapped("missing", ", ".join(wanted))
    if wanted and rows:
        lines.append(f"  get it     python run_all.py data {name} --download")
    if name in STEPS and (wanted or full):
        lines.append(textwrap.indent(STEPS[name].format(root=root), "  "))
    return lines


def _shortened(checksum: str) -> str:
    return re.sub(r"\b([0-9a-f]{8})[0-9a-f]{24,}", r"\1…", checksum)


def _wrapped(title: str, text: str) -> list[str]:
    return textwrap.wrap(text, 118, initial_indent=f"  {title:9}  ", subsequent_indent=" " * 13)
