"""How many bytes of features are kept on the disk."""

import math
import os

SIZE_LIMIT_VARIABLE = "LOWLABEL_BANK_LIMIT"  # of the environment, in GB
# bytes of features, unless that says otherwise. COCO at 448 pixels needs 25e9
SIZE_LIMIT = 64e9
# bytes of resized images kept for methods that train on pixels; above it they are decoded each time
PIXEL_LIMIT = 8e9


def size_limit_of(kind: str) -> float:
    """Bytes up to which features of a kind are stored. Raises `ValueError` when LOWLABEL_BANK_LIMIT
    is no number of GB."""
    if kind == "pixels":
        return PIXEL_LIMIT
    said = os.environ.get(SIZE_LIMIT_VARIABLE, str(SIZE_LIMIT / 1e9))
    try:
        limit = float(said)
    except ValueError:
        limit = -1.0
    if not 0 <= limit < math.inf:
        raise ValueError(
            f"{SIZE_LIMIT_VARIABLE}={said!r} is no number of GB: write 64, or 0 for none"
        )
    return limit * 1e9
