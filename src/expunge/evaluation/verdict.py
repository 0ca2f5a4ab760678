"""One word for what an audit found, by rules fixed before the run, and plain sentences for why."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from expunge.data.forms.decoy import TESTS
from expunge.evaluation.result import Evaluation, Gap, ScoreRecord
from expunge.evaluation.utility import Kept, worst_kept

Word = Literal[
    "not known", "not removed", "removed", "suppressed", "partly removed", "exposed", "damaged", "not verifiable"
]
KNOWLEDGE = ("extraction_strength", "probability")  # with membership, what the margin applies to
MEMBERSHIP = ("mia_loss", "mia_zlib", "mia_min_k", "mia_min_k_plus_plus")
# Of replies to retain prompts: whether the model still speaks, and answers.
REPETITION, PERPLEXITY, REFUSAL, EMPTY = "repetition", "reply_perplexity", "over_refusal", "empty_rate"
# A difference found at the 5 % level with 80 % power is (1.96 + 0.84) standard errors; half a 95 % interval is 1.96.
DETECTABLE = 2.80 / 1.96
SIGNIFICANT = 0.05


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Fixed in the plan and recorded.

    Attributes:
        margin: equivalence margin on AUC, extraction strength and probability.
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


class Recovery(NamedTuple):
    """Interval of the worst attack's excess recovery over the retrained model."""

    low: float
    high: float


class Verdict(NamedTuple):
    """The word and the sentences that led to it."""

    word: Word
    reasons: tuple[str, ...]


class Measure(NamedTuple):
    """One forget metric of the judged model, beside the original's and, where there is one, the retrained model's."""

    name: str
    original: ScoreRecord
    own: ScoreRecord
    retrained: ScoreRecord | None
    original_gap: Gap | None
    own_gap: Gap | None

    @property
    def membership(self) -> bool:
        """Whether it is a membership attack."""
        return self.name in MEMBERSHIP

    @property
    def moved(self) -> float:
        """How far the value went from the original's in the direction of the retrained model, past it included."""
        if self.original_gap is None or self.own_gap is None:
            return 0.0
        return math.copysign(1.0, self.original_gap.value) * (self.original_gap.value - self.own_gap.value)


def judge(
    evaluation: Evaluation,
    thresholds: Thresholds | None = None,
    *,
    role: str = "unlearned",
    worst_recovery: Recovery | None = None,
) -> Verdict:
    """Applies the rules in their order: not known, damaged, exposed, not removed, partly removed, and what is left.

    Without a retrained model only what needs none can be said: damaged, exposed, or not removed where nothing moved.

    Args:
        evaluation: scores of original, retrained and ``role``.
        thresholds: numbers of the rules.
        role: the model that is judged.
        worst_recovery: outcome of the attacks; None where none was run.
    """
    limits = thresholds or Thresholds()
    measures = _measures(evaluation, role)
    if not measures:
        reason = "No forget metric that decides was read on both models: the suite has none, or a policy hides them."
        return Verdict("not verifiable", (reason,))
    utility = _utility(evaluation, role)
    compared = [measure for measure in measures if _is_number(measure.own_gap) and _is_number(measure.original_gap)]
    known = [measure for measure in compared if _is_apart(measure.original_gap, limits)]
    if compared and not known:
        return _not_known(compared, limits)
    verdict = _damaged(utility, limits) or _speechless(evaluation, role, limits) or _exposed(measures, limits)
    if verdict is not None:
        return verdict
    if not compared:
        return _without_reference(measures, _decoy_ranks(evaluation, role), limits)
    return (
        _not_removed(known, limits) or _partly(compared, limits) or _within(compared, utility, worst_recovery, limits)
    )


def _not_known(compared: list[Measure], limits: Thresholds) -> Verdict:
    same = f"No forget metric tells the original from the retrained model{_by(limits)}."
    if max(_detectable(measure.original_gap) for measure in compared) > limits.margin:
        blunt = "At this size that does not show that the original knows nothing; use more subjects."
        return Verdict("not verifiable", (same, blunt))
    return Verdict("not known", (same,))


def _measures(evaluation: Evaluation, role: str) -> list[Measure]:
    found = []
    for label, traits in evaluation.traits.items():
        original, own = evaluation.get(label, "original"), evaluation.get(label, role)
        if traits.name not in (*KNOWLEDGE, *MEMBERSHIP) or traits.splits[0] != "forget":
            continue
        if original is None or own is None or math.isnan(original.value) or math.isnan(own.value):
            continue
        retrained = evaluation.get(label, "retrained")
        gaps = evaluation.gap(label, "original"), evaluation.gap(label, role)
        found.append(Measure(traits.name, original, own, retrained, *gaps))
    return found


