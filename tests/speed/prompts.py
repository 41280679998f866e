"""Speed of a DualCoOp step on cached features, each saving on top of the one before: python
tests/benchmark_prompts.py

Random weights in the shape of a text tower (default: RN50's, width 512, 12 layers), random regions,
forward and backward, one thread. Prints seconds of processor time (the least of a few) and how many
times faster than the first line, which does what the official code does: 77 tokens, every class,
both contexts, gradients for the frozen weights too. Options: --classes 80 --specific --width 128
--layers 3 --heads 2 --embed 128 --regions 197 --repeats 3.
"""

import argparse
import time

import torch

import benchmark.clip.torchvision_shim  # noqa: F401  (before open_clip)

import open_clip  # isort: skip
from benchmark.clip.prompt_encoder import PromptEncoder
from methods._losses import asymmetric_loss
from methods.dualcoop import aggregate_regions

NAMES = [
    *(
        "aeroplane",
        "bicycle",
        "bird",
        "boat",
        "bottle",
        "bus",
        "car",
        "cat",
        "chair",
        "cow",
        "dining table",
        "dog",
    ),
    *("horse", "motorbike", "person", "potted plant", "sheep", "sofa", "train", "tv monitor"),
]
VISION = {"layers": 1, "width": 64, "head_width": 64, "patch_size": 16, "image_size": 32}


def seconds(step, repeats):
    """The least processor time of a few calls, less disturbed by other programs than the clock; and
    the result."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        result = step()
        times.append(time.process_time() - start)
    return min(times), result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in [
        ("width", 512),
        ("layers", 12),
        ("heads", 8),
        ("embed", 1024),
        ("classes", 20),
    ]:
        parser.add_argument(f"--{name}", type=int, default=default)
    for name, default in [("length", 16), ("regions", 50), ("repeats", 3)]:
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--specific", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)

    names = [NAMES[i % len(NAMES)] for i in range(options.classes)]
    text = {
        "width": options.width,
        "layers": options.layers,
        "heads": options.heads,
        "vocab_size": 49408,
    }
    long = open_clip.CLIP(options.embed, VISION, text, quick_gelu=True).eval()
    tokenizer = open_clip.get_tokenizer("RN50")
    shape = (*([options.classes] if options.specific else []), options.length, options.width)
    contexts = [(0.02 * torch.randn(shape)).requires_grad_() for _ in range(2)]
    regions = torch.randn(32, options.regions, options.embed)
    y = torch.randint(-1, 2, (32, options.classes))

    def step(encoder):
        for context in contexts:
            context.grad = None
        positive, negative = aggregate_regions(regions, *encoder.encode(*contexts))
        loss = asymmetric_loss(positive - negative, y)
        loss.backward()
        return torch.stack([context.grad for context in contexts])

    # SOS, name, period, EOT, one to spare
    longest = max(len(name.split()) for name in names) + options.length + 4
    short = open_clip.CLIP(
        options.embed, VISION, text | {"context_length": longest}, quick_gelu=True
    ).eval()
    state = long.state_dict()
    state["positional_embedding"] = state["positional_embedding"][:longest]
    short.load_state_dict(state)
    short.requires_grad_(False)
    plain = PromptEncoder(long, tokenizer, names, plain=True)
    cut = PromptEncoder(short, open_clip.SimpleTokenizer(context_length=longest), names, plain=True)
    fast = PromptEncoder(long, tokenizer, names)

    first, expected = seconds(lambda: step(plain), 1)
    long.requires_grad_(False)
    long.zero_grad(set_to_none=True)
    kind = "class-specific" if options.specific else "shared"
    print(
        f"{options.classes} classes, {kind} contexts of {options.length}, text tower "
        f"{options.width} x {options.layers}"
    )
    print(f"{'official path':46}{first:9.3f} s   1.0 x")
    rows = [
        ("no gradients for frozen weights", plain, 1),
        (f"{longest} tokens instead of 77", cut, options.repeats),
        ("prompt encoder", fast, options.repeats + 2),
    ]
    for name, encoder, repeats in rows:
        step(encoder) if encoder is fast else None  # its constants are computed once
        duration, gradient = seconds(lambda encoder=encoder: step(encoder), repeats)
        error = ((gradient - expected).norm() / expected.norm()).item()
        print(f"{name:46}{duration:9.3f} s {first / duration:5.1f} x   gradient off by {error:.0e}")


if __name__ == "__main__":
    main()
