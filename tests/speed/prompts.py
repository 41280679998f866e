"""`python -m tests.speed.prompts`: encoding learned prompts, forward and backward, beside the
tower's own forward pass of every prompt at full length; then how it grows.

Random weights in the shape of RN50's text tower (512 wide, 12 layers), two contexts, one thread.
`--many` adds 320 and 1,006 classes (minutes), `--small` takes the shape of the pocket tower.
"""

import argparse
from collections.abc import Callable

import torch
from torch import Tensor, nn

import benchmark.clip.torchvision_shim  # noqa: F401  (before open_clip)

import open_clip  # isort: skip
from benchmark.clip.prompt_encoder import PromptEncoder
from tests.speed._side_by_side import peak_gflops, peak_mb, relative, seconds

NAMES = [
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("dining table", "dog", "horse", "motorbike", "person", "potted plant", "sheep", "sofa"),
    *("train", "tv monitor"),
]
VISION = {"layers": 1, "width": 64, "head_width": 64, "patch_size": 16, "image_size": 32}
RN50 = {"width": 512, "layers": 12, "heads": 8}
POCKET = {"width": 128, "layers": 3, "heads": 4}


def tower(shape: dict[str, int], embed: int = 1024) -> nn.Module:
    """A CLIP of random weights, frozen."""
    torch.manual_seed(0)
    model = open_clip.CLIP(embed, VISION, shape | {"vocab_size": 49408}, quick_gelu=True)
    return model.eval().requires_grad_(False)


def names(count: int) -> list[str]:
    return [NAMES[i % len(NAMES)] for i in range(count)]


def contexts(width: int, classes: int, length: int, specific: bool) -> list[Tensor]:
    """Two, with gradients."""
    shape = (*([classes] if specific else []), length, width)
    return [(0.02 * torch.randn(shape)).requires_grad_() for _ in range(2)]


def step(encoder: PromptEncoder, leaves: list[Tensor]) -> Callable[[], Tensor]:
    """Forward and backward; returns the gradients."""

    def run() -> Tensor:
        for leaf in leaves:
            leaf.grad = None
        torch.cat(encoder.encode(*leaves)).square().sum().backward()
        return torch.stack([leaf.grad for leaf in leaves if leaf.grad is not None])

    return run


def gflop(encoder: PromptEncoder, shape: dict[str, int], rows: int) -> float:
    """Matrix products of a step on packed rows: 12 W² numbers a layer, forward and back."""
    return 2 * 2 * 12 * shape["width"] ** 2 * shape["layers"] * rows / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--many", action="store_true")
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    shape = POCKET if options.small else RN50
    model, tokenizer = tower(shape), open_clip.get_tokenizer("RN50")
    peaks = peak_gflops()
    best = max(peaks.values())
    print("GFLOPS of a product: " + ", ".join(f"{name} {rate:.0f}" for name, rate in peaks.items()))

    print("classes  contexts        plain s    ours s   ratio   error   GFLOPS  share of peak")
    for specific in (False, True):
        leaves = contexts(shape["width"], 20, 16, specific)
        plain, ours = (
            step(PromptEncoder(model, tokenizer, names(20), plain=plain), leaves)
            for plain in (True, False)
        )
        found: list[Tensor] = []
        slow = seconds({"plain": lambda: found.append(plain())}, 0)["plain"]  # noqa: B023
        error = relative(ours(), found[0])
        fast = seconds({"ours": ours}, 3)["ours"]
        encoder = PromptEncoder(model, tokenizer, names(20))
        rows = sum(map(len, encoder.suffixes)) * 2 + 32 * (20 if specific else 1)
        rate = gflop(encoder, shape, rows) / fast
        kind = "class-specific" if specific else "shared        "
        print(
            f"{20:7}  {kind} {slow:8.2f} {fast:9.3f} {slow / fast:7.1f}  {error:.0e} {rate:8.0f} "
            f"{rate / best:8.0%}"
        )

    print("growth, shared contexts: classes, vectors -> seconds, MB, GFLOPS, share of peak")
    sizes = [(20, 16), (80, 4), (80, 16), (80, 64)]
    for classes, length in sizes + ([(320, 16), (1006, 16)] if options.many else []):
        encoder = PromptEncoder(model, tokenizer, names(classes))
        run = step(encoder, contexts(shape["width"], classes, length, False))
        run()
        memory = peak_mb(run)
        took = seconds({"ours": run}, 1 if classes > 100 else 2)["ours"]
        rate = gflop(encoder, shape, 2 * (sum(map(len, encoder.suffixes)) + length)) / took
        size = f"{classes:7} {length:4}"
        print(f"{size} -> {took:7.3f} s {memory:6.0f} MB {rate:5.0f} {rate / best:6.0%}")


if __name__ == "__main__":
    main()