def _utility(evaluation: Evaluation, role: str) -> float | None:
    """What was kept of what should have stayed, relative to the original; the worst split counts."""
    found = []
    for label, traits in evaluation.traits.items():
        original, own = evaluation.get(label, "original"), evaluation.get(label, role)
        if original is not None and own is not None:
            place = traits.name, traits.splits[0], traits.forms[0]
            found.append(Kept(label, *place, own.n, original.value, own.value))
    worst = worst_kept(found)
    return None if worst is None else worst.share


def _damaged(utility: float | None, limits: Thresholds) -> Verdict | None:
    if utility is None or utility >= limits.damage:
        return None
    return Verdict("damaged", (f"Utility fell to {utility:.2f} of the original's, below {limits.damage:.2f}.",))


def _speechless(evaluation: Evaluation, role: str, limits: Thresholds) -> Verdict | None:
    """Replies to retain prompts repeat themselves, refuse, or read worse to the original, beyond the reference's."""
    for label, traits in evaluation.traits.items():
        own, reference = evaluation.get(label, role), _reference(evaluation, label, traits.name)
        if traits.name not in (REPETITION, PERPLEXITY, REFUSAL, EMPTY) or traits.splits[0] != "retain":
            continue
        if own is None or reference is None:
            continue
        bound = _fluent_until(traits.name, reference, limits)
        if math.isnan(own.value):
            silent = f"Replies to retain prompts are empty, and those of the {reference.role} model are not."
            return Verdict("damaged", (silent,))
        if own.value > bound:
            reason = (
                f"Replies to retain prompts are outside the {reference.role} model's range: "
                f"{label} is {own.value:.2f}, and at most {bound:.2f} with tolerance there."
            )
            return Verdict("damaged", (reason,))
    return None


def _reference(evaluation: Evaluation, label: str, name: str) -> ScoreRecord | None:
    """The retrained model's score, or without one the original's; None where that is no number.

    What the original refuses already is the control of over-refusal.
    """
    retrained, original = evaluation.get(label, "retrained"), evaluation.get(label, "original")
    found = original if name == REFUSAL else retrained or original
    return None if found is None or math.isnan(found.value) else found


def _fluent_until(name: str, reference: ScoreRecord, limits: Thresholds) -> float:
    """Upper end of the reference's interval with the tolerance; of its value where it has no interval."""
    high = reference.value if reference.high is None else reference.high
    if name == PERPLEXITY:
        return high * limits.perplexity
    return high + (limits.repetition if name == REPETITION else limits.refusal)


def _exposed(measures: list[Measure], limits: Thresholds) -> Verdict | None:
    below = [measure for measure in measures if measure.membership and _stands_out(measure, limits)]
    if not below:
        return None
    worst = min(below, key=lambda measure: measure.own.value)
    reference = "" if worst.retrained is None else f" ({worst.retrained.value:.2f} for the retrained model)"
    reason = (
        "Forget records stand out as less likely than records never seen: "
        f"{worst.own.label} is {worst.own.value:.2f}{reference}. Whoever looks for that finds them."
    )
    return Verdict("exposed", (reason,))


def _stands_out(measure: Measure, limits: Thresholds) -> bool:
    """Below one half by more than the margin, beyond chance, and further than the original and the retrained model."""
    own, retrained = measure.own, measure.retrained
    # With too few subjects for an interval the exact test over records decides.
    shown = own.high < 0.5 if own.high is not None else own.details.get("p", 1.0) < SIGNIFICANT
    further = retrained is None or own.value < retrained.value - limits.margin
    return own.value < min(0.5, measure.original.value) - limits.margin and shown and further


class Ranks(NamedTuple):
    """Decoy ranks of one kind, of the original and the judged model."""

    original: ScoreRecord
    own: ScoreRecord

    def sentence(self) -> str:
        """What they show, or do not."""
        count, records = self.own.details["significant"], self.own.details["records"]
        return (
            f"Approximate reference: {count:.0f} of {records:.0f} values stand out among their decoys "
            f"({self.own.label} is {self.own.value:.3f}, {self.original.value:.3f} for the original, "
            f"0.5 where nothing shows; p {self.own.details['holm_p']:.2g} after Holm)."
        )


def _decoy_ranks(evaluation: Evaluation, role: str) -> list[Ranks]:
    found = []
    for label, traits in evaluation.traits.items():
        original, own = evaluation.get(label, "original"), evaluation.get(label, role)
        if traits.name != "decoy_rank" or traits.splits[0] != "forget" or traits.forms[0] not in TESTS:
            continue
        if original is not None and own is not None and not math.isnan(own.value):
            found.append(Ranks(original, own))
    return found


