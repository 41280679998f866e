"""`python -m tests.speed.dualcoop [CLASSES] [--specific]`: a whole DualCoOp step on cached regions
beside the official way.

The official step encodes every prompt at 77 tokens, with gradients for the frozen weights too, and
32 images on top, which cached features remove: the images are not in these seconds. Then how a
step grows with images and regions. One thread, random weights in the shape of RN50's text tower.
"""

import argparse
from collections.abc import Callable

import torch
from torch import Tensor

from benchmark.clip.prompt_encoder import PromptEncoder
from methods._losses import asymmetric_loss
from methods._regions import aggregate_regions
from tests.speed._side_by_side import peak_mb, relative, seconds
from tests.speed.prompts import RN50, contexts, names, open_clip, tower


def step(
    encoder: PromptEncoder, leaves: list[Tensor], regions: Tensor, y: Tensor
) -> Callable[[], Tensor]:
    """Loss and gradients; returns these."""

    def run() -> Tensor:
        for leaf in leaves:
            leaf.grad = None
        positive, negative = aggregate_regions(regions, *encoder.encode(*leaves))
        asymmetric_loss(positive - negative, y).backward()
        return torch.stack([leaf.grad for leaf in leaves if leaf.grad is not None])

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("classes", type=int, nargs="?", default=20)
    parser.add_argument("--specific", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    classes, specific = options.classes, options.specific
    model, tokenizer = tower(RN50), open_clip.get_tokenizer("RN50")
    leaves = contexts(512, classes, 16, specific)

    def batch(images: int, regions: int) -> tuple[Tensor, Tensor]:
        return torch.randn(images, regions, 1024).half(), torch.randint(-1, 2, (images, classes))

    x, y = batch(32, 50)
    fast = step(PromptEncoder(model, tokenizer, names(classes)), leaves, x, y)
    gradient = fast()
    official = PromptEncoder(model, tokenizer, names(classes), plain=True)
    model.requires_grad_(True)
    found: list[Tensor] = []
    slow = seconds({"official": lambda: found.append(step(official, leaves, x, y)())}, 0)
    model.requires_grad_(False)
    model.zero_grad(set_to_none=True)
    ours = seconds({"ours": fast}, 3)["ours"]
    print(
        f"{classes} classes, {'class-specific' if specific else 'shared'}: official "
        f"{slow['official']:.2f} s, ours {ours:.3f} s, ratio {slow['official'] / ours:.1f}, "
        f"gradients off by {relative(gradient, found[0]):.0e}, {peak_mb(fast):.0f} MB"
    )
    for images, regions in ((32, 50), (32, 197), (128, 50), (256, 50)):
        run = step(PromptEncoder(model, tokenizer, names(classes)), leaves, *batch(images, regions))
        print(f"{images:4} images of {regions:3} regions: {seconds({'': run}, 1)['']:.3f} s")


if __name__ == "__main__":
    main()
