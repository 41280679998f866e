"""The learning rate of every epoch."""

import math

WARM_UP = 1e-5  # of the first epoch


def learning_rate(epoch: int, epochs: int, peak: float, warm_up: float = WARM_UP) -> float:
    """Dassl's cosine with one constant warm-up epoch, which is not deducted: the last epoch does
    not reach 0."""
    return warm_up if epoch == 0 else 0.5 * peak * (1 + math.cos(math.pi * (epoch - 1) / epochs))
