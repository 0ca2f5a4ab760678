"""Whether a model still knows what it should, and still speaks: utility and the replies to retain prompts."""

from __future__ import annotations

import math
from typing import NamedTuple

from expunge.evaluation.result import Evaluation, ScoreRecord
from expunge.evaluation.utility import Kept, worst_kept
from expunge.evaluation.verdict.policy import Thresholds
from expunge.metrics.base import is_of

REPETITION, PERPLEXITY, REFUSAL, EMPTY = "repetition", "reply_perplexity", "over_refusal", "empty_rate"
SPEECH = (REPETITION, PERPLEXITY, REFUSAL, EMPTY)


class Harm(NamedTuple):
    """What unlearning did to what should have stayed.

    Attributes:
        utility: relative to the original, of the split that lost most; None where it was not measured.
        beside: how much more of that split is kept than by the retrained model, which lost it to no method; minus
            infinity without one.
        speech: sentences for every number of the replies that is out of range.
        gibberish: whether it loops, reads badly or says nothing; refusing is speech.
        interval: of ``utility``, 95 %: the model's own as a share of the original's value; None with few subjects.
    """

    utility: float | None
    beside: float
    speech: tuple[str, ...]
    gibberish: bool
    interval: tuple[float, float] | None = None

    @property
    def told(self) -> str:
        """Utility in words, with its interval where it has one."""
        interval = "" if self.interval is None else " (95 % interval {:.2f} to {:.2f})".format(*self.interval)
        return f"{self.utility:.2f} of the original's{interval}"

    def reasons(self, limits: Thresholds) -> tuple[str, ...]:
        """Why the model is damaged; empty where it is not."""
        lost = self.utility is not None and self.utility < limits.damage and self.beside < -limits.margin
        fallen = f"Utility fell to {self.told}, below {limits.damage:.2f}.{self._doubt(limits)}" if lost else ""
        return tuple(reason for reason in (fallen, *self.speech) if reason)

    def _doubt(self, limits: Thresholds) -> str:
        """Nothing where the whole interval is below the bound."""
        if self.interval is None or self.interval[1] < limits.damage:
            return ""
        return f" This is a point estimate: the interval includes {limits.damage:.2f}."


def harm(evaluation: Evaluation, role: str, limits: Thresholds) -> Harm:
    """Returns what a model lost on records to keep and in its replies to their prompts."""
    told = {name: _out_of_range(evaluation, role, name, limits) for name in SPEECH}
    speech = tuple(reason for reasons in told.values() for reason in reasons)
    gibberish = any(told[name] for name in SPEECH if name != REFUSAL)
    worst = _utility(evaluation, role)
    if worst is None:
        return Harm(None, -math.inf, speech, gibberish)
    return Harm(worst.share, _beside(evaluation, worst), speech, gibberish, _interval(evaluation, worst, role))


def _interval(evaluation: Evaluation, worst: Kept, role: str) -> tuple[float, float] | None:
    own = evaluation.get(worst.label, role)
    if own is None or own.low is None or own.high is None or not worst.original:
        return None
    return own.low / worst.original, own.high / worst.original


def _beside(evaluation: Evaluation, worst: Kept) -> float:
    retrained = evaluation.get(worst.label, "retrained")
    if retrained is None or worst.own is None or math.isnan(retrained.value):
        return -math.inf
    return worst.own - retrained.value


def _utility(evaluation: Evaluation, role: str) -> Kept | None:
    found = []
    for label, traits in evaluation.traits.items():
        original, own = evaluation.get(label, "original"), evaluation.get(label, role)
        if original is not None and own is not None:
            place = traits.name, traits.splits[0], traits.forms[0]
            found.append(Kept(label, *place, own.n, original.value, own.value))
    return worst_kept(found)


def _out_of_range(evaluation: Evaluation, role: str, name: str, limits: Thresholds) -> list[str]:
    """Replies to retain prompts repeat themselves, refuse, or read worse to the original, beyond the reference's."""
    found = []
    for label, traits in evaluation.traits.items():
        if traits.name != name or traits.splits[0] != "retain":
            continue
        own, references = evaluation.get(label, role), _references(evaluation, label, name)
        if own is None or not references:
            continue
        reference = max(references, key=lambda one: _fluent_until(name, one, limits))
        if math.isnan(own.value):
            found.append(f"Replies to retain prompts are empty, and those of the {reference.role} model are not.")
            continue
        bound = _fluent_until(name, reference, limits)
        if own.value > bound:
            found.append(
                f"Replies to retain prompts are outside the {reference.role} model's range: "
                f"{label} is {own.value:.2f}, and at most {bound:.2f} with tolerance there."
            )
    return found


def _references(evaluation: Evaluation, label: str, name: str) -> list[ScoreRecord]:
    """Scores of the retrained models, or without one the original's; those that are numbers.

    What the original refuses already is the control of over-refusal.
    """
    scores = [score for score in evaluation.scores if score.label == label]
    retrained = [score for score in scores if is_of(score.role, "retrained") and name != REFUSAL]
    found = retrained or [score for score in scores if score.role == "original"]
    return [score for score in found if not math.isnan(score.value)]


def _fluent_until(name: str, reference: ScoreRecord, limits: Thresholds) -> float:
    """Upper end of the reference's interval with the tolerance; of its value where it has no interval."""
    high = reference.value if reference.high is None else reference.high
    if name == PERPLEXITY:
        return high * limits.perplexity
    return high + (limits.repetition if name == REPETITION else limits.refusal)
