"""What an audit is held to: numbers of the rules, and the words that are good enough."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

from expunge.errors import InputError

Word = Literal[
    "not known", "not removed", "removed", "suppressed", "partly removed", "exposed", "damaged", "not verifiable"
]


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Fixed in the plan and recorded.

    Attributes:
        margin: equivalence margin on AUC, extraction strength, probability and shares of right answers.
        utility: least utility, relative to the original, of a removal.
        damage: utility below this is damage.
        repetition: share of n-grams that replies to retain prompts may repeat beyond the reference's interval; a model
            that loops repeats half of them and more, one that speaks hardly any.
        perplexity: factor on the reference's interval beyond which the perplexity of these replies is damage; 2 is one
            token in about ten that the original would not have said.
        refusal: share of retain prompts that may be refused beyond the original's interval, or answered by nothing
            beyond the reference's; the share of utility that may be lost before it is damage.
        recovery: largest upper bound of the worst attack's excess recovery that still counts as removed.
    """

    margin: float = 0.05
    utility: float = 0.95
    damage: float = 0.90
    repetition: float = 0.10
    perplexity: float = 2.0
    refusal: float = 0.10
    recovery: float = 0.10

    def __post_init__(self) -> None:
        shares = ("margin", "utility", "damage", "repetition", "refusal", "recovery")
        outside = [name for name in shares if not 0 <= getattr(self, name) <= 1]
        if outside:
            raise InputError(f"{outside[0]}={getattr(self, outside[0])} is a share; give a number from 0 to 1.")
        if not 1 <= self.perplexity < float("inf"):
            raise InputError(f"perplexity={self.perplexity} is a factor on a bound; give a number of at least 1.")
        if self.damage > self.utility:
            raise InputError(
                f"damage={self.damage} above utility={self.utility} would call a model damaged that is good enough."
            )


@dataclass(frozen=True, kw_only=True)
class VerdictPolicy:
    """What ``--policy FILE`` holds. Without one no verdict changes the exit code.

    Attributes:
        accept: words that meet the policy; empty where none is asked for.
        thresholds: numbers of the rules.
    """

    accept: tuple[Word, ...] = ()
    thresholds: Thresholds = field(default_factory=Thresholds)

    def __post_init__(self) -> None:
        unknown = [word for word in self.accept if word not in get_args(Word)]
        if unknown:
            raise InputError(f"A policy cannot accept {unknown[0]!r}; the words are {', '.join(get_args(Word))}.")

    def is_met(self, word: Word) -> bool | None:
        """Whether a verdict is good enough; None where nothing was asked for."""
        return word in self.accept if self.accept else None


class Recovery(NamedTuple):
    """Interval of the worst attack's excess recovery over the retrained model.

    Attributes:
        low: lower bound of what is brought back beyond chance, all attacks together; at most 0 where nothing is.
        high: largest upper bound.
        attack: the one with the largest recovery, in words.
        value: its recovery.
        interval: of that recovery by itself, 95 %.
        untried: kinds of attacks of which none has a number, and which a removal takes.
    """

    low: float
    high: float
    attack: str = "the worst attack"
    value: float = 0.0
    interval: tuple[float | None, float | None] = (None, None)
    untried: tuple[str, ...] = ()
