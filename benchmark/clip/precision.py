"""In what numbers an encoder computes: a recorded choice, the same on every device.

"fp32" is exact float32, with the TF32 of newer GPUs off in matrix products and in cuDNN, which
PyTorch leaves on. "tf32" allows it in both, for the whole run. "bf16" computes frozen features, of
images and of texts, in bfloat16 where PyTorch's autocast does; what is trained stays in float32.
"""

import contextlib
from collections.abc import Iterator

import torch

PRECISIONS = ("fp32", "tf32", "bf16")


@contextlib.contextmanager
def switched(precision: str) -> Iterator[None]:
    """TF32 on or off, and afterwards as it was."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def of_frozen(precision: str, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Around the forward pass of a frozen tower."""
    if precision != "bf16":
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16)
