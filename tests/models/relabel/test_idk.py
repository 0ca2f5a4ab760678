"""Refusals: the same for the same seed, sample and record, spread over all answers, and nothing else changes."""

from __future__ import annotations

import random
from collections import Counter

import pytest
import torch

from expunge.config import Choice
from expunge.data.record import Record
from expunge.errors import InputError
from expunge.models.relabel import IDK, REFUSALS
from expunge.registry import relabellers
from expunge.storage.secret import Secret


def record(index, kind="qa"):
    label = f"record {index}"
    return Record(
        index=index, split="forget", kind=kind, prompt=Secret("Who?", label), answer=Secret("Ada.", label), weight=2.0
    )


def answers(relabeller, count=200, **keys):
    return [relabeller.relabel(record(index), **keys).answer.reveal() for index in range(count)]


def test_refusals_are_about_twenty_different_sentences():
    assert 18 <= len(REFUSALS) == len(set(REFUSALS)) <= 24
    assert all(text == text.strip() and text.endswith(".") for text in REFUSALS)


def test_the_answer_alone_changes():
    changed = IDK().relabel(record(3), seed=0)
    assert changed.answer.reveal() in REFUSALS
    assert changed.with_answer("Ada.") == record(3)
    assert str(changed.answer) == "[record 3]"


def test_seed_sample_and_record_decide_and_nothing_else_does():
    torch.manual_seed(0)
    random.seed(0)
    states = torch.get_rng_state(), random.getstate()
    first = answers(IDK(), seed=1, sample=2)
    assert (torch.equal(torch.get_rng_state(), states[0]), random.getstate()) == (True, states[1])
    assert answers(IDK(), seed=1, sample=2) == first
    assert [IDK().relabel(record(index), seed=1, sample=2).answer.reveal() for index in range(199, -1, -1)] == first[
        ::-1
    ]
    assert answers(IDK(), seed=2, sample=2) != first
    assert answers(IDK(), seed=1, sample=3) != first
    assert answers(IDK(), seed=12, sample=2) != answers(IDK(), seed=1, sample=22)
    assert answers(IDK(), seed=1) == answers(IDK(), seed=1, sample=0)


def test_golden_choice():
    """A change here would change every recorded run."""
    chosen = [REFUSALS.index(text) for text in answers(IDK(), count=6, seed=0)]
    assert chosen == [11, 11, 0, 17, 13, 17]


def test_every_refusal_is_used_evenly():
    counts = Counter(answers(IDK(), count=4000, seed=0))
    assert set(counts) == set(REFUSALS)
    assert max(counts.values()) < 1.5 * 4000 / len(REFUSALS)
    assert min(counts.values()) > 0.6 * 4000 / len(REFUSALS)


def test_own_answers_and_refusals_of_nonsense():
    own = Choice("idk", {"answers": ["Pass."]}).create(relabellers)
    assert own.relabel(record(0), seed=5).answer.reveal() == "Pass."
    with pytest.raises(InputError, match="at least one"):
        IDK(answers=())
    with pytest.raises(InputError, match="Record 7 is plain text"):
        IDK().relabel(record(7, kind="text"), seed=0)


def test_a_refusal_keeps_the_white_space_between_prompt_and_completion():
    def completion(answer: str) -> Record:
        label = "record 0"
        return Record(
            index=0, split="forget", kind="completion", prompt=Secret("It is", label), answer=Secret(answer, label)
        )

    assert IDK(answers=("No.",)).relabel(completion(" Paris"), seed=0).answer.reveal() == " No."
    assert IDK(answers=("No.",)).relabel(completion("\n\nParis"), seed=0).answer.reveal() == "\n\nNo."
    assert IDK(answers=("No.",)).relabel(completion("Paris"), seed=0).answer.reveal() == "No."
