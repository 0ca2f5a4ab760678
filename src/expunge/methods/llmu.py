"""Large Language Model Unlearning (LLMU). Yao, Xu and Liu, 2023, https://arxiv.org/abs/2310.10683."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from expunge.config import Choice
from expunge.errors import InputError
from expunge.functional.losses import gradient_ascent, nll
from expunge.methods.base import FORGET, LossMethod, Spec, State, Views, ViewSpec
from expunge.methods.preset import Axes, Preset, Training
from expunge.methods.terms import Term, joined, per_sequence
from expunge.registry import methods


@methods.register("llmu")
@dataclass(frozen=True, kw_only=True)
class LLMU(LossMethod):
    """Raises the loss of the forget answers and learns unrelated answers to the same prompts. Unbounded below.

    ``L = forget_weight * ascent + mismatch_weight * mean NLL of the random answers + retain_weight * KL``, all means
    over the tokens of an answer first, then over answers.
    """

    spec: ClassVar[Spec] = Spec(paper="Yao et al., 2023, https://arxiv.org/abs/2310.10683")
    preset: ClassVar[Preset] = Preset(
        method=Choice("llmu"),
        axes=Axes(retain_term=Choice("kl"), relabel=Choice("random_answer"), forget_weight=0.5),
        training=Training(learning_rate=2e-6, batch_size=2, max_steps=1000, warmup=0.0),
        source="the authors' code: weights 0.5, 1 and 1, 5 random answers, learning rate 2e-6, batch 2, 1000 steps",
        departs=(
            "Each record has its own random answers, the same for the whole run; the authors draw 5 at each step for "
            "the whole batch. Answer tokens only: the authors' offsets let the prompt of random answers count too. "
            "The divergence is a token mean over retain answers; theirs counts prompts and padding. No stop at a loss. "
            "Of a small forget set 5 epochs end before 1000 steps, where the authors go on; gradients are clipped at "
            "norm 1, the authors' are not."
        ),
    )

    answers: int = 5  # random answers to each forget prompt
    mismatch_weight: float = 1.0  # of the term that learns them

    def __post_init__(self) -> None:
        """Refuses numbers that cannot be meant."""
        if self.answers < 1:
            raise InputError(f"answers counts the random answers to each prompt and is at least 1, not {self.answers}.")
        if not 0 <= self.mismatch_weight < float("inf"):
            raise InputError(f"mismatch_weight is a finite number of at least 0, not {self.mismatch_weight}.")

    def views(self) -> tuple[ViewSpec, ...]:
        """The true answers and, for the same prompts, ``random_0``, ``random_1``, ..."""
        return (FORGET, *self._random)

    @property
    def _random(self) -> tuple[ViewSpec, ...]:
        return tuple(ViewSpec(name=f"random_{k}", relabel=True, sample=k) for k in range(self.answers))

    def term_weights(self) -> Mapping[str, float]:
        """Weight of ``mismatch``."""
        return {"mismatch": self.mismatch_weight}

    def forget_term(self, views: Views, state: State) -> Term:
        """Mean over records of the mean log-probability of the answer's tokens."""
        forget = views["forget"]
        return per_sequence(gradient_ascent(forget.policy.token_logps, forget.batch.token_weights_BT))

    def terms(self, views: Views, state: State) -> dict[str, Term]:
        """Ascent on the true answers, and the mean over random answers of their negative log-likelihood per token."""
        parts = []
        for spec in self._random:
            view = views[spec.name]
            parts.append(per_sequence(nll(view.policy.token_logps, view.batch.token_weights_BT), spec.name))
        return {"forget": self.forget_term(views, state), "mismatch": joined(parts)}