def _without_reference(measures: list[Measure], ranks: list[Ranks], limits: Thresholds) -> Verdict:
    """Decoy ranks are told and decide nothing: a value with a pattern is likelier than random ones to any model."""
    missing = "No retrained model was handed in, so there is nothing to compare with."
    seen = [rank.sentence() for rank in ranks]
    if all(abs(measure.own.value - measure.original.value) <= limits.margin for measure in measures):
        return Verdict(
            "not removed", (f"No forget metric moved from the original's value{_by(limits)}.", missing, *seen)
        )
    return Verdict("not verifiable", (missing, *seen))


def _not_removed(known: list[Measure], limits: Thresholds) -> Verdict | None:
    if any(measure.moved > limits.margin for measure in known):
        return None
    return Verdict("not removed", (f"No forget metric moved towards the retrained model{_by(limits)}.",))


def _partly(compared: list[Measure], limits: Thresholds) -> Verdict | None:
    outside = [measure for measure in compared if _is_apart(measure.own_gap, limits)]
    if not outside:
        return None
    reason = (
        f"{len(outside)} of {len(compared)} forget metrics are further than {limits.margin} from the retrained model; "
        f"{'; '.join(_furthest(outside))}."
    )
    return Verdict("partly removed", (reason,))


def _furthest(outside: list[Measure]) -> list[str]:
    """Of each metric the form that is furthest; a distance of one metric says nothing beside that of another."""
    found = []
    for name in dict.fromkeys(measure.name for measure in outside):
        gaps = [(one.own_gap.value, one.own) for one in outside if one.name == name and one.own_gap is not None]
        gap, own = max(gaps, key=lambda pair: abs(pair[0]))
        found.append(f"{own.label} is {own.value:.2f}, and {own.value - gap:.2f} there")
    return found


def _within(compared: list[Measure], utility: float | None, recovery: Recovery | None, limits: Thresholds) -> Verdict:
    """No metric is shown to be outside the margin: what do the attacks, the size and the utility say?"""
    within = f"No forget metric is shown to be further than {limits.margin} from the retrained model."
    if recovery is not None and recovery.low > 0:
        back = f"An attack brings back at least {recovery.low:.2f} of what was forgotten."
        return Verdict("suppressed", (within, back))
    blunt = [measure for measure in compared if _detectable(measure.own_gap) > limits.margin]
    missing = [f"At this size {_size_reason(blunt, limits)}; use more subjects."] if blunt else []
    open_ended = [measure for measure in compared if measure not in blunt and not _is_inside(measure.own_gap, limits)]
    if open_ended:
        missing.append(f"The intervals of {len(open_ended)} forget metrics reach beyond the margin.")
    if recovery is None:
        missing.append("Robustness was not tested, so removal cannot be told from suppression.")
    elif recovery.high > limits.recovery:
        missing.append(f"An attack may bring back as much as {recovery.high:.2f}, above {limits.recovery:.2f}.")
    if utility is None:
        missing.append("Utility is not known; hand in records to keep.")
    if missing:
        return Verdict("not verifiable", (within, *missing))
    if utility is not None and utility < limits.utility:
        cost = f"Utility is {utility:.2f} of the original's, below the {limits.utility:.2f} asked of a removal."
        return Verdict("partly removed", (within, cost))
    shown = f"Utility is {utility:.2f} of the original's; no attack brings back more than {limits.recovery:.2f}."
    return Verdict("removed", (within, shown))


def _is_number(gap: Gap | None) -> bool:
    return gap is not None and not math.isnan(gap.value)


def _is_apart(gap: Gap | None, limits: Thresholds) -> bool:
    """Further than the margin, and beyond chance where there is an interval."""
    if gap is None or abs(gap.value) <= limits.margin:
        return False
    return gap.low is None or gap.high is None or gap.low > 0 or gap.high < 0


def _is_inside(gap: Gap | None, limits: Thresholds) -> bool:
    """Shown to be within the margin: the whole interval is. Two one-sided tests, here at 2.5 % each."""
    return gap is not None and all(bound is not None and abs(bound) <= limits.margin for bound in (gap.low, gap.high))


def _detectable(gap: Gap | None) -> float:
    """Smallest difference from the retrained model that these records would show; unknown without an interval."""
    if gap is None or gap.low is None or gap.high is None:
        return math.inf
    return DETECTABLE * (gap.high - gap.low) / 2


def _size_reason(blunt: list[Measure], limits: Thresholds) -> str:
    worst = max(_detectable(measure.own_gap) for measure in blunt)
    if math.isinf(worst):
        return f"{len(blunt)} forget metrics have no interval"
    return (
        f"{len(blunt)} forget metrics would show a difference only from {worst:.2f}, and the margin is {limits.margin}"
    )


def _by(limits: Thresholds) -> str:
    return f" by more than {limits.margin}"
