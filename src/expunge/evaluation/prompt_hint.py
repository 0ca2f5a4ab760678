"""A sign that the models were asked in another chat template than the one they were trained with."""

from __future__ import annotations

from expunge.evaluation.result import Evaluation

ORIGINAL = "original"
SAYS = 0.5  # ROUGE-L recall of its replies, above which a model gives the answers
UNLIKELY = 0.1  # probability per token or extraction strength, below which it does not expect them


def prompt_hint(evaluation: Evaluation) -> str | None:
    """Returns a sentence where the original says the answers but finds their text unlikely; None elsewhere.

    A model that was trained with another template or system prompt often still answers, in other words or after other
    tokens; the exact text after our prompt is then unlikely, and every metric of likelihood is too low.
    """
    said = _value(evaluation, "rouge")
    if said is None or not said > SAYS:
        return None
    for name, words in (("probability", "probability"), ("extraction_strength", "extraction strength")):
        found = _value(evaluation, name)
        if found is not None and found < UNLIKELY:
            return (
                f"The original model gives the forget answers when it is asked (ROUGE-L {said:.2f}) but finds their "
                f"text unlikely ({words} {found:.2f}): the chat template or system prompt is probably not the one that "
                "the model was trained with, so metrics that read likelihoods show too little."
            )
    return None


def _value(evaluation: Evaluation, name: str) -> float | None:
    """The original's score on the forget records as they were trained on."""
    for label, traits in evaluation.traits.items():
        if traits.name == name and traits.splits[0] == "forget" and set(traits.forms) == {"trained"}:
            score = evaluation.get(label, ORIGINAL)
            if score is not None:
                return score.value
    return None
