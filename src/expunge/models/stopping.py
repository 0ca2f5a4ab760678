"""Stops a model between two forward passes: after a batch of a reading, or a token of a generation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from expunge.errors import InterruptedRunError
from expunge.models.modules import base_model

TEXT = "Stopped while a model was read. What was read is kept, and the same command goes on."


def stop_between_passes(model: nn.Module, stop_requested: Callable[[], bool]) -> None:
    """Has every later forward pass of a model ask first whether to stop; it then raises ``InterruptedRunError``.

    Args:
        model: with or without an adapter; generation bypasses the adapter, so the model inside it asks too.
        stop_requested: whether a stop was requested.
    """

    def ask(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if stop_requested():
            raise InterruptedRunError(TEXT)

    for part in {id(part): part for part in (model, base_model(model))}.values():
        part.register_forward_pre_hook(ask)
