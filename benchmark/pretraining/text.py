"""The text side of pretraining: the tokens that occur, and how a text tower is taught or taken
over."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from rich.progress import track
from torch import Tensor
from torch.nn import functional as F

from benchmark.clip.open_clip_types import Model
from benchmark.clip.pocket import TOKENS, open_clip
from benchmark.pretraining import captions, towers

TEXT_RATE = 2e-3  # peak learning rate of `teach_text`


class Vocabulary:
    """CLIP's tokenizer restricted to the tokens that occur, renumbered 0..V-1 in the order of their
    ids."""

    def __init__(self) -> None:
        self.tokenizer = open_clip.SimpleTokenizer()
        used = {token for text in captions.vocabulary() for token in self.tokenizer.encode(text)}
        self.ids = np.array(
            sorted(used | {0, self.tokenizer.sot_token_id, self.tokenizer.eot_token_id})
        )
        self.position = {int(token): number for number, token in enumerate(self.ids)}

    def __call__(self, texts: list[str]) -> Tensor:
        """Renumbered tokens (P, L) of texts, as long as the longest of them and at most 77."""
        ends = [self.tokenizer.sot_token_id], [self.tokenizer.eot_token_id]
        rows = [
            [self.position[t] for t in ends[0] + self.tokenizer.encode(text)[:75] + ends[1]]
            for text in texts
        ]
        length = max(len(row) for row in rows)
        return torch.tensor([row + [0] * (length - len(row)) for row in rows])


def teach_text(
    model: Model,
    table: Callable[[tuple[str, ...]], Tensor],
    vocabulary: Vocabulary,
    steps: int = 400,
) -> None:
    """Teach the text tower, without images, to give the vectors of the table for prompts with and
    without a style."""
    text = [
        value
        for key, value in model.named_parameters()
        if not key.startswith(("visual", "logit_scale"))
    ]
    optimiser = torch.optim.AdamW(text, lr=TEXT_RATE, betas=(0.9, 0.98), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, TEXT_RATE, total_steps=steps, pct_start=0.1
    )
    factors, same = list(captions.FACTORS.values()), torch.arange(len(captions.CLASSES))
    for step in track(range(steps), "text tower"):
        random = np.random.default_rng([11, step])
        chosen = [
            factors[i] for i in random.permutation(len(factors))[: 1 + (random.random() < 0.4)]
        ]
        words = tuple(str(random.choice(factor)) for factor in chosen)
        loss = torch.zeros(())
        for style in ((), words):
            template = (
                captions.style_template(random, style) if style else captions.plain_template(random)
            )
            given = towers.text_features(
                model, vocabulary([template.format(name) for name in captions.CLASSES])
            )
            wanted = table(style).detach()
            loss = (
                loss
                + 10 * (1 - (given * wanted).sum(1)).mean()
                + F.cross_entropy(given @ wanted.T * 14, same)
            )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 50 == 49:
            print(f"text step {step}: loss {float(loss.detach()):.3f}")


def adopt_text(model: Model, teacher: Model, vocabulary: Vocabulary) -> None:
    """Take over text tower and logit scale of a teacher and freeze them."""
    given = teacher.state_dict()
    given[TOKENS] = given[TOKENS][torch.from_numpy(vocabulary.ids)]
    for key, value in model.named_parameters():
        if not key.startswith("visual"):
            value.data.copy_(given[key])
            value.requires_grad_(False)
