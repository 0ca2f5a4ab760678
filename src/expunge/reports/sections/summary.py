"""The strip under the verdict: forgetting, utility, membership and robustness, a number and a sentence each."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from expunge.evaluation.reduce import MIN_SUBJECTS
from expunge.functional.testing import detectable_auc, detectable_mean
from expunge.reports.headline import headline
from expunge.reports.reading import ORIGINAL, RETRAINED, Reading, Value, is_membership, value_of
from expunge.reports.svg import number
from expunge.reports.words import Label, counted, sentence, title, words

NOT_MEASURED = "not measured"


class Tile(NamedTuple):
    """One number of the strip, the retrained model's beside it, and a sentence."""

    title: str
    value: str
    interval: str
    retrained: str
    words: str


def tiles(reading: Reading) -> list[Tile]:
    """Returns the four tiles; what was not measured says so."""
    return [_forgetting(reading), _utility(reading), _membership(reading), _robustness(reading)]


def small_sample(reading: Reading) -> str:
    """Returns what a forget set of fewer than ten subjects cannot show; nothing for a larger one."""
    sizes = [
        score["n"]
        for label in reading.forget_labels()
        if (score := reading.score(label, reading.candidate)) is not None and score["n"]
    ]
    n = max(sizes, default=0)  # a metric that could not read every subject does not make the forget set smaller
    if not sizes or n >= MIN_SUBJECTS:
        return ""
    return (
        f"The forget set has {counted(n, 'subject')}, fewer than {MIN_SUBJECTS}, so its numbers have no interval. "
        f"A difference would be found reliably (5 % level, 80 % power) only from about {number(detectable_auc(n))} in "
        f"the area under a ROC curve, and in a mean score from {number(detectable_mean(n))} at worst."
    )


def shown(value: Value) -> str:
    """A number as the report shows it: three significant digits."""
    return number(value.value) if value.known else NOT_MEASURED


def interval(value: Value) -> str:
    """An interval in words, nothing without one."""
    return "" if value.low is None or value.high is None else f"{number(value.low)} to {number(value.high)}"


def share(value: float) -> str:
    """A share as a percentage."""
    return f"{100 * value:.0f} %"


def complement(value: Value) -> Value:
    """One minus a number, its interval turned with it."""
    low, high = (None if bound is None else 1 - bound for bound in (value.high, value.low))
    return Value(1 - value.value, low, high)


def _tile(name: str, own: Value, retrained: Value, sentence: str) -> Tile:
    return Tile(name, shown(own), interval(own), shown(retrained) if retrained.known else "", sentence)


def _empty(name: str, sentence: str) -> Tile:
    return Tile(name, NOT_MEASURED, "", "", sentence)


def _forgetting(reading: Reading) -> Tile:
    read = headline(reading)
    if read is None:
        return _empty("Forgetting", "No metric that tells how much of an answer the model holds was read.")
    label = read.label
    own, retrained = reading.value(label, reading.candidate), reading.value(label, RETRAINED)
    if (Label.parse(label).name, Label.parse(label).form) == ("extraction_strength", "trained"):
        before = reading.value(label, ORIGINAL)
        once = f", {share(before.value)} before" if before.known else ""
        text = f"Given the question, the model completes {share(own.value)} of an answer unaided{once}."
    else:
        text = f"One minus {title(label)} on the forget set."
    if reading.has_reference and not read.separates:
        text += " The original is not shown to differ from the retrained model by this metric."
    return _tile("Forgetting", complement(own), complement(retrained), text)


def _utility(reading: Reading) -> Tile:
    found, reference = reading.utility(reading.candidate), reading.utility(RETRAINED)
    if found is None:
        return _empty("Utility", "No records to keep were handed in.")
    split = words(Label.parse(found.label).split)
    text = f"Share of the original's {title(found.label)} that is left on {split}, the set that lost most."
    return _tile("Utility", found.kept, Value(math.nan) if reference is None else reference.kept, text)


def _membership(reading: Reading) -> Tile:
    role, remark = reading.candidate, ""
    if role == "policy":
        role, remark = ORIGINAL, " The weights behind the policy are the original's."
    labels = [label for label in reading.labels if is_membership(label) and reading.value(label, role).known]
    if not labels:
        missing = "No records of the same kind that no model has seen were handed in."
        return _empty("Membership", "No attack has a number." if "holdout" in reading.record.data else missing)
    distances = {label: abs(reading.value(label, role).value - _expected(reading, label)) for label in labels}
    label = max(labels, key=distances.__getitem__)
    own = reading.value(label, role)
    text = f"{sentence(title(label))}, area under the ROC curve: 0.5 is chance, at 1 every record shows.{remark}"
    return _tile("Membership", own, reading.value(label, RETRAINED), text)


def _expected(reading: Reading, label: str) -> float:
    reference = reading.value(label, RETRAINED)
    return reference.value if reference.known else 0.5


def _robustness(reading: Reading) -> Tile:
    recovery: dict[str, Any] | None = reading.record.verdict.get("recovery")
    if not recovery:
        return Tile(
            "Robustness", "not tested", "", "", "No attack was run, so removal cannot be told from suppression."
        )
    text = f"The worst attack, {words(recovery['attack'])}, brings back this much more than on the retrained model."
    return _tile("Robustness", value_of(recovery), Value(0.0), text)
