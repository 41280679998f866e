"""Prints what the token tree and the fused optimiser save in one LM-CLIP step (RN50, batch 8, 224
px, 20 classes).

Run `python -m tests.speed.lm_clip [ARCHITECTURE]`. The plain step encodes captions and label
prompts at 77 tokens and uses AdamW in its default form, as the official code does. Processor
seconds: a busy machine matters less.
"""

import copy
import sys
import time
from itertools import pairwise
from types import SimpleNamespace

import torch
import torch.nn.functional as F

import benchmark.clip.torchvision_shim  # noqa: F401

# isort: split
import open_clip

from methods import lm_clip
from methods._training import encode_texts

NAMES = (
    "aeroplane bicycle bird boat bottle bus car cat chair cow table dog horse bike person "
    "plant sheep sofa train tv"
)
REPEATS = 2


def plain_texts(model, tokenizer, texts):
    return model.encode_text(tokenizer(texts))


def step(model, optimizer, encode, tokenizer, pixels, y):
    """Forward, backward and update; returns the loss and the seconds of each part."""
    method, names, marks = lm_clip.Method(), NAMES.split(), [time.process_time()]
    part = SimpleNamespace(y=y.numpy(), classes=names)
    captions = method._captions(part, range(len(y)))
    images = F.normalize(model.encode_image(pixels), dim=-1)
    marks.append(time.process_time())
    texts = F.normalize(
        encode(model, tokenizer, [f"a photo of a {name}" for name in names] + captions), dim=-1
    )
    scale = model.logit_scale.exp()
    logits = scale * images @ texts[: len(names)].T
    loss = lm_clip.contrastive_loss(images, texts[len(names) :], scale)
    loss = loss + 0.2 * lm_clip.balanced_asymmetric_loss(
        logits, y, gamma_negative=12.0, label_smoothing=0.01
    )
    marks.append(time.process_time())
    optimizer.zero_grad()
    loss.backward()
    marks.append(time.process_time())
    optimizer.step()
    marks.append(time.process_time())
    return loss.item(), [late - early for early, late in pairwise(marks)]


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    architecture = sys.argv[1] if len(sys.argv) > 1 else "RN50"
    source = open_clip.create_model(architecture).train()
    tokenizer = open_clip.get_tokenizer(architecture)
    pixels, y = torch.randn(8, 3, 224, 224), torch.zeros(8, 20, dtype=torch.int8)
    y[torch.arange(8), torch.arange(8)] = 1
    y[:, 14] = torch.arange(8) % 2
    totals = {}
    for name, encode, fused in (("plain", plain_texts, False), ("ours", encode_texts, True)):
        model = copy.deepcopy(source)
        options = {"fused": True} if fused else {"foreach": False}
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=2e-6, betas=(0.9, 0.98), eps=1e-9, **options
        )
        results = [step(model, optimizer, encode, tokenizer, pixels, y) for _ in range(REPEATS)]
        parts = min((result[1] for result in results), key=sum)
        totals[name] = sum(parts)
        columns = zip(("image", "text and loss", "backward", "optimiser"), parts, strict=True)
        spelled = ", ".join(f"{part} {seconds:.2f}" for part, seconds in columns)
        print(
            f"{name:6s} loss {results[0][0]:.6f}   {sum(parts):.2f} s a step: {spelled}", flush=True
        )
    print(f"ratio {totals['plain'] / totals['ours']:.2f}")


if __name__ == "__main__":
    main()
