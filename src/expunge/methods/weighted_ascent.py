"""Gradient ascent that weights each token by the model's own confidence: WGA and SatImp.

Wang et al., 2025, https://arxiv.org/abs/2502.19301; Yang et al., 2025, https://arxiv.org/abs/2505.11953.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from expunge.config import Choice
from expunge.functional.losses import check_power, satimp_weights, weighted_ascent, wga_weights
from expunge.methods.base import LossMethod, Spec, State, Views
from expunge.methods.preset import Axes, Preset, Training
from expunge.methods.terms import Term, per_token
from expunge.registry import methods


@methods.register("wga")
@dataclass(frozen=True, kw_only=True)
class WGA(LossMethod):
    """Weighted gradient ascent: the weight p^beta fades as a token is forgotten, so it does not run away."""

    monotone: ClassVar[bool] = False
    spec: ClassVar[Spec] = Spec(paper="Wang et al., 2025, https://arxiv.org/abs/2502.19301")
    preset: ClassVar[Preset] = Preset(
        method=Choice("wga"),
        axes=Axes(retain_term=Choice("nll")),
        training=Training(batch_size=16, weight_decay=0.0),
        source=(
            "beta 1 and retain weight 1 (OpenUnlearning's settings); learning rate 1e-5, batch 16, 5 epochs and no "
            "weight decay of the authors' code on TOFU with Llama-2-7B"
        ),
        departs="The authors' code takes beta from the command line and has no retain term.",
    )

    beta: float = 1.0  # power of the probability; 0 is gradient ascent

    def __post_init__(self) -> None:
        """Refuses a power that has no meaning."""
        check_power("beta", self.beta)

    def forget_term(self, views: Views, state: State) -> Term:
        """Token mean of the weighted log-probability."""
        logps_BT = views["forget"].policy.token_logps
        return per_token(weighted_ascent(logps_BT, wga_weights(logps_BT, self.beta)))


@methods.register("satimp")
@dataclass(frozen=True, kw_only=True)
class SatImp(LossMethod):
    """Weighted ascent that leaves alone what is forgotten (saturation) and what anybody could guess (importance)."""

    monotone: ClassVar[bool] = False
    spec: ClassVar[Spec] = Spec(paper="Yang et al., 2025, https://arxiv.org/abs/2505.11953")
    preset: ClassVar[Preset] = Preset(
        method=Choice("satimp"),
        axes=Axes(retain_term=Choice("nll"), retain_weight=0.1),
        training=Training(batch_size=16, weight_decay=0.0),
        source=(
            "beta1 5 and beta2 1; learning rate 1e-5, batch 16, 5 epochs, no weight decay and retain weight 0.1 of the "
            "authors' code on TOFU with Llama-2-7B"
        ),
        departs="OpenUnlearning's class, configuration and text contradict each other on which weight is 0.1.",
    )

    beta1: float = 5.0  # power of the probability
    beta2: float = 1.0  # power of its complement; 0 is WGA

    def __post_init__(self) -> None:
        """Refuses powers that have no meaning."""
        check_power("beta1", self.beta1)
        check_power("beta2", self.beta2)

    def forget_term(self, views: Views, state: State) -> Term:
        """Token mean of the weighted log-probability."""
        logps_BT = views["forget"].policy.token_logps
        return per_token(weighted_ascent(logps_BT, satimp_weights(logps_BT, self.beta1, self.beta2)))
