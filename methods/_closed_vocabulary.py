"""Methods that know the classes of their training labels and no others."""

from typing import ClassVar

from torch import Tensor

import benchmark
from benchmark import Clip


class ClosedVocabulary(benchmark.Method):
    """What was learned are the attributes named by `learned`, tensors of any shape."""

    learned: ClassVar[tuple[str, ...]]
    classes: tuple[str, ...]  # of the training labels

    def columns(self, logits: Tensor, classes: tuple[str, ...]) -> Tensor:
        """(B, len(classes)) of logits (B, C) of the training classes."""
        return logits[:, [self.classes.index(name) for name in classes]]

    def state_dict(self) -> dict[str, Tensor]:
        """Copies of what was learned."""
        return {name: getattr(self, name).detach().clone() for name in self.learned}

    def load_state_dict(
        self, clip: Clip, classes: tuple[str, ...], state: dict[str, Tensor]
    ) -> None:
        """The inverse; `classes` are those of the training labels."""
        self.classes = classes
        for name, value in state.items():
            setattr(self, name, value.to(clip.device))
