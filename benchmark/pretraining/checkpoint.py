"""How a pretraining run is kept and resumed: one file with everything that changes, replaced as a
whole."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch


class Resumable:
    """A run `name` at position `samples`; the states of its attributes `KEPT` lie in a file in
    `folder`."""

    KEPT: ClassVar[tuple[str, ...]]
    name: str
    folder: Path
    samples: int

    @property
    def checkpoint(self) -> Path:
        return self.folder / f"{self.name}.pt"

    def save(self) -> None:
        """Write the checkpoint atomically."""
        state = {key: getattr(self, key).state_dict() for key in self.KEPT}
        torch.save({**state, "samples": self.samples}, self.checkpoint.with_suffix(".partial"))
        self.checkpoint.with_suffix(".partial").replace(self.checkpoint)

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one."""
        if self.checkpoint.exists():
            state = torch.load(self.checkpoint, weights_only=True)
            self.samples = state["samples"]
            for key in self.KEPT:
                getattr(self, key).load_state_dict(state[key])
