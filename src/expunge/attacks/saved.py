"""What attacks on weights share: every point starts from the saved weights, and some compare with the original's."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from expunge.attacks.base import AttackTask
from expunge.errors import InputError
from expunge.models.load import LoadedModel


class Saved:
    """A copy of weights as they were, in main memory.

    Args:
        weights: of a model, by name; those that an attack changes are enough.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._weights = dict(weights)
        self._kept = {name: weight.detach().to("cpu", copy=True) for name, weight in weights.items()}

    @torch.no_grad()
    def set(self, changed: Callable[[str, Tensor], Tensor]) -> None:
        """Sets each weight to what a function makes of its name and its saved value, in the dtype of the weight.

        The function gets the kept value itself and must not change it in place.
        """
        for name, weight in self._weights.items():
            weight.copy_(changed(name, self._kept[name].to(weight.device)))

    def restore(self) -> None:
        """Sets each weight to its saved value."""
        self.set(lambda _, kept: kept)


def load_original(loaded: LoadedModel, task: AttackTask) -> LoadedModel:
    """Returns the original model.

    Raises:
        InputError: there is none, or its tokens are others, so that weights do not mean the same.
    """
    if task.original is None:
        raise InputError("The attack takes the original model, and none was handed in; pass --original MODEL.")
    original = task.original()
    if original.tokenizer.get_vocab() != loaded.tokenizer.get_vocab():
        raise InputError(
            "The model and the original have other tokens, so their weights cannot be compared; hand in the model that "
            "it was made from."
        )
    return original


def check_shares(what: str, shares: Sequence[float]) -> None:
    """Checks the places of a curve: at least one, above 0 and at most 1, each above the one before.

    Raises:
        InputError: others.
    """
    if not shares or not all(low < high <= 1 for low, high in zip((0.0, *shares), shares, strict=False)):
        raise InputError(f"{what} must be shares above 0 and at most 1, in rising order, not {tuple(shares)}.")


def wide(tensor: Tensor) -> Tensor:
    """Returns the tensor in float32, or in float64 where it is."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def normal(like: Tensor, stream: str) -> Tensor:
    """Standard normal numbers in the shape of a tensor, from a stream of their own; the same on every device."""
    source = torch.Generator().manual_seed(random.Random(stream).getrandbits(63))  # noqa: S311 - no secret
    return torch.randn(like.shape, generator=source).to(like.device)
