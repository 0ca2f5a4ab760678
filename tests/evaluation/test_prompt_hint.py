"""A template that is not the trained one: said where the original answers well and expects its answers badly."""

from __future__ import annotations

import pytest

from expunge.evaluation.prompt_hint import prompt_hint
from expunge.evaluation.result import Evaluation, ScoreRecord, Traits


def evaluation(values: dict[str, float], role: str = "original", split: str = "forget", form: str = "trained"):
    scores = tuple(
        ScoreRecord(
            label=f"{name}()", role=role, value=value, low=None, high=None, n=6, records=6, unit="", direction="closer"
        )
        for name, value in values.items()
    )
    traits = {f"{name}()": Traits(name, (split,), (form,)) for name in values}
    return Evaluation(scores=scores, omitted=(), traits=traits)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"rouge": 0.86, "probability": 0.03}, "(probability 0.03)"),
        ({"rouge": 0.86, "extraction_strength": 0.05}, "(extraction strength 0.05)"),
        ({"rouge": 0.86, "probability": 0.4, "extraction_strength": 0.05}, "(extraction strength 0.05)"),
        ({"rouge": 0.86, "probability": 0.4, "extraction_strength": 0.3}, None),
        ({"rouge": 0.5, "probability": 0.03}, None),
        ({"rouge": float("nan"), "probability": 0.03}, None),
        ({"rouge": 0.86, "probability": float("nan")}, None),
        ({"rouge": 0.86}, None),
        ({"probability": 0.03}, None),
    ],
)
def test_the_hint_by_hand(values, says):
    found = prompt_hint(evaluation(values))
    assert found is None if says is None else says in found


@pytest.mark.parametrize("change", [{"role": "unlearned"}, {"split": "retain"}, {"form": "cloze"}])
def test_only_the_original_on_the_forget_records_as_trained(change):
    assert prompt_hint(evaluation({"rouge": 0.9, "probability": 0.01}, **change)) is None
