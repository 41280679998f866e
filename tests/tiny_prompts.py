"""A tiny random CLIP handle and parts with planted labels, for the tests of the methods that learn
prompts."""

from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F

from benchmark.prompt_encoder import PromptEncoder
from benchmark.task import UNKNOWN, Part, Run

import open_clip  # isort: skip

CLASSES = ("cat", "potted plant", "ox", "hair drier", "anchor")
UNSEEN = ("bird", "tea pot")
VISION = {"layers": 1, "width": 16, "head_width": 8, "patch_size": 16, "image_size": 32}
TEXT = {"width": 32, "layers": 2, "heads": 2, "vocab_size": 49408}


def make_clip():
    """The handle that methods get, without an image tower that anybody uses."""
    torch.manual_seed(0)
    module = open_clip.CLIP(24, VISION, TEXT).eval().requires_grad_(False)
    module.positional_embedding.normal_(std=0.3)
    module.token_embedding.weight.normal_(std=0.5)
    tokenizer = open_clip.get_tokenizer("RN50")

    def text(prompts):
        return F.normalize(module.encode_text(tokenizer(prompts)), dim=-1)

    return SimpleNamespace(
        device=torch.device("cpu"),
        width=24,
        scale=100.0,
        module=module,
        tokenizer=tokenizer,
        text=text,
        prompts=lambda classes: PromptEncoder(module, tokenizer, classes),
    )


def make_part(clip, kind, count=96, known=0.7, seed=0):
    """Images that hold for each present class what tells its text from the others, in one region
    when there are any."""
    rng = np.random.default_rng(seed)
    y = (rng.random((count, len(CLASSES))) < 0.3).astype(np.int8)
    texts = clip.text([f"{name}." for name in CLASSES]).numpy()
    directions = texts - texts.mean(0)
    directions *= np.sqrt(24) / np.linalg.norm(directions, axis=1, keepdims=True)
    if kind == "global":
        x = y @ directions + 0.5 * rng.standard_normal((count, 24))
    else:
        x = 0.7 * rng.standard_normal((count, 6, 24))
        for row, column in np.argwhere(y):
            x[row, rng.integers(6)] += directions[column]
    x = F.normalize(torch.from_numpy(x).float(), dim=-1)
    masked = np.where(rng.random(y.shape) < known, y, UNKNOWN).astype(np.int8)

    def stream(batches, augment, generator):
        return (x[batch] for batch in batches)

    part = Part(CLASSES, masked, stream, np.random.default_rng(seed), torch.device("cpu"))
    if kind == "global":
        part.x = x
    return part, x, y


def fit(method, clip, part, folder, **options):
    """Fits and returns the run."""
    torch.manual_seed(0)
    run = Run(seed=0, device=torch.device("cpu"), folder=folder, **options)
    method.fit(clip, part, part, run)
    return run
