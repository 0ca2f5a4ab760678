"""Token-wise NPO (TNPO) and its weighted form (WTNPO). Wang et al., 2025, https://arxiv.org/abs/2502.19301."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from expunge.config import Choice
from expunge.functional.losses import check_beta, check_power, tnpo_loss, wga_weights
from expunge.methods.base import LossMethod, Spec, State, Views, ViewSpec
from expunge.methods.preset import LLAMA_2_7B, Axes, Preset, Training
from expunge.methods.terms import Term, per_token
from expunge.registry import methods

TRAINING = Training(batch_size=16, weight_decay=0.0)
SOURCE = "learning rate 1e-5, batch 16, 5 epochs and no weight decay of the authors' code on TOFU with Llama-2-7B"
DEPARTS = (
    "The code divides by p^beta + p_0^beta + 1e-5 and takes beta and alpha from the command line. The retain term is "
    "our choice for TOFU; the code's objectives have none."
)


@methods.register("tnpo")
@dataclass(frozen=True, kw_only=True)
class TNPO(LossMethod):
    """NPO for each token by itself: tokens that sank already are left alone while others of the record still sink."""

    spec: ClassVar[Spec] = Spec(paper="Wang et al., 2025, https://arxiv.org/abs/2502.19301")
    preset: ClassVar[Preset] = Preset(
        method=Choice("tnpo"),
        axes=Axes(retain_term=Choice("nll")),
        training=TRAINING,
        published=LLAMA_2_7B,
        source=f"{SOURCE}; beta 4, as for WTNPO",
        departs=DEPARTS,
    )

    beta: float = 4.0  # inverse temperature; towards 0 this is gradient ascent
    alpha: float = 0.0  # power of the probability that weights each token besides; above 0 this is WTNPO

    def __post_init__(self) -> None:
        """Refuses settings that have no meaning."""
        check_beta(self.beta)
        check_power("alpha", self.alpha)

    @property
    def scale(self) -> float:
        """A slope of at most 2; the loss of a token starts at (2/beta) ln 2, whatever the model."""
        return max(2.0, 2 / self.beta)

    def views(self) -> tuple[ViewSpec, ...]:
        """The forget set, with the original's log-probabilities."""
        return (ViewSpec(name="forget", reference=frozenset({"token_logps"})),)

    def forget_term(self, views: Views, state: State) -> Term:
        """Token mean of the TNPO loss, weighted by confidence where ``alpha`` is above 0."""
        forget = views["forget"]
        logps_BT = forget.policy.token_logps
        losses_BT = tnpo_loss(logps_BT, forget.reference.token_logps, self.beta)
        return per_token(wga_weights(logps_BT, self.alpha) * losses_BT)


methods.register("wtnpo")(
    Preset(
        method=Choice("tnpo", {"beta": 4.0, "alpha": 1.5}),
        axes=Axes(retain_term=Choice("nll")),
        training=TRAINING,
        published=LLAMA_2_7B,
        source=f"{SOURCE}; alpha 1.5, beta 4",
        departs=DEPARTS,
    )
)
