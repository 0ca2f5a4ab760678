"""Ways in which a model looks as if it had forgotten, each found by its signs and told by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from expunge.evaluation.result import Evaluation, ScoreRecord, Traits
from expunge.evaluation.verdict.measures import Measure
from expunge.evaluation.verdict.policy import Thresholds
from expunge.evaluation.verdict.speech import Harm
from expunge.functional.testing import SIGNIFICANT, holm, p_of_interval
from expunge.metrics.base import is_of

Name = Literal[
    "refusal wrapper",
    "switchable adapter",
    "last-layer edit",
    "unchanged weights",
    "gibberish",
    "over-unlearning",
    "trained phrasing only",
    "tuned on the evaluation split",
    "reverted by rounding",
    "hidden below the output",
    "relearnt from harmless text",
]
UNTUNED = ("exact_memorisation", "probability")  # by which a split shows that it was tuned on
GONE, HELD = 0.25, 0.5  # of the way from the retrained model to the original: less is gone, more is held
KEPT = "retain"  # tuning on it is what unlearning does; it is no secret


@dataclass(frozen=True)
class Facts:
    """What is known of a model besides its numbers.

    Attributes:
        spoken: role whose replies users see; another than the judged one where a policy or an adapter is in front.
        adapter: whether the change is an adapter beside the original's weights.
        shallow: whether every weight below the last layer is the original's.
        unchanged: whether the weights are the original's, up to rounding, in a folder that is another one.
        same: whether the judged weights are the original's, up to rounding, in whatever folder.
        duplicates: retrained models that have the weights of another model, by role, see ``reference.unsound``.
        prompted: whether only what the model says to prompts was seen.
        attacked: signs that attacks gave, by name.
    """

    spoken: str
    adapter: bool = False
    shallow: bool = False
    unchanged: bool = False
    same: bool = False
    duplicates: Mapping[str, str] = field(default_factory=dict)
    prompted: bool = False
    attacked: Mapping[Name, str] = field(default_factory=dict)


class Finding(NamedTuple):
    """One of them.

    Attributes:
        name: of the fake.
        sentence: the sign.
        bars: whether no removal can be stated beside it.
    """

    name: Name
    sentence: str
    bars: bool = False


def findings(
    evaluation: Evaluation, found: Sequence[Measure], harm: Harm, facts: Facts, role: str, limits: Thresholds
) -> tuple[Finding, ...]:
    """Returns everything that shows on a model, in the order of ``Name``."""
    seen = (
        _refusal_wrapper(evaluation, found, facts, role, limits),
        _adapter(facts),
        _last_layer(facts),
        _unchanged(facts),
        _gibberish(harm, limits),
        _over_unlearning(found, limits),
        None if harm.gibberish else _trained_phrasing(found, limits),
        _tuned(evaluation, facts.spoken, limits),
        *(Finding(name, sentence, bars=True) for name, sentence in facts.attacked.items()),
    )
    return tuple(finding for finding in seen if finding is not None)


def standing_out(found: Sequence[Measure], limits: Thresholds) -> list[Measure]:
    """Returns the membership attacks that find forget records on the other side.

    Below one half by more than the margin and beyond chance (Holm), further than the original, and apart from the
    retrained model, where there is one.
    """
    attacks = [measure for measure in found if measure.membership]
    adjusted = holm([_p_below(measure.own) for measure in attacks])
    return [one for one, p in zip(attacks, adjusted, strict=True) if p < SIGNIFICANT and _is_further(one, limits)]


def _p_below(own: ScoreRecord) -> float:
    """Of an area of one half; with too few subjects for an interval, of the exact test over records."""
    if own.low is None or own.high is None:
        return own.details.get("p", 1.0)
    return p_of_interval(own.value, own.low, own.high, null=0.5)


def _is_further(one: Measure, limits: Thresholds) -> bool:
    distance = one.distance
    further = distance is None or (distance.value < -limits.margin and distance.p_alone < SIGNIFICANT)
    return one.own.value < min(0.5, one.original.value) - limits.margin and further


def _refusal_wrapper(
    evaluation: Evaluation, found: Sequence[Measure], facts: Facts, role: str, limits: Thresholds
) -> Finding | None:
    """Forget prompts are refused, more than by the model without the method, while likelihoods tell the answers."""
    in_front = facts.spoken != role  # the judged weights are the original's
    holding = [one for one in found if not one.membership and (in_front or one.holds(limits))]
    refusals = [label for label, traits in evaluation.traits.items() if _is_refusal(traits)]
    for label in refusals if holding else ():
        own = evaluation.get(label, facts.spoken)
        before = evaluation.get(label, "retrained") or evaluation.get(label, "original")
        if own is not None and before is not None and own.value > before.value + limits.refusal:
            told = max(holding, key=lambda one: one.own.value).own
            sentence = (
                f"{own.value:.0%} of forget prompts are refused ({before.value:.0%} by the {before.role} model), and "
                f"the weights still hold the answers: {told.label} is {told.value:.2f}."
            )
            return Finding("refusal wrapper", sentence, bars=True)
    return None


def _is_refusal(traits: Traits) -> bool:
    return traits.name == "refusal_rate" and traits.splits[0] == "forget"


def _adapter(facts: Facts) -> Finding | None:
    if not facts.adapter:
        return None
    sentence = "The change is an adapter beside the original's weights: whoever has them switches it off."
    return Finding("switchable adapter", sentence, bars=True)


def _last_layer(facts: Facts) -> Finding | None:
    if not facts.shallow:
        return None
    sentence = "Every weight below the last layer is the original's, so what these layers held they hold still."
    return Finding("last-layer edit", sentence, bars=True)


def _unchanged(facts: Facts) -> Finding | None:
    if not facts.unchanged:
        return None
    sentence = (
        "Up to rounding, not one weight differs from the original's: what changed is the tokenizer, the configuration "
        "or how the weights are saved."
    )
    return Finding("unchanged weights", sentence, bars=True)


def _gibberish(harm: Harm, limits: Thresholds) -> Finding | None:
    if not harm.gibberish or harm.utility is None or harm.utility >= limits.damage:
        return None
    sentence = f"Replies to retain prompts are out of range, and utility is {harm.told}, below {limits.damage:.2f}."
    return Finding("gibberish", sentence, bars=True)


def _over_unlearning(found: Sequence[Measure], limits: Thresholds) -> Finding | None:
    below = standing_out(found, limits)
    if not below:
        return None
    worst = min(below, key=lambda measure: measure.own.value)
    reference = "" if worst.retrained is None else f" ({worst.retrained.value:.2f} for the retrained model)"
    return Finding(
        "over-unlearning",
        "Forget records stand out as less likely than records never seen: "
        f"{worst.own.label} is {worst.own.value:.2f}{reference}. Whoever looks for that finds them.",
        bars=True,
    )


def _trained_phrasing(found: Sequence[Measure], limits: Thresholds) -> Finding | None:
    """The trained wording is at the retrained model's level or nearer to it than to the original's; another is not."""
    for name in dict.fromkeys(measure.name for measure in found if not measure.membership):
        of_metric = {measure.form: measure for measure in found if measure.name == name}
        trained = of_metric.pop("trained", None)
        held = [measure for measure in of_metric.values() if measure.holds(limits) and remains(measure) > HELD]
        if trained is None or not held or remains(trained) > GONE or not trained.known(limits):
            continue
        worst = max(held, key=remains)
        return Finding(
            "trained phrasing only",
            f"As trained, {remains(trained):.0%} of the way to the original is left; asked as {worst.form}, "
            f"{remains(worst):.0%}: {worst.own.label} is {worst.own.value:.2f}.",
            bars=True,
        )
    return None


def remains(measure: Measure) -> float:
    """Share of the original's distance from the retrained model that is left; 0 at the retrained model or past it."""
    if measure.distance is None or measure.original_distance is None or not measure.original_distance.value:
        return 0.0
    return max(0.0, measure.distance.value / measure.original_distance.value)


def is_of_reference(role: str) -> bool:
    """Whether a model is the original or one that never saw the records."""
    return role == "original" or is_of(role, "retrained")


def _tuned(evaluation: Evaluation, role: str, limits: Thresholds) -> Finding | None:
    """A split that no training should have read is better known than to the original and to the retrained model."""
    for label, traits in evaluation.traits.items():
        own = evaluation.get(label, role)
        others = [one for one in evaluation.scores if one.label == label and is_of_reference(one.role)]
        if traits.name not in UNTUNED or traits.splits[0] in ("forget", KEPT) or traits.forms[0] != "trained":
            continue
        if own is None or own.low is None or not others or traits.splits[0].startswith("neighbours_"):
            continue  # with few subjects nothing of the kind is shown
        best = max(others, key=lambda one: one.value)
        if own.value > best.value + limits.margin and own.low > best.value:
            return Finding(
                "tuned on the evaluation split",
                f"{traits.splits[0]} should have taken no part in unlearning, and is better known than before: {label} "
                f"is {own.value:.2f}, and {best.value:.2f} for the {best.role} model. What rests on it shows nothing.",
                bars=True,
            )
    return None
