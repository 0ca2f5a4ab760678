"""Knowledge unlearning's stop rule. Jang et al., 2022, https://arxiv.org/abs/2210.01504."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from expunge.errors import InputError
from expunge.registry import stoppers
from expunge.training.look import Look
from expunge.training.stoppers.base import Stopper, StopperState, Verdict

FORGET = "forget"


@stoppers.register("memorisation")
@dataclass(frozen=True, kw_only=True)
class Memorisation(Stopper):
    """Stops at the end of an epoch once the forget set is memorised less than text that the original never saw.

    Mean EL_n and mean MA of the forget set must both lie below their thresholds, which are the same numbers of unseen
    records under the original. Where those say that EL_n is 0, nothing can lie below it, and 0 is enough.

    Attributes:
        n: tokens of an n-gram.
        stride: distance of the places that a text is continued from. The paper's 1 takes one generation for each token.
        unseen: source of the records that set the thresholds.
        el: threshold of EL_n, 0 to 1; None to measure it.
        ma: threshold of MA, 0 to 1; None to measure it.
    """

    n: int = 10
    stride: int = 1
    unseen: str = "holdout"
    el: float | None = None
    ma: float | None = None

    def __post_init__(self) -> None:
        """Refuses a rule that could not be meant."""
        if self.n < 1 or self.stride < 1:
            raise InputError(f"n={self.n}, stride={self.stride}: both are at least 1.")
        for name in ("el", "ma"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise InputError(f"The threshold {name} is a share above 0 and at most 1, not {value}.")

    @property
    def sources(self) -> tuple[str, ...]:
        """The forget set, and the unseen records unless both thresholds are given."""
        measured = self.el is None or self.ma is None
        return (FORGET, self.unseen) if measured else (FORGET,)

    def start(self, look: Look) -> StopperState:
        """Measures the thresholds that are not given, and counts the forget records that have no EL_n.

        Raises:
            InputError: no forget record, or no unseen one, has more than n tokens.
        """
        short = look.too_short(FORGET, self.n)
        if short == sum(example.weight > 0 for example in look.records[FORGET]):
            raise InputError(
                f"All {short} forget records have at most n={self.n} tokens, so EL_{self.n} is undefined and this "
                "stopper could never stop; set a smaller n."
            )
        el = look.extraction_likelihood(self.unseen, self.n, self.stride) if self.el is None else self.el
        ma = look.memorisation_accuracy(self.unseen) if self.ma is None else self.ma
        return {"thresholds": [el, ma], "too_short": [float(short)]}

    def update(self, state: StopperState, terms: Mapping[str, float], look: Look) -> Verdict:
        """Reads the forget set at the end of an epoch: MA first, since EL_n costs a generation for each token."""
        if not look.epoch_ends:
            return Verdict(state, None)
        most_el, most_ma = state["thresholds"]
        ma = look.memorisation_accuracy(FORGET)
        if not _below(ma, most_ma):
            return Verdict({**state, "ma": [ma]}, None)
        el = look.extraction_likelihood(FORGET, self.n, self.stride)
        state = {**state, "ma": [ma], "el": [el]}
        if not _below(el, most_el):
            return Verdict(state, None)
        short = int(state["too_short"][0])
        left_out = f", {short} records too short for it" if short else ""
        return Verdict(
            state,
            f"EL_{self.n} {el:.4g} and MA {ma:.4g} of the forget set fell below those of unseen text, {most_el:.4g} "
            f"and {most_ma:.4g}{left_out}",
        )


def _below(value: float, threshold: float) -> bool:
    return value < threshold or value == threshold == 0.0
