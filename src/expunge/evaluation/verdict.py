"""One word for what an audit found, by rules fixed before the run, and plain sentences for why."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from expunge.evaluation.result import Evaluation, ScoreRecord

Word = Literal[
    "not known", "not removed", "removed", "suppressed", "partly removed", "exposed", "damaged", "not verifiable"
]
KNOWLEDGE = ("extraction_strength(", "probability(")  # families on the forget set that the margin applies to
MEMBERSHIP = ("mia_",)


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Fixed in the plan and recorded.

    Attributes:
        margin: equivalence margin on AUC, extraction strength and probability.
        utility: least utility, relative to the original, of a removal.
        damage: utility below this is damage.
        recovery: largest upper bound of the worst attack's excess recovery that still counts as removed.
    """

    margin: float = 0.05
    utility: float = 0.95
    damage: float = 0.90
    recovery: float = 0.10


class Recovery(NamedTuple):
    """Interval of the worst attack's excess recovery over the retrained model."""

    low: float
    high: float


class Verdict(NamedTuple):
    """The word and the sentences that led to it."""

    word: Word
    reasons: tuple[str, ...]


class _Triple(NamedTuple):
    """One metric on the three models."""

    label: str
    original: float
    retrained: float
    unlearned: ScoreRecord

    @property
    def gap(self) -> float:
        """Distance of the unlearned from the retrained model."""
        return abs(self.unlearned.value - self.retrained)

    @property
    def moved(self) -> float:
        """How much nearer to the retrained model than the original is."""
        return abs(self.original - self.retrained) - self.gap


def judge(
    evaluation: Evaluation,
    thresholds: Thresholds | None = None,
    *,
    role: str = "unlearned",
    worst_recovery: Recovery | None = None,
) -> Verdict:
    """Applies the rules in their order: not known, damaged, exposed, not removed, partly removed, and what is left.

    Args:
        evaluation: scores of original, retrained and ``role``.
        thresholds: numbers of the rules.
        role: the model that is judged.
        worst_recovery: outcome of the attacks; None where none was run.
    """
    limits = thresholds or Thresholds()
    if "retrained" not in evaluation.roles:
        return Verdict("not verifiable", ("No retrained model was handed in, so there is nothing to compare with.",))
    knowledge = _triples(evaluation, KNOWLEDGE, role)
    if not knowledge:
        return Verdict("not verifiable", ("No forget metric could be read on all three models.",))
    if all(abs(triple.original - triple.retrained) <= limits.margin for triple in knowledge):
        return Verdict(
            "not known", (f"The original is within {limits.margin} of the retrained model on every forget metric.",)
        )
    utility = _utility(evaluation, role)
    return (
        _damaged(utility, limits)
        or _exposed(_triples(evaluation, MEMBERSHIP, role), limits)
        or _moved(knowledge, limits)
        or _within(knowledge, _triples(evaluation, MEMBERSHIP, role), utility, worst_recovery, limits)
    )


def _triples(evaluation: Evaluation, families: tuple[str, ...], role: str) -> list[_Triple]:
    found = []
    for label in dict.fromkeys(score.label for score in evaluation.scores):
        if not label.startswith(families) or "split=forget" not in label:
            continue
        three = [evaluation.get(label, name) for name in ("original", "retrained", role)]
        if all(score is not None and not math.isnan(score.value) for score in three):
            original, retrained, own = three
            found.append(_Triple(label, original.value, retrained.value, own))  # type: ignore[union-attr, arg-type]
    return found


def _utility(evaluation: Evaluation, role: str) -> float | None:
    """Token accuracy on the retain set relative to the original; the worst split counts."""
    ratios = []
    for score in evaluation.scores:
        if score.role == role and score.label.startswith("exact_memorisation(") and "split=forget" not in score.label:
            original = evaluation.get(score.label, "original")
            if original is not None and original.value > 0:
                ratios.append(score.value / original.value)
    return min(ratios) if ratios else None


def _damaged(utility: float | None, limits: Thresholds) -> Verdict | None:
    if utility is None or utility >= limits.damage:
        return None
    return Verdict("damaged", (f"Utility fell to {utility:.2f} of the original's, below {limits.damage:.2f}.",))


def _exposed(membership: list[_Triple], limits: Thresholds) -> Verdict | None:
    below = [
        triple
        for triple in membership
        if triple.unlearned.value < 0.5 - limits.margin and triple.unlearned.value < triple.retrained - limits.margin
    ]
    if not below:
        return None
    worst = min(below, key=lambda triple: triple.unlearned.value)
    return Verdict(
        "exposed",
        (
            f"Forget records stand out as less likely than records never seen: {worst.label} is {worst.unlearned.value:.2f}, "
            f"{worst.retrained:.2f} for the retrained model. Whoever looks for that finds them.",
        ),
    )


def _moved(knowledge: list[_Triple], limits: Thresholds) -> Verdict | None:
    if not any(triple.moved > limits.margin for triple in knowledge):
        return Verdict(
            "not removed", (f"No forget metric moved towards the retrained model by more than {limits.margin}.",)
        )
    outside = [triple for triple in knowledge if triple.gap > limits.margin]
    if not outside:
        return None
    worst = max(outside, key=lambda triple: triple.gap)
    return Verdict(
        "partly removed",
        (
            f"{len(outside)} of {len(knowledge)} forget metrics are further than {limits.margin} from the retrained model; "
            f"{worst.label} is {worst.unlearned.value:.2f} and {worst.retrained:.2f} there.",
        ),
    )


def _within(
    knowledge: list[_Triple],
    membership: list[_Triple],
    utility: float | None,
    recovery: Recovery | None,
    limits: Thresholds,
) -> Verdict:
    within = f"Every forget metric is within {limits.margin} of the retrained model."
    blunt = [triple for triple in (*knowledge, *membership) if _half_width(triple.unlearned) > limits.margin]
    if recovery is not None and recovery.low > 0:
        return Verdict(
            "suppressed", (within, f"An attack brings back at least {recovery.low:.2f} of what was forgotten.")
        )
    if blunt:
        return Verdict(
            "not verifiable",
            (
                within,
                f"At this size {len(blunt)} of these numbers are not known to within the margin; use more subjects.",
            ),
        )
    if recovery is None:
        return Verdict(
            "not verifiable", (within, "Robustness was not tested, so removal cannot be told from suppression.")
        )
    if utility is not None and utility >= limits.utility and recovery.high <= limits.recovery:
        return Verdict(
            "removed", (within, f"Utility is {utility:.2f}; no attack brings back more than {recovery.high:.2f}.")
        )
    known = "unknown" if utility is None else f"{utility:.2f}"
    return Verdict(
        "partly removed",
        (within, f"Utility is {known} (at least {limits.utility} asked), recovery at most {recovery.high:.2f}."),
    )


def _half_width(score: ScoreRecord) -> float:
    """Half of the interval; without one nothing is known."""
    if score.low is None or score.high is None:
        return math.inf
    return (score.high - score.low) / 2
