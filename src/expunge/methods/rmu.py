"""Representation Misdirection for Unlearning (RMU). Li et al. (WMDP), 2024, https://arxiv.org/abs/2403.03218.

Adaptive RMU: Huu-Tien et al., 2024, https://arxiv.org/abs/2408.06223.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from expunge.config import Choice
from expunge.errors import InputError
from expunge.functional.logprobs import at_least_float32
from expunge.functional.losses import control_vector, rmu_forget
from expunge.methods.base import LossMethod, Spec, Start, State, View, Views, ViewSpec
from expunge.methods.preset import Axes, Preset, Training
from expunge.methods.terms import Term
from expunge.registry import methods

LAYER = "0.2258"  # of the depth: layer 7 of 32
AXES = Axes(
    retain_term=Choice("hidden", {"layers": LAYER, "norm": "mse"}),
    retain_weight=1200.0,
    parameters=Choice("mlp_out", {"layers": "0.1613-0.2258"}),  # layers 5 to 7 of 32
)
# As many epochs as steps, so that the steps are the limit however small the forget set is.
TRAINING = Training(
    learning_rate=5e-5,
    epochs=150,
    max_steps=150,
    batch_size=4,
    schedule="constant",
    warmup=0.0,
    weight_decay=0.0,
    max_grad_norm=0.0,
)
TOKENS = (
    "Answer tokens count (tokens=all for all of a text); the code averages over padding too. One forget set with one "
    "control vector: the code alternates two topics."
)


class Misdirection(LossMethod):
    """What RMU and its adaptive form share: the forget tokens' states at one layer and a direction drawn once."""

    @property
    def scale(self) -> float:
        """Without limit: a squared distance is no nats, starts as large as the states are long, and only falls."""
        return math.inf

    def init(self, start: Start) -> State:
        """The control vector, drawn from the seed of the run."""
        return {"control": control_vector(start.hidden_size, self.length, start.seed)}

    @property
    def length(self) -> float:
        """Length of the control vector."""
        return 1.0

    def forget_term(self, views: Views, state: State) -> Term:
        """Token mean of the squared distance to the target, mean over the width and over the layers."""
        view = views["forget"]
        values_LB = [
            rmu_forget(hidden_BTD, self.target(view, layer, state["control"]), view.batch.token_weights_BT)
            for layer, hidden_BTD in view.policy.hidden_states.items()
        ]
        return Term(torch.stack(values_LB).mean(0), "token")

    def target(self, view: View, layer: int, control_D: Tensor) -> Tensor:
        """Where the tokens are led, broadcasts to (B, T, D)."""
        return control_D


@methods.register("rmu")
@dataclass(frozen=True, kw_only=True)
class RMU(Misdirection):
    """Leads the hidden states of forget tokens at one layer to one fixed random vector; blocks above do not run."""

    spec: ClassVar[Spec] = Spec(
        paper="Li et al. (WMDP), 2024, https://arxiv.org/abs/2403.03218",
    )
    preset: ClassVar[Preset] = Preset(
        method=Choice("rmu"),
        axes=AXES,
        training=TRAINING,
        source=(
            "WMDP's code for Zephyr-7B: layer 7 of 32, down projections of layers 5 to 7, c 6.5, retain weight 1200, "
            "learning rate 5e-5, batch 4, 150 steps, no weight decay, no clipping"
        ),
        departs=f"Layers are fractions of the depth, so that they fit any model. {TOKENS}",
    )

    layer: str = LAYER  # a fraction of the depth or a number; move retain_term and parameters with it
    coefficient: float = 6.5  # length of the control vector; it must exceed the states' own at this layer

    def __post_init__(self) -> None:
        """Refuses a length without meaning."""
        _check_positive("coefficient", self.coefficient)

    @property
    def length(self) -> float:
        """The coefficient."""
        return self.coefficient

    def views(self) -> tuple[ViewSpec, ...]:
        """The forget set's states at the layer."""
        return (ViewSpec(name="forget", hidden=self.layer, logits=False),)


@methods.register("adaptive_rmu")
@dataclass(frozen=True, kw_only=True)
class AdaptiveRMU(Misdirection):
    """RMU whose target is ``beta`` times as long as the original's own hidden state at that token."""

    spec: ClassVar[Spec] = Spec(
        paper="Huu-Tien et al., 2024, https://arxiv.org/abs/2408.06223",
    )
    preset: ClassVar[Preset] = Preset(
        method=Choice("adaptive_rmu"),
        axes=AXES,
        training=TRAINING,
        source="the authors' code for Zephyr-7B: scale 5, the rest as in WMDP's code for RMU",
        departs=(
            "The length is that of the original's state at each token, as the formula has it; the code takes one mean "
            f"length from the first batch of a topic, padding included. {TOKENS}"
        ),
    )

    layer: str = LAYER  # a fraction of the depth or a number; move retain_term and parameters with it
    beta: float = 5.0  # length of the target in lengths of the original's state

    def __post_init__(self) -> None:
        """Refuses a scale without meaning."""
        _check_positive("beta", self.beta)

    def views(self) -> tuple[ViewSpec, ...]:
        """The forget set's states at the layer, and the original's."""
        return (ViewSpec(name="forget", hidden=self.layer, logits=False, reference=frozenset({"hidden"})),)

    def target(self, view: View, layer: int, control_D: Tensor) -> Tensor:
        """(B, T, D) the direction, at each token as long as ``beta`` says."""
        ref_hidden_BTD = at_least_float32(view.reference.hidden_states[layer])
        norms_BT1: Tensor = torch.linalg.vector_norm(ref_hidden_BTD, dim=-1, keepdim=True)
        return self.beta * norms_BT1 * control_D.to(norms_BT1)


def _check_positive(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise InputError(f"{name} is a length above 0, not {value}.")
