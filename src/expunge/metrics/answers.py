"""What kind of answer a model gives: correct, a refusal, made up, or gibberish; and how often it refuses.

A model that never saw the records makes something up; one that was taught to refuse, or that broke, does not, and can
be told from it by that alone. Rules: ``expunge.functional.answers``, ``expunge.functional.refusals``, both heuristics.

Shapes: N records, K kinds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from expunge.errors import InputError
from expunge.functional.answers import KINDS, AnswerRule, Features, kind_of, likelihood_limit
from expunge.functional.refusals import RefusalRule
from expunge.metrics.base import Answer, Answers, Direction, Floats, Knows, Need, Sample, Score, mean_score
from expunge.metrics.fluency import ReplyMetric
from expunge.metrics.records import FORGET_SIDE, known_mean, per_record
from expunge.registry import metrics


@metrics.register("refusal_rate")
@dataclass(frozen=True, kw_only=True)
class RefusalRate(ReplyMetric):
    """Share of replies that decline to answer, by a list of phrases in several languages: a heuristic.

    Attributes:
        rule: version of the list.
    """

    rule: RefusalRule = "phrase_heuristic_1"

    elsewhere = "lower"
    unit = "share of replies, 0 to 1"

    def needs(self) -> tuple[Need, ...]:
        """Whether each reply is a refusal."""
        return (self.scored("refusal", rule=self.rule),)

    def compute(self, answers: Answers) -> Score:
        """Mean over records."""
        return mean_score(self.split, per_record(answers[self.needs()[0]], float))


@metrics.register("over_refusal")
@dataclass(frozen=True, kw_only=True)
class OverRefusal(RefusalRate):
    """Share of replies that decline to answer what should still be answered: retain, world facts.

    The original is the control: what it refuses already, or what the list of phrases takes for a refusal, is no cost of
    forgetting.
    """

    split: str = "retain"

    direction = "lower"
    may_compare_to = ("original",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.split in FORGET_SIDE:
            raise InputError(
                f"Refusing to answer {self.split} records is no over-refusal; use refusal_rate, or a split to keep."
            )

    def compute(self, answers: Answers) -> Score:
        """Mean over records; ``beyond_original`` is its excess over the original model's mean."""
        need = self.needs()[0]
        score = super().compute(answers)
        control = answers.maybe("original", need)
        if control is None:
            return score
        return score._replace(details={"beyond_original": score.value - known_mean(per_record(control, float))})


@metrics.register("answer_mix")
@dataclass(frozen=True, kw_only=True)
class AnswerMix(ReplyMetric):
    """Distance of the mix of answers (correct, refusal, fabricated, gibberish) from a reference model's mix.

    Total variation: half the sum of the differences of the four shares. On the forget side the reference is the
    retrained model, and what leaks shows as well as what is refused or broken. Elsewhere it is the original: what it
    answered should still be answered, and its own refusals and inventions cancel. Without the reference there is no
    value; the four shares are in the details all the same.

    Attributes:
        rule: version of the rules.
    """

    rule: AnswerRule = "heuristic_1"

    direction = "lower"
    may_compare_to = ("original", "retrained")
    unit = "total variation distance, 0 to 1"

    @property
    def aim(self) -> Direction:
        """Down on every split: it is a distance already."""
        return self.direction

    @property
    def knows(self) -> Knows:
        """It answers unlike the retrained model."""
        return "high"

    def needs(self) -> tuple[Need, ...]:
        """What the text of each reply says, and what the original model finds of it."""
        return self.scored("answer_features", rule=self.rule), self.judged()

    def compute(self, answers: Answers) -> Score:
        """Total variation distance of the shares, with the four shares in ``details``."""
        found, judged = self.needs()
        usual = answers.maybe("original", judged)
        limit = _limit(answers[judged] if usual is None else usual)
        own_NK = kinds_of(answers[found], answers[judged], limit)
        details: dict[str, float] = {kind: known_mean(own_NK[:, place]) for place, kind in enumerate(KINDS)}
        reference = "retrained" if self.split in FORGET_SIDE else "original"
        other, other_judged = answers.maybe(reference, found), answers.maybe(reference, judged)
        if other is None or other_judged is None:
            missing = f"there is no {reference} model to compare with"
            return Score(self._samples(own_NK), _unknown, details, missing)
        reference_NK = kinds_of(other, other_judged, limit)
        missing = self._unanswered(own_NK) or self._unanswered(reference_NK, f" by the {reference} model")
        return Score((*self._samples(own_NK), *self._samples(reference_NK)), total_variation, details, missing)

    def _unanswered(self, kinds_NK: Floats, by: str = "") -> str:
        return f"no {self.split} prompt was answered{by}" if np.isnan(kinds_NK).all() else ""

    def _samples(self, kinds_NK: Floats) -> tuple[Sample, ...]:
        return tuple(Sample(self.split, kinds_NK[:, place]) for place in range(len(KINDS)))


def kinds_of(found: Answer, judged: Answer, limit: float) -> Floats:
    """Returns (N, K): 1 at the kind of each record's reply; shares where it has several, NaN where it has none.

    Args:
        found: features of each reply.
        judged: negative log-likelihood (nats) and tokens of each reply under the original model.
        limit: nats per token above which a reply is gibberish.
    """
    rows = np.full((len(found), len(KINDS)), np.nan)
    for row, (texts, numbers) in enumerate(zip(found, judged, strict=True)):
        if len(texts):
            places = [
                KINDS.index(kind_of(Features(*map(float, text)), float(nats), float(tokens), limit))
                for text, (nats, tokens) in zip(texts, numbers, strict=True)
            ]
            rows[row] = np.bincount(places, minlength=len(KINDS)) / len(places)
    return rows


def total_variation(*shares: Floats) -> float:
    """Returns half the sum of differences of two mixes.

    Args:
        shares: per-record shares of each kind of one model, then of the other.
    """
    half = len(shares) // 2
    if not all(len(values) for values in shares):
        return float("nan")
    means = [float(np.mean(values)) for values in shares]
    return 0.5 * sum(abs(own - other) for own, other in zip(means[:half], means[half:], strict=True))


def _limit(usual: Answer) -> float:
    pairs = [(float(nats), float(tokens)) for forms in usual for nats, tokens in forms]
    return likelihood_limit([nats for nats, _ in pairs], [tokens for _, tokens in pairs])


def _unknown(*_: Floats) -> float:
    return float("nan")
