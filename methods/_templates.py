"""Class features from sentences: one template, or the mean of several."""

import torch.nn.functional as F
from torch import Tensor

from benchmark import Clip

# Our own sentences about photographs; not the 80 ImageNet templates of Radford et al., which were
# tuned on ImageNet.
ENSEMBLE = (
    "a photo of a {}.",
    "a photo that shows a {}.",
    "a photo of a {} and other things.",
    "there is a {} in this picture.",
    "a scene with a {} in it.",
    "part of a {} can be seen.",
    "a {} in the foreground.",
    "a {} far away in the background.",
)


def check_template(template: str) -> None:
    """Raises `ValueError` for what is neither a sentence with {} nor "ensemble"."""
    if template != "ensemble" and "{}" not in template:
        raise ValueError(
            f'template={template!r} should hold {{}} for the class name, or be "ensemble"'
        )


def class_features(clip: Clip, classes: tuple[str, ...], template: str) -> Tensor:
    """(C, D) unit norm; "ensemble" is the unit-norm mean over `ENSEMBLE`."""
    templates = ENSEMBLE if template == "ensemble" else (template,)
    texts = clip.text([text.format(name) for text in templates for name in classes])  # (T·C, D)
    return F.normalize(texts.view(len(templates), len(classes), -1).mean(0), dim=-1)
