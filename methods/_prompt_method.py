"""What CoOp and DualCoOp share: contexts before the class names, those of many runs trained in the
same passes of the text tower."""

import functools
from collections.abc import Sequence
from typing import ClassVar, cast

import torch
from torch import Tensor

from benchmark import Clip, Member, Part
from methods._prompts import Prompts, encode_together, remember_together
from methods._sgd import Group, Learner, SgdMethod, fit_together, weight_of_sum


class PromptMethod(SgdMethod):
    """A method says where its contexts `start` and what their `logits` are; what else it learns are
    the attributes named by `learned`."""

    class_specific: bool
    prompts: Prompts
    learned: ClassVar[tuple[str, ...]] = ()

    def start(self, clip: Clip, classes: tuple[str, ...]) -> Prompts:
        """The contexts before the first step."""
        raise NotImplementedError

    @classmethod
    def logits(cls, methods: Sequence["PromptMethod"], x: Tensor, texts: Tensor) -> Tensor:
        """(G, B, C) of G runs, from x (G, B, …) and the features (G, K, C, D) of their texts."""
        raise NotImplementedError

    def begin(self, clip: Clip, train: Part) -> None:
        """Everything that is learned, at its start."""
        self.prompts = self.start(clip, train.classes)

    def groups(self) -> list[Group]:
        """What is learned, with its peak rates."""
        return [Group([self.prompts.context], self.learning_rate)]

    @classmethod
    def drawn(cls, members: Sequence[Member], y: Tensor) -> tuple[Tensor, Tensor]:
        """The texts of a batch and its labels y (G, B, C): all classes."""
        return encode_together([cast(PromptMethod, member.method).prompts for member in members]), y

    @property
    def open_vocabulary(self) -> bool:
        """Shared contexts go before any name."""
        return not self.class_specific

    @classmethod
    def fit_many(cls, clip: Clip, members: Sequence[Member]) -> list[Exception | None]:
        """Learns what `begin` makes, all contexts in one pass of the text tower."""
        methods, weights = [cast(PromptMethod, member.method) for member in members], []
        for method, (_, train, _, run) in zip(methods, members, strict=True):
            torch.manual_seed(run.seed)
            method.begin(clip, train)
            weights.append(weight_of_sum(train.y, method.loss_weight))
        weight, prompts = torch.tensor(weights, device=clip.device), [m.prompts for m in methods]

        def objective(x: Tensor, y: Tensor) -> Tensor:
            texts, y = cls.drawn(members, y)
            return weight * methods[0].asymmetric_loss(cls.logits(methods, x, texts), y)

        learners = [
            Learner(method, method.groups(), train, run)
            for method, (_, train, _, run) in zip(methods, members, strict=True)
        ]
        return fit_together(learners, objective, functools.partial(remember_together, prompts))

    @classmethod
    def bytes_a_member(cls, clip: Clip, member: Member) -> int:
        """Of the text tower; the rest is small."""
        return cast(PromptMethod, member.method).start(clip, member.train.classes).bytes_a_step()

    def state_dict(self) -> dict[str, Tensor]:
        """The contexts (K, M, W) or (K, C, M, W), and what else is learned."""
        state = {"context": self.prompts.context}
        state |= {name: getattr(self, name) for name in self.learned}
        return {name: value.detach().clone() for name, value in state.items()}

    def load_state_dict(
        self, clip: Clip, classes: tuple[str, ...], state: dict[str, Tensor]
    ) -> None:
        """The inverse; `classes` are those of the training labels."""
        self.prompts = self.start(clip, classes)
        self.prompts.replace(state["context"])
        for name in self.learned:
            setattr(self, name, state[name].to(clip.device))
