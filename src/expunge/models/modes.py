"""Evaluation mode and other dropout, each for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from peft.tuners.lora import LoraLayer
from torch import nn

from expunge.errors import InputError
from expunge.models.modules import base_model


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Puts a model in evaluation mode and restores the mode of each of its modules, also after an exception."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True  # not train(): that would also switch the modules below that were off


@contextmanager
def dropping(model: nn.Module, share: float | None) -> Iterator[int]:
    """Sets dropout for a while, see ``set_dropout``; None leaves the model as it is; yields the number of places."""
    if share is None:
        yield 0
        return
    kept = [(place, place.share) for place in _places(model)]
    try:
        yield set_dropout(model, share)
    finally:
        for place, before in kept:
            place.set(before)


def set_dropout(model: nn.Module, share: float) -> int:
    """Makes every dropout of a model leave out this share of units in training mode; its configuration stays.

    Places are ``nn.Dropout`` modules and the numbers that transformers' blocks hold as ``attention_dropout``,
    ``hidden_dropout`` or ``dropout``. A Llama has one in each attention and no other. The dropout of a LoRA adapter is
    the adapter's own setting and is left alone.

    Args:
        model: with or without a peft adapter.
        share: from 0 to below 1.

    Returns:
        Number of places set.

    Raises:
        InputError: a share above 0, and a model without a place for it.
    """
    places = _places(model)
    if share > 0 and not places:
        raise InputError(
            f"{type(base_model(model)).__name__} has no place for a dropout of {share:g}; leave dropout out."
        )
    for place in places:
        place.set(share)
    return len(places)


class _Place(NamedTuple):
    """An attribute of a module that holds a share of dropout."""

    module: nn.Module
    name: str

    @property
    def share(self) -> float:
        return float(getattr(self.module, self.name))

    def set(self, share: float) -> None:
        setattr(self.module, self.name, share)


def _places(model: nn.Module) -> list[_Place]:
    own = {
        inner for module in model.modules() if isinstance(module, LoraLayer) for inner in module.lora_dropout.modules()
    }
    found = []
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            found += [] if module in own else [_Place(module, "p")]
            continue
        # Numbers only: a name such as resid_dropout may also hold a module, which stands for itself.
        names = (name for name, value in vars(module).items() if name.endswith("dropout") and _is_share(value))
        found += [_Place(module, name) for name in names]
    return found


def _is_share(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
