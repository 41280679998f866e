"""CLIP, DualCoOp and LM-CLIP written down plainly, as their papers and official repositories state
them, for whole training steps to be compared with the suite's fast code.

Nothing here is shared with the suite: weights are a dictionary with OpenAI's names, texts are
encoded one at a time with all 77 tokens, gradients are torch's. Slow on purpose.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = dict[str, Tensor]
CONTEXT = 77


# ---- layers --------------------------------------------------------------------------------------


def linear(x: Tensor, w: Weights, name: str) -> Tensor:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def layer_norm(x: Tensor, w: Weights, name: str) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    spread = (centred**2).mean(-1, keepdim=True) + 1e-5
    return centred / spread.sqrt() * w[f"{name}.weight"] + w[f"{name}.bias"]


def gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


def heads_attend(query: Tensor, key: Tensor, value: Tensor, heads: int, causal: bool) -> Tensor:
    """(L, W) each; one sequence."""
    parts = []
    for q, k, v in zip(*(x.chunk(heads, -1) for x in (query, key, value)), strict=True):
        scores = q @ k.T / math.sqrt(q.shape[-1])
        if causal:
            scores = scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -math.inf)
        parts.append(scores.softmax(-1) @ v)
    return torch.cat(parts, -1)


def block(
    x: Tensor, w: Weights, name: str, heads: int, causal: bool, activation: Callable
) -> Tensor:
    """A residual attention block on one sequence (L, W)."""
    qkv = layer_norm(x, w, f"{name}.ln_1") @ w[f"{name}.attn.in_proj_weight"].T
    query, key, value = (qkv + w[f"{name}.attn.in_proj_bias"]).chunk(3, -1)
    mixed = heads_attend(query, key, value, heads, causal)
    x = x + linear(mixed, w, f"{name}.attn.out_proj")
    hidden = activation(linear(layer_norm(x, w, f"{name}.ln_2"), w, f"{name}.mlp.c_fc"))
    return x + linear(hidden, w, f"{name}.mlp.c_proj")


def depth(w: Weights, prefix: str) -> int:
    return len({key[len(prefix) :].split(".")[1] for key in w if key.startswith(prefix + ".")})


# ---- towers --------------------------------------------------------------------------------------


def text_feature(w: Weights, embedded: Tensor, end: int, activation: Callable) -> Tensor:
    """(D,) of the word vectors (77, W) of one text, read at its end token."""
    x = embedded + w["positional_embedding"]
    heads = max(1, x.shape[-1] // 64)
    for i in range(depth(w, "transformer.resblocks")):
        x = block(x, w, f"transformer.resblocks.{i}", heads, True, activation)
    return layer_norm(x, w, "ln_final")[end] @ w["text_projection"]


def text_of_tokens(w: Weights, tokens: Tensor, activation: Callable) -> Tensor:
    """(P, D) of whole token rows (P, 77)."""
    rows = [
        text_feature(w, w["token_embedding.weight"][row], int(row.argmax()), activation)
        for row in tokens
    ]
    return torch.stack(rows)


def batch_norm(x: Tensor, w: Weights, name: str, training: bool) -> Tensor:
    mean, var = w[f"{name}.running_mean"], w[f"{name}.running_var"]
    if training:
        count = x.numel() / x.shape[1]
        mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
        with torch.no_grad():
            w[f"{name}.running_mean"].mul_(0.9).add_(mean, alpha=0.1)
            w[f"{name}.running_var"].mul_(0.9).add_(var * count / (count - 1), alpha=0.1)
    x = (x - mean[:, None, None]) / (var[:, None, None] + 1e-5).sqrt()
    return x * w[f"{name}.weight"][:, None, None] + w[f"{name}.bias"][:, None, None]


def residual_feature_map(w: Weights, images: Tensor, training: bool) -> Tensor:
    """CLIP's ModifiedResNet up to the attention pool: (B, 3, H, W) -> (B, E, H/32, W/32)."""

    def convolved(x: Tensor, conv: str, norm: str, **options: int) -> Tensor:
        return batch_norm(F.conv2d(x, w[f"{conv}.weight"], **options), w, norm, training)

    x = images
    for i in (1, 2, 3):
        stride = 2 if i == 1 else 1
        x = convolved(x, f"visual.conv{i}", f"visual.bn{i}", stride=stride, padding=1).relu()
    x = F.avg_pool2d(x, 2)
    for stage in (1, 2, 3, 4):
        for i in range(stage_depth(w, stage)):
            name = f"visual.layer{stage}.{i}"
            stride = 2 if stage > 1 and i == 0 else 1
            y = convolved(x, f"{name}.conv1", f"{name}.bn1").relu()
            y = convolved(y, f"{name}.conv2", f"{name}.bn2", padding=1).relu()
            y = F.avg_pool2d(y, stride) if stride > 1 else y
            y = convolved(y, f"{name}.conv3", f"{name}.bn3")
            if f"{name}.downsample.0.weight" in w:
                x = F.avg_pool2d(x, stride) if stride > 1 else x
                x = convolved(x, f"{name}.downsample.0", f"{name}.downsample.1")
            x = (x + y).relu()
    return x


