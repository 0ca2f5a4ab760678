"""Cheap changes of all weights at once: the line to the original, pruning, and noise.

Line: Wang et al., 2024, https://arxiv.org/abs/2406.09179. Pruning: Łucki et al., 2024,
https://arxiv.org/abs/2409.18025, after Wei et al., 2024, https://arxiv.org/abs/2402.05162. Noise: Tice et al., 2024,
https://arxiv.org/abs/2412.01784.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from expunge.attacks.base import AttackTask, ModelAttack, Point, Threat
from expunge.attacks.saved import Saved, check_shares, load_original, normal, wide
from expunge.errors import InputError
from expunge.models.load import LoadedModel
from expunge.models.mixing import mix_into, saved_tensors
from expunge.models.modules import block_linears
from expunge.registry import attacks

_LINE = "Wang et al., 2024, https://arxiv.org/abs/2406.09179"
_PRUNING = "Łucki et al., 2024, https://arxiv.org/abs/2409.18025; Wei et al., 2024, https://arxiv.org/abs/2402.05162"


@dataclass(frozen=True, kw_only=True)
class _TowardsOriginal(ModelAttack):
    """Moves all weights to the original's by shares of the way, each time from the saved weights."""

    shares: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuses what is no share."""
        check_shares("The parts of the way to the original", self.shares)

    @property
    def marks(self) -> int:
        """As it is, and at each share."""
        return 1 + len(self.shares)

    def act(self, loaded: LoadedModel, task: AttackTask, fold: int) -> Iterator[Point]:
        """Mixes (1 - share) * own + share * original."""
        saved = Saved(saved_tensors(loaded.model))
        original = load_original(loaded, task).model
        yield Point(0)
        for share in self.shares:
            task.check_stop(attacks.name_of(self))
            saved.restore()
            mix_into(loaded.model, original, share)
            yield Point(share)


@attacks.register("adapter_removal")
@dataclass(frozen=True, kw_only=True)
class AdapterRemoval(_TowardsOriginal):
    """Weakens an adapter beside the original's weights and takes it away; whoever was handed both can.

    The adapter is merged, so what is weakened is the difference of the merged weights from the original's.

    Attributes:
        shares: of the adapter that are taken away; at 1 the original itself is left.
    """

    threat: ClassVar[Threat] = Threat("weights", "weights", _LINE, original=True, adapter=True)
    controlled: ClassVar[bool] = False  # the retrained model has no adapter
    title: ClassVar[str] = "removing the adapter"
    axis: ClassVar[str] = "share of the adapter taken away"

    shares: tuple[float, ...] = (0.5, 1.0)


@attacks.register("interpolation")
@dataclass(frozen=True, kw_only=True)
class Interpolation(_TowardsOriginal):
    """Moves the weights part of the way to the original's, which shows how near to it they still are.

    A model that never saw the records is moved to the original too, and gains what the original knows; only what comes
    back earlier counts. Wang et al. mix to compare models at one utility, and not as an attack.

    Attributes:
        shares: of the way.
    """

    threat: ClassVar[Threat] = Threat("weights", "weights", _LINE, original=True)
    decides: ClassVar[bool] = False  # the control is moved to the original too: its way there tells of geometry
    title: ClassVar[str] = "part of the way to the original"
    axis: ClassVar[str] = "share of the way to the original"

    shares: tuple[float, ...] = (0.1, 0.25, 0.5, 0.75)


@attacks.register("pruning")
@dataclass(frozen=True, kw_only=True)
class Pruning(ModelAttack):
    """Sets the smallest weights of each matrix to 0; what was trained last into small weights goes first.

    Linear layers of the blocks only, each matrix by itself; never embeddings, output layer, norms or biases. Łucki et
    al. choose weights by their gradients on two sets of texts; by magnitude, nothing but the weights is needed.

    Attributes:
        shares: of each matrix, rounded to whole weights.
    """

    threat: ClassVar[Threat] = Threat("weights", "weights", _PRUNING)
    title: ClassVar[str] = "pruning small weights"
    axis: ClassVar[str] = "share of weights set to 0"

    shares: tuple[float, ...] = (0.1, 0.3, 0.5)

    def __post_init__(self) -> None:
        """Refuses what is no share."""
        check_shares("The parts of the weights to set to 0", self.shares)

    @property
    def marks(self) -> int:
        """As it is, and at each share."""
        return 1 + len(self.shares)

    def act(self, loaded: LoadedModel, task: AttackTask, fold: int) -> Iterator[Point]:
        """Prunes each share of the saved weights."""
        saved = Saved({name: layer.weight for name, layer in block_linears(loaded.model).items()})
        yield Point(0)
        for share in self.shares:
            task.check_stop(attacks.name_of(self))

            def pruned(_: str, kept: Tensor, share: float = share) -> Tensor:
                return without_least(kept, kept.abs(), share)

            saved.set(pruned)
            yield Point(share)


@attacks.register("difference_pruning")
@dataclass(frozen=True, kw_only=True)
class DifferencePruning(ModelAttack):
    """Sets the weights of each matrix to 0 that lie furthest from the original's: those that unlearning used.

    Weights that differ in the two sets of Wei et al. (needed for safety, not for utility) are here the ones that
    unlearning changed most, so no texts are needed but the original is. A weight that is the original's stays. Linear
    layers of the blocks only.

    Attributes:
        shares: of each matrix, rounded to whole weights.
    """

    threat: ClassVar[Threat] = Threat("weights", "weights", _PRUNING, original=True)
    title: ClassVar[str] = "pruning changed weights"
    axis: ClassVar[str] = "share of weights set to 0"

    shares: tuple[float, ...] = (0.01, 0.05, 0.1)

    def __post_init__(self) -> None:
        """Refuses what is no share."""
        check_shares("The parts of the weights to set to 0", self.shares)

    @property
    def marks(self) -> int:
        """As it is, and at each share."""
        return 1 + len(self.shares)

    def act(self, loaded: LoadedModel, task: AttackTask, fold: int) -> Iterator[Point]:
        """Prunes each share of the saved weights; ``pruned`` tells the share that was, where fewer had changed."""
        layers, original = block_linears(loaded.model), block_linears(load_original(loaded, task).model)
        others = {name: layer.weight.detach() for name, layer in original.items()}
        if {name: item.shape for name, item in others.items()} != {
            n: layer.weight.shape for n, layer in layers.items()
        }:
            raise InputError("The model and the original have other layers; hand in the model that it was made from.")
        saved = Saved({name: layer.weight for name, layer in layers.items()})
        total = sum(layer.weight.numel() for layer in layers.values())
        yield Point(0)
        for share in self.shares:
            task.check_stop(attacks.name_of(self))
            pruned = 0

            def changed(name: str, kept: Tensor, share: float = share) -> Tensor:
                nonlocal pruned
                distance = (wide(kept) - wide(others[name].to(kept.device))).abs()
                pruned += min(round(share * kept.numel()), int((distance > 0).sum()))
                return torch.where(distance > 0, without_least(kept, -distance, share), kept)

            saved.set(changed)
            yield Point(share, details={"pruned": pruned / max(1, total)})


@attacks.register("weight_noise")
@dataclass(frozen=True, kw_only=True)
class WeightNoise(ModelAttack):
    """Adds Gaussian noise to every tensor, in parts of its own standard deviation; what was hidden may be less robust.

    Norms and biases get noise too, embeddings once where they are the output's weights. A draw is one direction, and
    the scales are steps along it. Tice et al. scale noise alike for all tensors.

    Attributes:
        scales: standard deviation of the noise in parts of that of each tensor.
        draws: directions, each on a fresh copy.
    """

    threat: ClassVar[Threat] = Threat("weights", "weights", "Tice et al., 2024, https://arxiv.org/abs/2412.01784")
    title: ClassVar[str] = "noise on the weights"
    axis: ClassVar[str] = "noise in parts of a tensor's standard deviation"

    scales: tuple[float, ...] = (0.01, 0.03, 0.1)
    draws: int = 3

    def __post_init__(self) -> None:
        """Refuses numbers that cannot be meant."""
        rising = all(low < high < math.inf for low, high in zip((0.0, *self.scales), self.scales, strict=False))
        if not self.scales or not rising or self.draws < 1:
            raise InputError(
                f"Noise needs scales above 0 in rising order and at least one draw, not {tuple(self.scales)} and "
                f"{self.draws}."
            )

    @property
    def folds(self) -> int:
        """One for each draw."""
        return self.draws

    @property
    def marks(self) -> int:
        """As it is, and with noise of each scale."""
        return 1 + len(self.scales)

    def act(self, loaded: LoadedModel, task: AttackTask, fold: int) -> Iterator[Point]:
        """Adds noise of each scale to the saved weights."""
        saved = Saved({name: item for name, item in loaded.model.named_parameters() if item.is_floating_point()})
        yield Point(0)
        for scale in self.scales:
            task.check_stop(attacks.name_of(self))

            def noisy(name: str, kept: Tensor, scale: float = scale) -> Tensor:
                own = wide(kept)
                drawn = normal(own, f"{task.seed}:weight_noise:{fold}:{name}").to(own.dtype)
                return own + scale * own.std(correction=0) * drawn

            saved.set(noisy)
            yield Point(scale)


def without_least(weights: Tensor, scores: Tensor, share: float) -> Tensor:
    """Returns weights with 0 for the given share of them that have the lowest scores; of equal ones, the first."""
    lowest = scores.flatten().argsort(stable=True)[: round(share * weights.numel())]
    return weights.flatten().index_fill(0, lowest, 0).view(weights.shape)
