"""Losses for the tests of the loop."""

from __future__ import annotations

from dataclasses import dataclass

from expunge.methods.base import LossMethod, ViewSpec
from expunge.methods.gradient_ascent import GradientAscent
from expunge.methods.terms import per_sequence


@dataclass(frozen=True, kw_only=True)
class LowestLayer(LossMethod):
    """The squared size of the first block's output; nothing above it runs."""

    spec = GradientAscent.spec

    def views(self):
        """The forget view up to its first block."""
        return (ViewSpec(name="forget", hidden="0", logits=False),)

    def forget_term(self, views, state):
        """Mean square over all tokens and the width."""
        view = views["forget"]
        (hidden_BTD,) = view.policy.hidden_states.values()
        there_BT1 = view.batch.attention_mask_BT[..., None]
        return per_sequence((hidden_BTD.square() * there_BT1).mean((1, 2)))
