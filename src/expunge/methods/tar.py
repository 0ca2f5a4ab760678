"""Tamper-resistant safeguards (TAR). Tamirisa et al., 2024, https://arxiv.org/abs/2408.00761."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch

from expunge.config import Choice
from expunge.functional.logprobs import moments, unpack
from expunge.functional.losses import hidden_distance
from expunge.methods.base import LossMethod, Spec, State, Views, ViewSpec
from expunge.methods.preset import Axes, Preset, Training
from expunge.methods.terms import Term, per_token
from expunge.registry import methods


@methods.register("tar")
@dataclass(frozen=True, kw_only=True)
class TAR(LossMethod):
    """After random mapping, learns weights from which simulated fine-tuning leads to uncertainty, not to the answers.

    The forget term is minus the entropy of the next token, at weights that the perturbation ``tamper`` has attacked.
    """

    spec: ClassVar[Spec] = Spec(
        paper="Tamirisa et al. (TAR), 2024, https://arxiv.org/abs/2408.00761",
    )
    preset: ClassVar[Preset] = Preset(
        method=Choice("tar"),
        axes=Axes(retain_term=Choice("nll"), perturb=Choice("tamper")),
        training=Training(
            learning_rate=2e-5,
            epochs=750,
            max_steps=750,
            batch_size=8,
            schedule="constant",
            warmup=32 / 750,
        ),
        before=(Choice("random_mapping"),),
        source="TAR's code: 750 outer steps of 8 records at 2e-5 after random mapping, attacks of 64 steps",
        departs=(
            "Attacks fine-tune on other batches of the forget set, at the three learning rates in turn; the code also "
            "has attacks on other corpora and one that switches from retain to forget records. Entropy counts answer "
            "tokens, the code's padding too. Hidden states are held to those of the model as it was handed in."
        ),
    )

    own_retain: ClassVar[bool] = True

    layers: str = "0.0-1.0"  # whose hidden states are held on the retain set
    representation_weight: float = 1.0

    def needs(self) -> tuple[str, ...]:
        """Retained records for the hidden states, whatever the retain term is."""
        return ("forget", "retain")

    def scales(self) -> Mapping[str, float]:
        """Distances of hidden states are as long as the states are, and start at 0."""
        return {"retain_hidden": math.inf}

    def views(self) -> tuple[ViewSpec, ...]:
        """The forget set, and the retain set's hidden states beside the original's."""
        return (
            ViewSpec(name="forget"),
            ViewSpec(name="retain", source="retain", hidden=self.layers, reference=frozenset({"hidden"})),
        )

    def term_weights(self) -> Mapping[str, float]:
        """The weight of the hidden states; it belongs to the retain side, but is no axis."""
        return {"retain_hidden": self.representation_weight}

    def terms(self, views: Views, state: State) -> dict[str, Term]:
        """Minus the entropy, and the distance of the hidden states, mean over layers."""
        retain = views["retain"]
        weights_BT = retain.batch.token_weights_BT
        distances_LB = [
            hidden_distance(hidden_BTD, retain.reference.hidden_states[layer], weights_BT)
            for layer, hidden_BTD in retain.policy.hidden_states.items()
        ]
        return {
            "forget": self.forget_term(views, state),
            "retain_hidden": Term(torch.stack(distances_LB).mean(0), "token", "retain"),
        }

    def forget_term(self, views: Views, state: State) -> Term:
        """Token mean of minus the entropy of the prediction, nats."""
        forget = views["forget"]
        negative_N = moments(forget.policy.logits).mean_N
        return per_token(unpack(negative_N, forget.batch.labels_scored_BT))
