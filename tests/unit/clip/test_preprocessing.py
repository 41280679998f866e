"""Resizing: what reaches the encoder is all picture."""

import pytest
from PIL import Image

from benchmark.clip.preprocessing import Transform


@pytest.mark.parametrize("size", [96, 224, 448])
def test_crop_leaves_no_border(size: int) -> None:
    """White stays white up to the edges, for every square from 100 to 640 and some oblongs."""
    crop = Transform(size, "crop")
    shapes = [(side, side) for side in range(100, 641)] + [(500, 375), (375, 500), (640, 427)]
    for shape in shapes:
        assert min(crop.resized_shape(*shape)) == size, shape
    for shape in [(299, 299), (500, 375), (101, 100)]:
        pixels = crop(Image.new("RGB", shape, (255, 255, 255)))
        assert pixels.shape == (size, size, 3) and pixels.min() == 255, shape


def test_crop_follows_torchvision() -> None:
    """The long side is size·long/short rounded down, the multiplication first."""
    assert Transform(224, "crop").resized_shape(500, 375) == (298, 224)
    assert Transform(224, "crop").resized_shape(375, 500) == (224, 298)
    assert Transform(224, "crop").resized_shape(299, 299) == (224, 224)
