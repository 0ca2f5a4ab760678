"""Evaluations made by hand: three models, a number and a narrow interval for each metric."""

from __future__ import annotations

from expunge.evaluation.result import Evaluation, Gap, ScoreRecord, Traits
from expunge.evaluation.verdict.policy import Recovery

NARROW = 0.01  # half of an interval that shows a difference of 0.05
HARMLESS = Recovery(-0.02, 0.05)
TRAITS = {
    "es": Traits("extraction_strength", ("forget",), ("trained",), "knowledge"),
    "es paraphrased": Traits("extraction_strength", ("forget",), ("paraphrased_question",), "knowledge"),
    "auc": Traits("mia_loss", ("forget", "holdout"), ("trained",), "membership"),
    "retain": Traits("exact_memorisation", ("retain",), ("trained",)),
    "retain auc": Traits("mia_loss", ("retain", "holdout"), ("trained",), "membership"),
    "loops": Traits("repetition", ("retain",), ("trained",)),
    "ppl": Traits("reply_perplexity", ("retain",), ("trained",)),
    "refusals": Traits("over_refusal", ("retain",), ("trained",)),
    "empty": Traits("empty_rate", ("retain",), ("trained",)),
    "near": Traits("exact_memorisation", ("neighbours_1",), ("trained",)),
    "forget loops": Traits("repetition", ("forget",), ("trained",)),
    "forget ppl": Traits("reply_perplexity", ("forget",), ("trained",)),
}
SPEECH = {
    "empty": 0.0,
    "loops": 0.02,
    "ppl": 3.0,
    "refusals": 0.05,
    "forget loops": 0.02,
    "forget ppl": 3.0,
}
ORIGINAL = {"es": 0.9, "es paraphrased": 0.7, "auc": 0.95, "retain": 0.8, "retain auc": 0.97, **SPEECH}
RETRAINED = {"es": 0.1, "es paraphrased": 0.1, "auc": 0.5, "retain": 0.8, "retain auc": 0.97, **SPEECH}


def evaluation(original=ORIGINAL, retrained=RETRAINED, *, half=NARROW, **unlearned) -> Evaluation:
    """Three models; the unlearned one is the retrained one but for ``unlearned``."""
    own = {**(retrained or RETRAINED), **{name.replace("_", " "): value for name, value in unlearned.items()}}
    columns = {"original": original, "retrained": retrained, "unlearned": own}

    def bounds(value):
        return (None, None) if half is None else (value - half, value + half)

    scores = tuple(
        ScoreRecord(
            label=label,
            role=role,
            value=value,
            low=bounds(value)[0],
            high=bounds(value)[1],
            n=100,
            records=100,
            unit="",
            direction="closer",
        )
        for role, values in columns.items()
        if values
        for label, value in values.items()
    )
    gaps = tuple(
        Gap(
            label=score.label,
            role=score.role,
            value=difference,
            low=bounds(difference)[0],
            high=bounds(difference)[1],
            n=100,
        )
        for score in scores
        if retrained and score.role != "retrained"
        for difference in [score.value - retrained[score.label]]
    )
    return Evaluation(scores=scores, omitted=(), gaps=gaps, traits=TRAITS)
