"""Lets open_clip import where the torchvision wheel was built for another torch than the one
installed.

The registry's torchvision wheel holds compiled operators that do not load beside a CPU-only torch;
importing it then fails with "operator torchvision::nms does not exist". Only the *declaration* of
two operators is missing at import time (nobody here calls them), so declaring their schemas is
enough. Where torchvision's own library loads this does nothing.
"""

import importlib.util
from pathlib import Path

import torch


def _compiled_operators_load() -> bool:
    specification = importlib.util.find_spec("torchvision")
    if specification is None or specification.origin is None:
        return True  # nothing to mend
    for library in Path(specification.origin).parent.glob("_C*"):
        try:
            torch.ops.load_library(str(library))
        except OSError:
            return False
    return True


_declarations = None  # the schemas live as long as this object
if not _compiled_operators_load():
    _declarations = torch.library.Library("torchvision", "DEF")
    _declarations.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declarations.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
