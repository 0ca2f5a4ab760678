"""The rules in their order, from an unsound reference and the original's own weights to what is left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from expunge.evaluation.reduce import MIN_SUBJECTS
from expunge.evaluation.result import Evaluation
from expunge.evaluation.verdict.findings import Facts, Finding, findings
from expunge.evaluation.verdict.measures import RETRAINED, Distance, Measure, measures, unread
from expunge.evaluation.verdict.policy import Recovery, Thresholds, Word
from expunge.evaluation.verdict.ranks import Ranks, decoy_ranks
from expunge.evaluation.verdict.reference import recited, unsound, verbatim
from expunge.evaluation.verdict.speech import Harm, harm
from expunge.functional.testing import subjects_needed
from expunge.metrics.base import is_of


class Verdict(NamedTuple):
    """The word and what led to it.

    Attributes:
        word: the verdict.
        reasons: sentences.
        findings: fakes that were recognised.
        measures: metrics that decided.
        reference: why retrained models support no verdict; empty where they do.
    """

    word: Word
    reasons: tuple[str, ...]
    findings: tuple[Finding, ...] = ()
    measures: tuple[Measure, ...] = ()
    reference: tuple[str, ...] = ()


class _Ruling(NamedTuple):
    word: Word
    reasons: tuple[str, ...]


def judge(
    evaluation: Evaluation,
    thresholds: Thresholds | None = None,
    *,
    role: str = "unlearned",
    facts: Facts | None = None,
    worst_recovery: Recovery | None = None,
) -> Verdict:
    """Applies the rules.

    Retrained models are tested first, see ``reference.unsound``: an unsound one allows *not verifiable* alone.
    Without a retrained model only what needs none can be said: damaged, exposed, or not removed where nothing moved.

    Args:
        evaluation: scores of original, retrained models and ``role``.
        thresholds: numbers of the rules.
        role: the model that is judged.
        facts: what is known of it besides its numbers.
        worst_recovery: outcome of the attacks; None where none was run.
    """
    limits = thresholds or Thresholds()
    known = facts or Facts(spoken=role)
    found = measures(evaluation, role)
    harmed = harm(evaluation, role, limits)
    seen = findings(evaluation, found, harmed, known, role, limits)
    unfit = unsound(evaluation, known.duplicates)
    if unfit:
        ruling = _Ruling("not verifiable", unfit)
    elif not found:
        none = "No forget metric that decides was read on both models: the suite has none, or a policy hides them."
        if known.prompted:
            none = (
                "Prompts alone show no forget metric that decides on both models; hand in --original and --retrained."
            )
        ruling = _Ruling("not verifiable", (none,))
    else:
        ranks = decoy_ranks(evaluation, role)
        barred = tuple(finding.sentence for finding in seen if finding.bars)
        if known.prompted:
            barred = (*barred, "Only replies to prompts were seen, and a filter before the model would give the same.")
        barred = (*barred, *_gaps_in(evaluation, found, role))
        case = _Case(found, seen, harmed, barred, worst_recovery)
        ruling = (_same_weights(evaluation, found, limits) if known.same else None) or _rule(case, ranks, limits)
    told = tuple(finding.sentence for finding in seen if finding.sentence not in ruling.reasons)
    return Verdict(ruling.word, (*ruling.reasons, *told), seen, tuple(found), unfit)


def _gaps_in(evaluation: Evaluation, found: Sequence[Measure], role: str) -> list[str]:
    """What should have been read before a removal is stated: everything the others have, other forms, an attack."""
    said = []
    if missing := unread(evaluation, role):
        said.append(f"{len(missing)} forget metrics have a number for the other models and none for this one.")
    if len({measure.form for measure in found if not measure.membership}) < 2:
        said.append("The forget set was read in one form only; hand in others, or leave --forms to make some.")
    if not any(measure.membership for measure in found):
        said.append("No membership attack was read; hand in records of the same kind with --holdout.")
    return said


class _Case(NamedTuple):
    """Everything that the rules look at.

    Attributes:
        found: metrics that decide.
        seen: fakes that were recognised.
        harm: what unlearning did to what should have stayed.
        barred: why no removal can be stated, whatever the numbers.
        recovery: outcome of the attacks.
    """

    found: Sequence[Measure]
    seen: Sequence[Finding]
    harm: Harm
    barred: tuple[str, ...]
    recovery: Recovery | None


def _rule(case: _Case, ranks: Sequence[Ranks], limits: Thresholds) -> _Ruling:
    found, seen, harmed, barred, recovery = case
    compared = [measure for measure in found if measure.distance is not None and measure.original_distance is not None]
    known = [measure for measure in compared if measure.known(limits)]
    if compared and not known:
        return _not_known(compared, limits)
    if compared and (unmoved := _not_removed(known, limits)) is not None:
        return unmoved
    if damages := harmed.reasons(limits):
        return _Ruling("damaged", (*damages, *_still_known(known, limits)))
    exposed = [finding.sentence for finding in seen if finding.name == "over-unlearning"]
    if exposed:
        return _Ruling("exposed", tuple(exposed))
    if not compared:
        return _without_reference(found, ranks, limits)
    return _partly(compared, limits) or _within(compared, barred, harmed, recovery, limits)


def _still_known(known: Sequence[Measure], limits: Thresholds) -> list[str]:
    """What a damaged model still knows beyond the retrained model: damage must not hide it."""
    held = [measure for measure in known if measure.holds(limits)]
    return [f"The model still knows more than the retrained model: {'; '.join(_furthest(held))}."] if held else []


def _not_known(compared: Sequence[Measure], limits: Thresholds) -> _Ruling:
    same = f"No forget metric is shown to tell the original from the retrained model{_by(limits)}."
    if not all(_lacks(one, limits) for one in compared):
        blunt = [one for one in compared if one.original_distance and one.original_distance.detectable > limits.margin]
        enough = _enough([(one, one.original_distance, one.original.n) for one in blunt], limits)
        little = f"At this size that does not show that the original knows nothing; {enough}."
        return _Ruling("not verifiable", (same, little))
    return _Ruling("not known", (same,))


def _same_weights(evaluation: Evaluation, found: Sequence[Measure], limits: Thresholds) -> _Ruling | None:
    """Rules that the original's weights removed nothing, at any number of records; None unless it knows the records.

    With too few records for a test, the original knows them if it completes more answers than any retrained model.
    """
    own = verbatim(evaluation, "original")
    others = [verbatim(evaluation, role) for role in evaluation.roles if is_of(role, RETRAINED)]
    compared = [measure for measure in found if measure.original_distance is not None]
    lacks = compared and all(_lacks(one, limits) for one in compared)
    if lacks or not (any(one.known(limits) for one in compared) or own > max(others, default=0)):
        return None
    same = "The judged weights are the original's, up to rounding."
    says = f"The original completes {recited(own)}." if own else ""
    return _Ruling("not removed", tuple(filter(None, (same, says))))


def _lacks(measure: Measure, limits: Thresholds) -> bool:
    """Whether the original is shown to be where the retrained model is, by records that would show a difference."""
    distance, margin = measure.original_distance, limits.margin
    return distance is not None and distance.detectable <= margin and distance.standing(margin) == "inside"


def _without_reference(found: Sequence[Measure], ranks: Sequence[Ranks], limits: Thresholds) -> _Ruling:
    """Decoy ranks are told and decide nothing: a value with a pattern is likelier than random ones to any model."""
    missing = "No retrained model was handed in, so there is nothing to compare with."
    seen = [rank.sentence() for rank in ranks]
    if all(abs(measure.own.value - measure.original.value) <= limits.margin for measure in found):
        still = f"No forget metric moved from the original's value{_by(limits)}."
        return _Ruling("not removed", (still, missing, *seen))
    return _Ruling("not verifiable", (missing, *seen))


def _not_removed(known: Sequence[Measure], limits: Thresholds) -> _Ruling | None:
    if any(measure.moved > limits.margin for measure in known):
        return None
    return _Ruling("not removed", (f"No forget metric moved towards the retrained model{_by(limits)}.",))


def _partly(compared: Sequence[Measure], limits: Thresholds) -> _Ruling | None:
    outside = [measure for measure in compared if measure.stands(limits) == "outside"]
    if not outside:
        return None
    reason = (
        f"{len(outside)} of {len(compared)} forget metrics {'is' if len(outside) == 1 else 'are'} further than "
        f"{limits.margin} from the retrained model; "
        f"{'; '.join(_furthest(outside))}."
    )
    return _Ruling("partly removed", (reason,))


def _furthest(outside: Sequence[Measure]) -> list[str]:
    """Of each metric the form that is furthest; a distance of one metric says nothing beside that of another."""
    found = []
    for name in dict.fromkeys(measure.name for measure in outside):
        of_metric = [one for one in outside if one.name == name]
        worst = max(of_metric, key=lambda one: abs(_distance(one)))
        reference = worst.own.value - _distance(worst)
        found.append(f"{worst.own.label} is {worst.own.value:.2f}, versus {reference:.2f} for the retrained model")
    return found


def _distance(measure: Measure) -> float:
    return math.nan if measure.distance is None else measure.distance.value


def _within(
    compared: Sequence[Measure],
    barred: Sequence[str],
    harmed: Harm,
    recovery: Recovery | None,
    limits: Thresholds,
) -> _Ruling:
    """No metric is shown to be outside the margin: what do the attacks, the size and the utility say?"""
    within = f"No forget metric is shown to be further than {limits.margin} from the retrained model."
    if recovery is not None and recovery.low > 0:
        back = f"An attack, {recovery.attack}, brings back at least {recovery.low:.2f} of what was forgotten."
        return _Ruling("suppressed", (within, back))
    missing = [*_open(compared, limits), *barred]
    if recovery is None:
        missing.append("Robustness was not tested, so removal cannot be told from suppression.")
    elif not recovery.high <= limits.recovery:
        missing.append(f"An attack may bring back as much as {recovery.high:.2f}, above {limits.recovery:.2f}.")
    if recovery is not None and recovery.untried:
        missing.append(f"Of the attacks that a removal has to stand, none by {', '.join(recovery.untried)} was run.")
    utility = harmed.utility
    if utility is None:
        missing.append("Utility is not known; hand in records to keep.")
    if missing:
        return _Ruling("not verifiable", (within, *missing))
    if utility is not None and utility < limits.utility and harmed.beside < 0:
        cost = f"Utility is {utility:.2f} of the original's, below the {limits.utility:.2f} asked of a removal."
        return _Ruling("partly removed", (within, cost))
    shown = f"Utility is {utility:.2f} of the original's; no attack brings back more than {limits.recovery:.2f}."
    return _Ruling("removed", (within, shown))


def _open(compared: Sequence[Measure], limits: Thresholds) -> list[str]:
    """What the size leaves open: metrics that would not show a difference of the margin, or may differ by more."""
    found = []
    blunt = [one for one in compared if one.distance is None or one.distance.detectable > limits.margin]
    if blunt:
        found.append(f"At this size {_size_reason(blunt, limits)}.")
    open_ended = [one for one in compared if one not in blunt and one.stands(limits) != "inside"]
    if open_ended:
        found.append(f"The intervals of {len(open_ended)} forget metrics reach beyond the margin.")
    return found


def _size_reason(blunt: Sequence[Measure], limits: Thresholds) -> str:
    """Metrics without an interval come first: of those no number of subjects can be worked out."""
    without = [one for one in blunt if one.distance is None or math.isinf(one.distance.detectable)]
    if without:
        few = max(one.own.n for one in without) < MIN_SUBJECTS
        needed = f"an interval needs at least {MIN_SUBJECTS} subjects" if few else "use more subjects"
        return f"{len(without)} forget metrics have no interval; {needed}"
    worst = max(one.distance.detectable for one in blunt if one.distance is not None)
    return (
        f"{len(blunt)} forget metrics would show a difference only from {worst:.2f}, and the margin is {limits.margin};"
        f" {_enough([(one, one.distance, one.own.n) for one in blunt], limits)}"
    )


def _enough(blunt: Sequence[tuple[Measure, Distance | None, int]], limits: Thresholds) -> str:
    """How many subjects would show a difference of the margin, to the metric that needs most of them."""
    needed = {
        number: measure.membership
        for measure, distance, n in blunt
        if distance is not None and (number := subjects_needed(n, distance.detectable, limits.margin)) is not None
    }
    if not needed:
        return "use more subjects"
    most = max(needed)
    where = " in the forget set and as many in the holdout set" if needed[most] else ""
    return f"about {most:,} subjects{where} would show a difference of {limits.margin}"


def _by(limits: Thresholds) -> str:
    return f" by more than {limits.margin}"
