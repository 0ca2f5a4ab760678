"""Whether a retrained model is a sound reference: one that saw the records or equals another model supports no verdict.

The reference is tested before any model is compared with it: by its weights, which the caller compares, and by what it
knows of the forget set.
"""

from __future__ import annotations

from collections.abc import Mapping

from expunge.evaluation.result import Evaluation, ScoreRecord
from expunge.evaluation.verdict.measures import RETRAINED
from expunge.metrics.base import is_of
from expunge.metrics.memorisation import LONG

# Lower bound, 95 %, of the loss attack's AUC. A model that never saw the records has about 0.5, one that was trained on
# them 0.9 and more.
RECOGNISED = 0.90
# Share of the long answers that the original completes word for word. Exact retrains complete none of the demo's 40; a
# model that saw half of the records completes about half.
RECITED = 0.25
# Share of the way from the reference's probability of holdout answers to the original's of forget answers. The exact
# retrains of the tests reach 0.03, also where the holdout is of another kind and the loss attack's AUC is 1.00. Answers
# of one fixed wording can be completed unseen, but then those of the holdout are as likely.
NEAR = 0.25


def unsound(evaluation: Evaluation, duplicates: Mapping[str, str]) -> tuple[str, ...]:
    """Returns why retrained models support no verdict, a sentence each; empty where all can be compared with.

    Args:
        evaluation: scores of all models.
        duplicates: retrained models, by role, that have the weights of another model, and its role (``judged`` for the
            one that is judged).
    """
    roles = dict.fromkeys((*(role for role in evaluation.roles if is_of(role, RETRAINED)), *duplicates))
    found = [_same(role, duplicates[role]) if role in duplicates else _saw(evaluation, role) for role in roles]
    return tuple(sentence for sentence in found if sentence)


def verbatim(evaluation: Evaluation, role: str) -> int:
    """Returns how many long forget answers a model completes word for word; 0 where that was not measured."""
    score = _score(evaluation, role, "extraction_strength")
    return 0 if score is None else int(score.details.get("completed_verbatim", 0))


def recited(count: int) -> str:
    """Words for so many answers that a model completes."""
    return f"{count} forget answer{'' if count == 1 else 's'} of at least {LONG} tokens word for word"


def _same(role: str, other: str) -> str:
    named = role.replace("_", " ")
    if other == "original":
        return f"The {named} model has the weights of the original, up to rounding, so it saw the records."
    if other == "judged":
        return (
            f"The {named} model has the weights of the judged model, up to rounding, so comparing the two shows "
            "nothing; pass a model retrained with another seed."
        )
    return f"The {named} model has the weights of the {other.replace('_', ' ')} model, up to rounding; pass each once."


def _saw(evaluation: Evaluation, role: str) -> str:
    """Says that a reference saw the records, and how that shows; empty where it does not."""
    signs = [sign for sign in (_recites(evaluation, role), _recognises(evaluation, role)) if sign]
    if not signs or not _is_near(evaluation, role):
        return ""
    return f"The {role.replace('_', ' ')} model saw forget records: {'; '.join(signs)}."


def _recites(evaluation: Evaluation, role: str) -> str:
    original, own = verbatim(evaluation, "original"), verbatim(evaluation, role)
    return f"it completes {recited(own)}, the original {original}" if own > RECITED * original else ""


def _recognises(evaluation: Evaluation, role: str) -> str:
    score = _score(evaluation, role, "mia_loss", ("forget", "holdout"))
    if score is None or score.low is None or score.high is None or score.low <= RECOGNISED:
        return ""
    interval = f"95 % interval {score.low:.2f} to {score.high:.2f}"
    return f"the loss attack tells them from the holdout records (AUC {score.value:.2f}, {interval})"


def _is_near(evaluation: Evaluation, role: str) -> bool:
    """Whether it gives forget answers a probability that takes learning; true where that was not measured."""
    learnt = _score(evaluation, "original", "probability")
    own = _score(evaluation, role, "probability")
    unseen = _score(evaluation, role, "probability", ("holdout",))
    if learnt is None or own is None or unseen is None:
        return True  # without a holdout nothing tells fixed wording from memory
    return own.value - unseen.value > NEAR * max(0.0, learnt.value - unseen.value)


def _score(evaluation: Evaluation, role: str, name: str, splits: tuple[str, ...] = ("forget",)) -> ScoreRecord | None:
    """Returns a metric of the records in their trained form; None where it was not measured."""
    for label, traits in evaluation.traits.items():
        if (traits.name, traits.splits, traits.forms) == (name, splits, ("trained",)):
            return evaluation.get(label, role)
    return None
