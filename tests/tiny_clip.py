"""Two tiny random CLIP models with their own architectures, as checkpoint files: an RN50-shaped and
a ViT-shaped one.

With LOWLABEL_MODEL_CONFIGS set to the folder they are encoders like any other, also in other
processes: `tiny-RN/<folder>/tiny-RN.pt`.
"""

import json
from pathlib import Path

import torch

from benchmark import encoder

import open_clip  # isort: skip

TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2}
TOWERS = {
    "tiny-RN": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 32},
    "tiny-ViT": {"image_size": 64, "layers": 3, "width": 64, "patch_size": 16},
}


def write_models(folder: Path) -> dict[str, Path]:
    """Checkpoint files by name; LOWLABEL_MODEL_CONFIGS must already name `folder`."""
    for name, tower in TOWERS.items():
        (folder / f"{name}.json").write_text(
            json.dumps({"embed_dim": 24, "vision_cfg": tower, "text_cfg": TEXT})
        )
        encoder.model_config(name)  # registers it
        torch.manual_seed(len(name))
        model = open_clip.create_model(name)
        for module in model.modules():  # not the trivial statistics of a new model
            if isinstance(module, torch.nn.BatchNorm2d):
                torch.nn.init.uniform_(module.running_mean, -0.5, 0.5)
                torch.nn.init.uniform_(module.running_var, 0.5, 2)
                torch.nn.init.uniform_(module.weight, 0.5, 1.5)
        torch.save(model.state_dict(), folder / f"{name}.pt")
    return {name: folder / f"{name}.pt" for name in TOWERS}
