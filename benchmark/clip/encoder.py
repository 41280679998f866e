"""open_clip behind a small handle: global image features, image regions, text."""

import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache, cached_property, lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from benchmark.clip import torchvision_shim  # noqa: F401  (must come before open_clip)

# isort: split
import open_clip
from open_clip.convert import convert_state_dict
from open_clip.pretrained import download_pretrained, get_pretrained_cfg

from benchmark.clip import checkpoint, pocket, weights
from benchmark.clip.architectures import model_config, stride
from benchmark.clip.image_tower import dense_features, global_features, set_image_size
from benchmark.clip.open_clip_types import Model
from benchmark.clip.precision import of_frozen
from benchmark.clip.preprocessing import STATISTICS, Transform, normalise
from benchmark.clip.prompt_encoder import PromptEncoder
from benchmark.spec import POCKET, Encoder
from benchmark.task import Prompts, upload


def weights_file(description: Encoder) -> Path:
    """The file with the weights, downloaded by open_clip where needed. Raises `ValueError` when it
    cannot be had."""
    name, tag = description.name, description.weights
    if tag.startswith("sha256:"):
        return weights.find(tag.removeprefix("sha256:"), name)
    published = get_pretrained_cfg(name, tag)
    address = published.get("url", "")
    manual = Path("~/.cache/clip").expanduser() / Path(address).name
    if address and manual.is_file():  # put there by hand, or by another program that uses CLIP
        _check_published(manual, address)
        return manual
    try:
        return Path(download_pretrained(published))
    except (OSError, RuntimeError) as error:
        origin = address or f"https://huggingface.co/{published.get('hf_hub', '').strip('/')}"
        place = f"put it at {manual}" if address else f"name it as {name}//path/to/file"
        raise ValueError(
            f"the weights {tag!r} of {name} are not on this machine and could not be downloaded: "
            f"fetch {origin} "
            f"where there is a network and {place} ({type(error).__name__})"
        ) from error


def _check_published(path: Path, address: str) -> None:
    """OpenAI's addresses hold the sha256 of the file, those of open_clip its beginning."""
    found = weights.file_sha256(path)
    if "openaipublic" in address and address.split("/")[-2] != found:
        raise ValueError(
            f"{path} has sha256 {found}, expected {address.split('/')[-2]}: delete it and fetch "
            f"{address}"
        )
    if "mlfoundations" in address and not found.startswith(Path(address).stem.split("-")[-1]):
        raise ValueError(
            f"{path} has sha256 {found}, which {address} contradicts: delete it and fetch that file"
        )


def load_model(description: Encoder) -> Model:
    """The open_clip model in float32 on the CPU, evaluation mode, frozen, for the description's
    image size."""
    name, size = description.name, description.image_size
    if name in POCKET:
        model = pocket.create(name)
    else:
        model = _with_weights(description, weights_file(description))
    model.float().eval().requires_grad_(False)
    if model.visual.image_size not in (size, (size, size)):
        set_image_size(model.visual, size)
    return model


def _with_weights(description: Encoder, path: Path) -> Model:
    """The architecture with the activation of the description and every tensor of the file. Raises
    `ValueError` when they do not belong together."""
    name = description.name
    options: dict[str, bool] = {"quick_gelu": description.activation == "quickgelu"}
    if path.suffix in checkpoint.BIG_VISION:
        found: Model = open_clip.create_model(name, pretrained=str(path), **options)
        return found
    state = checkpoint.read(path)
    size = checkpoint.image_size(state, stride(model_config(name)["vision_cfg"]))
    expected = checkpoint.expected_shapes(name, size)
    model: Model = checkpoint.quietly_created(name, force_image_size=size, **options)
    state = convert_state_dict(model, state)
    checkpoint.require_fit(path, name, state, expected)
    model.load_state_dict(checkpoint.converted(state, expected), strict=False)  # compared above
    return model


