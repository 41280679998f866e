"""The encoder that runs of one process share."""

import torch

from benchmark.clip.encoder_name import parse_encoder
from benchmark.run.parts import shared_clip

CPU = torch.device("cpu")


def test_runs_share_one_encoder_until_one_of_them_writes_into_it():
    encoder = parse_encoder("pocket-RN")
    first = shared_clip(encoder, CPU)
    assert shared_clip(encoder, CPU) is first  # nothing was loaded yet
    weights = first.module.text_projection
    assert shared_clip(encoder, CPU) is first
    with torch.no_grad():
        weights.add_(1)
    second = shared_clip(encoder, CPU)
    assert second is not first
    assert torch.allclose(second.module.text_projection, weights - 1, atol=1e-5)
    second.module.visual.train()  # batch norm would follow the images of the run
    assert shared_clip(encoder, CPU) is not second


def test_another_description_is_another_encoder():
    first = shared_clip(parse_encoder("pocket-RN"), CPU)
    assert shared_clip(parse_encoder("pocket-RN@64"), CPU) is not first
