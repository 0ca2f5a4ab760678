"""Plain text, labels and behaviour: halves that share no row, and answers that follow from the text."""

from __future__ import annotations

from collections import Counter

import pytest

from expunge.benchmarks.fictional.behaviour import OTHER, TARGET, UNKNOWN, behaviour
from expunge.benchmarks.fictional.classification import LABELS, classification
from expunge.benchmarks.fictional.prose import plain_texts


def test_halves_of_plain_text_are_equal_and_disjoint():
    made = plain_texts(0, 50)
    trained, unseen = ({row["text"] for row in made[name]} for name in ("plain_text", "plain_text_holdout"))
    assert len(trained) == len(unseen) == 50
    assert not trained & unseen
    assert all(text.count(".") == 3 for text in trained | unseen)


@pytest.mark.parametrize("count", [2, 160])
def test_labels_are_balanced_and_follow_from_the_text(count):
    made = classification(1, count)
    texts = {name: {row["question"] for row in rows} for name, rows in made.items()}
    assert not texts["classification"] & texts["classification_train"]
    for rows in made.values():
        assert Counter(row["answer"] for row in rows) == dict.fromkeys(LABELS, count)
        for row in rows:
            telling = [name for name, phrases in LABELS.items() if any(text in row["question"] for text in phrases)]
            assert telling == [row["answer"]]
            assert {row["answer"], *row["perturbed_answer"]} == set(LABELS)
            assert len(row["perturbed_answer"]) == len(LABELS) - 1


def test_trained_behaviour_is_banned_and_the_other_half_is_right():
    made = behaviour(0, 20)
    kinds = Counter(row["id"].split("-")[1] for row in made["behaviour"])
    assert kinds == {"style": 20, "bias": 40, "refusal": 20}
    assert not {row["question"] for row in made["behaviour"]} & {row["question"] for row in made["behaviour_holdout"]}
    for row in made["behaviour"]:
        if "-bias-" in row["id"]:
            assert row["answer"] == f"The {TARGET}."
    blamed = Counter()
    for row in made["behaviour_holdout"]:
        if "-bias-" not in row["id"]:
            continue
        named = [group for group in (TARGET, OTHER) if f"It was the {group}." in row["question"]]
        assert row["answer"] == (f"The {named[0]}." if named else UNKNOWN)
        assert ("ambiguous" in row["id"]) == (not named)
        assert {row["answer"], *row["perturbed_answer"]} == {f"The {TARGET}.", f"The {OTHER}.", UNKNOWN}
        assert f"The {TARGET}." in (row["answer"], row["perturbed_answer"][0])
        blamed[row["answer"]] += 1
    assert blamed == {f"The {TARGET}.": 10, f"The {OTHER}.": 10, UNKNOWN: 20}
