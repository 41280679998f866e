"""From a picture to the normalised pixels that an image tower takes."""

import functools
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmark.clip import augmentation

STATISTICS = {  # mean, standard deviation of red, green, blue in [0, 1]
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


@dataclass(frozen=True)
class Transform:
    """From a picture to S × S bytes.

    `squash`: both sides to S, bilinear (DualCoOp, LM-CLIP). `crop`: short side to S, bicubic, then
    the centre (CLIP). Pillow's filters are antialiased. An augmentation is applied after resizing,
    as in the official DualCoOp code.
    """

    image_size: int
    resize: str = "squash"

    def __call__(
        self, image: Image.Image, augment: str = "", rng: np.random.Generator | None = None
    ) -> np.ndarray:
        """(S, S, 3) uint8."""
        size = self.image_size
        if self.resize == "squash":
            image = image.resize((size, size), Image.Resampling.BILINEAR)
        else:
            shape = self.resized_shape(*image.size)
            image = image.resize(shape, Image.Resampling.BICUBIC)
            left, top = round((shape[0] - size) / 2), round((shape[1] - size) / 2)
            image = image.crop((left, top, left + size, top + size))
        if not augment:
            return np.asarray(image)
        assert rng is not None, "an augmentation draws from a named seed"
        return augment_pixels(np.asarray(image), augment, rng)

    def resized_shape(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) before the centre is cut out, as torchvision resizes: multiplied before
        it is divided, or rounding makes some square pictures a pixel too small."""
        long = self.image_size * max(width, height) // min(width, height)
        return (self.image_size, long) if width <= height else (long, self.image_size)


def augment_pixels(pixels: np.ndarray, augment: str, rng: np.random.Generator) -> np.ndarray:
    """A training augmentation of resized pixels (S, S, 3) uint8."""
    return np.asarray(augmentation.augment(Image.fromarray(pixels), augment, rng))


def normalise(pixels: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """(B, S, S, 3) uint8 -> (B, 3, S, S) float32, standardised per channel."""
    x = pixels.permute(0, 3, 1, 2).float().div_(255)
    return x.sub_(_per_channel(mean, x.device)).div_(_per_channel(std, x.device))


@functools.lru_cache(maxsize=16)
def _per_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    """(1, 3, 1, 1), brought to the device once and not for every batch."""
    return torch.tensor(values, device=device).view(1, 3, 1, 1)