def stage_depth(w: Weights, stage: int) -> int:
    return len({key.split(".")[2] for key in w if key.startswith(f"visual.layer{stage}.")})


def pool_tokens(w: Weights, maps: Tensor) -> Tensor:
    tokens = maps.flatten(2).transpose(1, 2)
    tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], 1)
    return tokens + w["visual.attnpool.positional_embedding"]


def image_feature(
    w: Weights, images: Tensor, pool_heads: int, training: bool, activation: Callable
) -> Tensor:
    """(B, D) of either image tower."""
    if "visual.attnpool.c_proj.weight" in w:
        pooled = []
        for tokens in pool_tokens(w, residual_feature_map(w, images, training)):
            query = linear(tokens[:1], w, "visual.attnpool.q_proj")
            key, value = (linear(tokens, w, f"visual.attnpool.{i}_proj") for i in "kv")
            mixed = heads_attend(query, key, value, pool_heads, False)
            pooled.append(linear(mixed, w, "visual.attnpool.c_proj")[0])
        return torch.stack(pooled)
    pooled = []
    for x in vit_input(w, images):
        for i in range(depth(w, "visual.transformer.resblocks")):
            name = f"visual.transformer.resblocks.{i}"
            x = block(x, w, name, max(1, x.shape[-1] // 64), False, activation)
        pooled.append(layer_norm(x[0], w, "visual.ln_post") @ w["visual.proj"])
    return torch.stack(pooled)


def vit_input(w: Weights, images: Tensor) -> Tensor:
    kernel = w["visual.conv1.weight"]
    patches = F.conv2d(images, kernel, stride=kernel.shape[-1]).flatten(2).transpose(1, 2)
    first = w["visual.class_embedding"].expand(len(patches), 1, -1)
    tokens = torch.cat([first, patches], 1) + w["visual.positional_embedding"]
    return layer_norm(tokens, w, "visual.ln_pre")


def region_features(w: Weights, images: Tensor, activation: Callable) -> Tensor:
    """(B, R, D), the mean token first: DualCoOp's dense features, for a ViT MaskCLIP's."""
    if "visual.attnpool.c_proj.weight" in w:
        tokens = pool_tokens(w, residual_feature_map(w, images, False))
        return linear(linear(tokens, w, "visual.attnpool.v_proj"), w, "visual.attnpool.c_proj")
    last = depth(w, "visual.transformer.resblocks") - 1
    found = []
    for x in vit_input(w, images):
        for i in range(last):
            name = f"visual.transformer.resblocks.{i}"
            x = block(x, w, name, max(1, x.shape[-1] // 64), False, activation)
        name = f"visual.transformer.resblocks.{last}"
        width = x.shape[-1]
        value = layer_norm(x[1:], w, f"{name}.ln_1") @ w[f"{name}.attn.in_proj_weight"][-width:].T
        value = value + w[f"{name}.attn.in_proj_bias"][-width:]
        value = linear(value, w, f"{name}.attn.out_proj")
        value = torch.cat([value.mean(0, keepdim=True), value])
        found.append(layer_norm(value, w, "visual.ln_post") @ w["visual.proj"])
    return torch.stack(found)


# ---- DualCoOp (Sun et al. 2022) ------------------------------------------------------------------


def prompted(w: Weights, context: Tensor, name_tokens: Tensor, activation: Callable) -> Tensor:
    """(D,) of [SOS][context 1..M][name][.][EOT], padded to 77; `name_tokens` (77,) is "name."."""
    words = w["token_embedding.weight"]
    end = int(name_tokens.argmax())
    name = words[name_tokens[1 : end + 1]]
    used = 1 + len(context) + len(name)
    padding = words[torch.zeros(CONTEXT - used, dtype=torch.long)]
    embedded = torch.cat([words[name_tokens[:1]], context, name, padding])
    return text_feature(w, embedded, used - 1, activation)


def dualcoop_logits(
    w: Weights, regions: Tensor, contexts: Tensor, names: Tensor, activation: Callable
) -> Tensor:
    """Two channels (B, 2, C), negative first; `contexts` (2, M, W) or (2, C, M, W), positive
    first, `names` (C, 77)."""
    texts = []
    for context in contexts:
        rows = [
            prompted(w, context if context.dim() == 2 else context[c], name, activation)
            for c, name in enumerate(names)
        ]
        texts.append(F.normalize(torch.stack(rows), dim=-1))
    positive, negative = texts
    scores_positive = 20 * regions @ positive.T  # (B, R, C)
    scores_negative = 20 * regions @ negative.T
    weights = scores_positive.softmax(1)
    return torch.stack(
        [5 * (weights * scores_negative).sum(1), 5 * (weights * scores_positive).sum(1)], 1
    )


def dualcoop_loss(logits: Tensor, y: Tensor) -> Tensor:
    """Partial asymmetric loss: γ₊ 1, γ₋ 2, margin 0.05, summed over the known cells."""
    q, p = logits.softmax(1).unbind(1)
    q = (q + 0.05).clamp(max=1)
    loss = torch.zeros(())
    for value, target in ((1, p), (0, q)):
        focus = (1 - target) ** (1 if value else 2)
        cell = -focus.detach() * target.clamp(min=1e-6).log()
        loss = loss + cell[y == value].sum()
    return loss


def dualcoop_rate(epoch: int, peak: float, epochs: int = 50) -> float:
    """One warm-up epoch at 1e-5, then the cosine over all epochs (Dassl)."""
    return 1e-5 if epoch == 0 else 0.5 * peak * (1 + math.cos(math.pi * (epoch - 1) / epochs))


def sgd_steps(
    start: Tensor,
    objectives: list[Callable[[Tensor], Tensor]],
    rates: list[float],
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
) -> list[tuple[Tensor, float]]:
    """(parameters, loss before the step) after every step of SGD with momentum."""
    value, velocity, found = start.clone(), None, []
    for objective, rate in zip(objectives, rates, strict=True):
        value = value.detach().requires_grad_(True)
        loss = objective(value)
        (gradient,) = torch.autograd.grad(loss, value)
        gradient = gradient + weight_decay * value.detach()
        velocity = gradient if velocity is None else momentum * velocity + gradient
        value = value.detach() - rate * velocity
        found.append((value, loss.item()))
    return found


# ---- LM-CLIP -------------------------------------------------------------------------------------


def rarity_weights(y: Tensor, class_power: float, sample_power: float) -> tuple[Tensor, Tensor]:
    """Class weights (C,) and sample weights (N,) of complete labels, float64."""
    rarity = len(y) / y.double().sum(0)
    samples = (y.double() @ rarity) ** sample_power
    return (rarity / rarity.max()) ** class_power, samples / samples.max()


def balanced_loss(
    x: Tensor, y: Tensor, weight: Tensor, gamma_negative: float, smoothing: float
) -> Tensor:
    """Balanced asymmetric loss, γ₊ 0, margin 0.05, mean over all cells."""
    p = torch.sigmoid(x / x.max())
    q = (1 - p + 0.05).clamp(max=1)
    t = (1 - smoothing) * y + smoothing / y.shape[1]
    n = 1 - y
    likelihood = (1 + weight) * t * p.clamp(min=1e-8).log() + n * q.clamp(min=1e-8).log()
    focus = (1 - p * t - q * n) ** (gamma_negative * n)
    return -(focus * likelihood).mean()


def info_nce(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    logits = scale * images @ texts.T
    diagonal = torch.arange(len(logits))
    by_image = -logits.log_softmax(1)[diagonal, diagonal].mean()
    by_text = -logits.log_softmax(0)[diagonal, diagonal].mean()
    return (by_image + by_text) / 2


def adamw_step(
    parameters: Weights, gradients: Weights, state: dict, rate: float, weight_decay: float
) -> None:
    """One step of AdamW, β 0.9 and 0.98, ε 1e-9, in place."""
    state["step"] = state.get("step", 0) + 1
    for name, value in parameters.items():
        first, second = state.setdefault(name, (torch.zeros_like(value), torch.zeros_like(value)))
        gradient = gradients[name]
        first.mul_(0.9).add_(gradient, alpha=0.1)
        second.mul_(0.98).add_(gradient**2, alpha=0.02)
        m, v = first / (1 - 0.9 ** state["step"]), second / (1 - 0.98 ** state["step"])
        value.mul_(1 - rate * weight_decay).sub_(rate * m / (v.sqrt() + 1e-9))


def lm_clip_steps(
    w: Weights,
    images: Tensor,
    y: Tensor,
    batches: list[Tensor],
    captions: list[Tensor],
    prompts: Tensor,
    settings: dict[str, float],
    pool_heads: int,
    activation: Callable,
) -> list[float]:
    """The losses of AdamW steps on `batches` of rows, which train every weight in place. `captions`
    are token rows (77,), one an image, `prompts` (C, 77) the classes'."""
    class_weight, _ = rarity_weights(y, settings["class_power"], settings["sample_power"])
    trained = [name for name in w if "running" not in name and "num_batches" not in name]
    state: dict = {}
    losses = []
    for rows in batches:
        for name in trained:
            w[name] = w[name].detach().requires_grad_(True)
        features = image_feature(w, images[rows], pool_heads, True, activation)
        features = F.normalize(features, dim=-1)
        labels = F.normalize(text_of_tokens(w, prompts, activation), dim=-1)
        sentences = torch.stack([captions[int(row)] for row in rows])
        sentences = F.normalize(text_of_tokens(w, sentences, activation), dim=-1)
        scale = w["logit_scale"].exp()
        logits = scale * features @ labels.T
        balanced = balanced_loss(
            logits, y[rows], class_weight, settings["gamma_negative"], settings["smoothing"]
        )
        loss = info_nce(features, sentences, scale) + settings["balanced_weight"] * balanced
        gradients = torch.autograd.grad(loss, [w[name] for name in trained], allow_unused=True)
        for name in trained:
            w[name] = w[name].detach().clone()
        found = {
            name: torch.zeros_like(w[name]) if gradient is None else gradient
            for name, gradient in zip(trained, gradients, strict=True)
        }
        adamw_step({n: w[n] for n in trained}, found, state, settings["rate"], 0.01)
        losses.append(float(loss.detach()))
    return losses
