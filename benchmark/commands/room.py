"""What the features of a plan will take on the disk, said before anything is computed."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from benchmark import registry
from benchmark.estimate import Estimator, bytes_an_image
from benchmark.features.chunked_array import size
from benchmark.features.limits import SIZE_LIMIT_VARIABLE, size_limit_of
from benchmark.plan import Row
from benchmark.store import Store


def require_room(rows: Sequence[Row], out: Path) -> list[str]:
    """A sentence for each feature bank that is above the limit and will not be kept. Raises
    `ValueError` when the others, with all their copies, do not fit the disk."""
    banks = {row.bank: row.spec for row in rows}
    estimator = Estimator(Store(out).records() if banks else (), out / "features")
    said, missing = [], 0.0
    for spec in banks.values():
        method = registry.rebuild("methods", spec.method)
        kind = method.needs
        wanted, there = estimator.images(spec, method)
        an_image, limit = bytes_an_image(spec.encoder, kind), size_limit_of(kind)
        if wanted * an_image <= limit:
            missing += max(0.0, wanted - there) * an_image
            continue
        remedy = "" if kind == "pixels" else f" ({SIZE_LIMIT_VARIABLE}, in GB, raises it)"
        copies = f" with {method.copies} augmented copies" if method.copies else ""
        said.append(
            f"{kind} of {spec.dataset}, {spec.encoder.label}{copies} would take "
            f"{size(wanted * an_image)}, above the limit of {size(limit)}: they are "
            f"computed again for every batch{remedy}."
        )
    free = shutil.disk_usage(out).free
    if missing > free:
        raise ValueError(
            f"the features of this plan need {size(missing)}, {size(free)} are free at "
            f"{out}: make room there, choose a folder on another disk with --out, or have them "
            f"computed for every batch with {SIZE_LIMIT_VARIABLE}=0"
        )
    return said