class Clip:
    """A frozen CLIP model, loaded when its weights are first needed.

    `module` is shared by everything in the process: a method that fine-tunes takes
    `copy.deepcopy(clip.module)`. Features are float32 with unit norm, computed without gradients.
    """

    def __init__(self, description: Encoder, device: str | torch.device = "cpu") -> None:
        self.description = description
        self.device = torch.device(device)
        self.config = model_config(description.name)
        checkpoint.register(description.name)
        self.transform = Transform(description.image_size, description.resize)
        self._text: dict[str, Tensor] = {}

    @property
    def width(self) -> int:
        """D, the joint embedding width."""
        return int(self.config["embed_dim"])

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the regions; `regions` returns h·w + 1 of them. Raises `ValueError` for towers
        without regions."""
        step = stride(self.config["vision_cfg"])
        if step is None:
            raise ValueError(
                f"{self.description.name} has no region features; choose RN50 or ViT-B-16"
            )
        return (self.description.image_size // step,) * 2

    @property
    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation per channel; "clip" means those the weights were trained
        with."""
        if self.description.statistics == "imagenet":
            return STATISTICS["imagenet"]
        published = get_pretrained_cfg(self.description.name, self.description.weights)
        mean, std = STATISTICS["clip"]
        return tuple(published.get("mean", mean)), tuple(published.get("std", std))

    @cached_property
    def weights_sha256(self) -> str:
        """Of the numbers in the weights file, whatever its format; needs the file but builds no
        model."""
        if self.description.name in POCKET:
            return pocket.weights_sha256(self.description.name)
        return weights.content_sha256(weights_file(self.description))

    @cached_property
    def module(self) -> Model:
        """The open_clip model. Loading leaves torch's random state as it is."""
        with torch.random.fork_rng(devices=[]):
            module = load_model(self.description).to(self.device)
        self._as_loaded = _state(module)
        return module

    @property
    def is_untouched(self) -> bool:
        """Whether nobody has written into the model, or switched it to training, since it was
        loaded."""
        return "module" not in self.__dict__ or _state(self.module) == self._as_loaded

    @cached_property
    def tokenizer(self) -> Callable[[list[str]], Tensor]:
        """open_clip's tokenizer: list of P strings -> (P, 77) int64."""
        return _tokenizer(self.description.name)

    @property
    def scale(self) -> float:
        """exp(logit_scale), about 100 for CLIP."""
        return float(self.module.logit_scale.exp())

    def text(self, prompts: list[str]) -> Tensor:
        """(P, D) text features, one per prompt; each distinct prompt is encoded once."""
        missing = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._text]
        for start in range(0, len(missing), 128):
            some = missing[start : start + 128]
            with self._frozen():
                found = encode_text(self.module, self.tokenizer(some).to(self.device))
            features = F.normalize(found.float(), dim=-1)
            self._text.update(zip(some, features, strict=True))
        return torch.stack([self._text[prompt] for prompt in prompts])

    def prompts(self, classes: tuple[str, ...]) -> Prompts:
        """The prompt encoder for learned contexts in front of these class names."""
        return PromptEncoder(self.module, self.tokenizer, tuple(classes))

    def preprocess(
        self, image: Image.Image, augment: str = "", rng: np.random.Generator | None = None
    ) -> Tensor:
        """(3, S, S) float32, normalised."""
        pixels = torch.from_numpy(np.array(self.transform(image.convert("RGB"), augment, rng)))
        return normalise(pixels[None], *self.statistics)[0]

    def normalise(self, pixels: Tensor) -> Tensor:
        """(B, S, S, 3) uint8 -> (B, 3, S, S) float32 on the device: the last step of
        `preprocess`."""
        return normalise(upload(pixels, self.device), *self.statistics)

    @torch.no_grad()
    def image(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, D)."""
        with self._frozen():
            found = global_features(self.module.visual, pixels.to(self.device))
        return F.normalize(found.float(), dim=-1)

    @torch.no_grad()
    def regions(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, h·w + 1, D), the mean token first."""
        with self._frozen():
            found = dense_features(self.module.visual, pixels.to(self.device))
        return F.normalize(found.float(), dim=-1)

    def _frozen(self) -> AbstractContextManager[object]:
        return of_frozen(self.description.precision, self.device)


@cache
def _tokenizer(name: str) -> Callable[[list[str]], Tensor]:
    """The tokenizer of an architecture, made once a process (0.3 s), which remembers the texts that
    it has seen lately: cleaning a text takes longer than a small tower needs for it."""
    tokenizer = open_clip.get_tokenizer(name)
    row = lru_cache(maxsize=1 << 14)(lambda text: tokenizer([text])[0])
    return lambda texts: torch.stack([row(text) for text in texts])


def _state(module: torch.nn.Module) -> tuple[object, ...]:
    """Differs when a tensor was exchanged or written into, or a part switched to training."""
    tensors = itertools.chain(module.parameters(), module.buffers())
    modes = (part.training for part in module.modules())
    return (*((tensor.data_ptr(), tensor._version) for tensor in tensors), *modes)


@torch.no_grad()
def encode_text(model: Model, tokens: Tensor) -> Tensor:
    """Raw text features (P, D) of tokens (P, 77).

    Causal attention makes the padding behind the longest prompt irrelevant, so CLIP's own text
    tower runs without it.
    """
    if not (
        isinstance(model, open_clip.CLIP)
        and model.attn_mask is not None
        and model.text_pool_type == "argmax"
    ):
        return model.encode_text(tokens)
    end = tokens.argmax(-1)
    length = int(end.max()) + 1
    x = model.token_embedding(tokens[:, :length]) + model.positional_embedding[:length]
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
    x = x[torch.arange(len(x)), end]
    projection = model.text_projection
    features: Tensor = projection(x) if isinstance(projection, torch.nn.Linear) else x @ projection
    return features
