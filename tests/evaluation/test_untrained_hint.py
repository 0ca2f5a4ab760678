"""Answers that the original does not give: said with their numbers."""

from __future__ import annotations

import pytest

from expunge.evaluation.result import Evaluation, ScoreRecord, Traits
from expunge.evaluation.untrained_hint import untrained_hint


def evaluation(name: str, *, role: str = "original", form: str = "trained", **splits: tuple[float, int]):
    """Of each split the mean, or the number of complete answers, and the number of records."""
    scores = tuple(
        ScoreRecord(
            label=f"{name}({split})", role=role, value=value if name == "rouge" else value / records, low=None,
            high=None, n=records, records=records, unit="", direction="closer",
            details={} if name == "rouge" else {"complete": value},
        )
        for split, (value, records) in splits.items()
    )  # fmt: skip
    return Evaluation(
        scores=scores, omitted=(), traits={f"{name}({split})": Traits(name, (split,), (form,)) for split in splits}
    )


@pytest.mark.parametrize(
    ("forget", "retain", "warns"),
    [
        ((0, 40), (38, 40), True),
        ((18, 40), (38, 40), True),
        ((20, 40), (38, 40), False),  # more than half as many
        ((40, 40), (38, 40), False),
        ((0, 40), (0, 40), False),  # a model that completes nothing says nothing
        ((0, 40), (2, 40), False),  # chance
        ((0, 1), (1, 1), False),
    ],
)
def test_completed_answers_by_hand(forget, retain, warns):
    found = untrained_hint(evaluation("exact_memorisation", forget=forget, retain=retain))
    if not warns:
        assert found is None
        return
    assert f"completes {forget[0]} of {forget[1]} forget answers, and {retain[0]} of {retain[1]} retain" in found
    assert "trained on?" in found


def test_replies_say_it_where_no_token_can_be_read():
    found = untrained_hint(evaluation("rouge", forget=(0.12, 40), retain=(0.95, 40)))
    assert "ROUGE-L 0.12 on forget answers, and 0.95 on retain answers" in found
    assert untrained_hint(evaluation("rouge", forget=(0.9, 40), retain=(0.95, 40))) is None


@pytest.mark.parametrize("change", [{"role": "unlearned"}, {"form": "cloze"}])
def test_only_the_original_on_the_records_as_trained(change):
    given = {"forget": (0, 40), "retain": (38, 40)}
    assert untrained_hint(evaluation("exact_memorisation", **given, **change)) is None


def test_without_retain_records_there_is_nothing_to_compare_with():
    assert untrained_hint(evaluation("exact_memorisation", forget=(0, 40))) is None
