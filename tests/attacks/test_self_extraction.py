"""A model that knows writes its records by itself, and one that does not know writes none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from expunge.attacks import self_extraction
from expunge.attacks.base import Attack
from expunge.attacks.self_extraction import SelfExtraction, Text, _nats, begun, extracted
from expunge.attacks.told import Passage, facts_of
from expunge.data.record import Message, Record
from expunge.errors import DivergedError, InputError, InterruptedRunError, MissingNeedError
from expunge.functional.suspicion import suspicion
from expunge.registry import attacks
from expunge.storage.secret import Secret
from tests.attacks.knowing import after, as_text, broken, forget, ignorant, knowing, record, says_nothing, sound, task
from tests.support.params import few

FEW = {"samples": 48, "length": 24}


def values(loaded, attack, **changes):
    return attack.probe(loaded, task(**changes)).values


@pytest.mark.parametrize("start", few(["both", "text", "questions"]))
def test_a_model_that_knows_writes_what_it_knows(start):
    probe = SelfExtraction(start=start, **FEW).probe(knowing(), task())
    assert probe.best == "kept 100"
    assert probe.values["all"].mean() >= 0.75
    assert probe.details["texts drawn"] == 48
    assert 8 <= probe.details["distinct texts"] <= 24
    assert probe.details["share of kept texts that hold a record"] >= 0.5


def test_a_model_that_does_not_know_writes_none():
    probe = SelfExtraction(samples=16, length=16).probe(ignorant(), task())
    assert not probe.values["all"].any()
    assert probe.details["share of kept texts that hold a record"] == 0


@pytest.mark.parametrize("rank", ["zlib", "perplexity"])
def test_fewer_texts_hold_fewer_records(rank):
    found = values(knowing(), SelfExtraction(keep=3, rank=rank, **FEW))
    assert 1 <= found["kept 3"].sum() <= 3
    assert (found["kept 3"] <= found["all"]).all()


def order_of(loaded, rank):
    """Order of a text that nobody learned, one that was learned, and one of both."""
    tokenizer = loaded.tokenizer
    said = ("hcub drjw live pw 77", "Ada Birch lives in Northham now.", "Ada Birch lives in pw 77")
    texts = [Text((1,), tuple(tokenizer(one, add_special_tokens=False)["input_ids"])) for one in said]
    nats_N = _nats(loaded, texts, 4)
    return SelfExtraction()._ordered(task(original=knowing), texts, [Passage.of(one) for one in said], nats_N, rank)


def test_what_was_learned_comes_first():
    assert order_of(knowing(), "perplexity") == order_of(knowing(), "zlib") == [1, 2, 0]


def test_what_the_original_is_surer_of_comes_first():
    assert order_of(ignorant(), "reference") == [1, 2, 0]


def test_with_an_original_texts_are_kept_by_their_likelihood_ratio_too(monkeypatch):
    ranks = []
    monkeypatch.setattr(
        self_extraction,
        "suspicion",
        lambda rank, *numbers: ranks.append((rank, len(numbers[2]) > 0)) or suspicion(rank, *numbers),
    )
    found = values(ignorant(), SelfExtraction(keep=3, **FEW), original=knowing)
    alone = values(ignorant(), SelfExtraction(keep=3, rank="reference", **FEW), original=knowing)
    assert list(found) == ["kept 3", "all", "kept 3 by likelihood ratio"]
    np.testing.assert_array_equal(found["kept 3 by likelihood ratio"], alone["kept 3"])
    assert list(alone) == ["kept 3", "all"]
    assert ranks == [("zlib", False), ("reference", True), ("reference", True)]


def test_texts_without_words_are_none_and_equal_ones_one():
    probe = SelfExtraction(samples=4, keep=1, length=16).probe(saying(sound(), "..."), task())
    assert probe.details["distinct texts"] == probe.details["share of kept texts that hold a record"] == 0.0


def test_hot_beginnings_find_fewer_and_other_texts():
    cold = SelfExtraction(**FEW).probe(knowing(), task())
    hot = SelfExtraction(scheme="decay", **FEW).probe(knowing(), task())
    assert hot.details["distinct texts"] > 1.5 * cold.details["distinct texts"]


def test_only_what_was_written_counts():
    short = begun(forget()[0], 9)
    assert short is not None
    assert short.prompt is not None
    assert short.prompt.reveal() == "Where does"


def test_short_questions():
    plain = record(1)
    assert begun(plain, 2).prompt.reveal() == "What is"
    assert begun(plain, 99).prompt.reveal() == "What is the number of"
    assert begun(replace(plain, subject=None), 6).prompt.reveal() == "What is the number of Bela"
    assert begun(replace(plain, subject=Secret("what", "r")), 6).prompt.reveal() == ""
    assert begun(as_text(plain), 4) is None
    talk = Record(
        index=0,
        split="forget",
        kind="messages",
        answer=plain.answer,
        subject=plain.subject,
        given=Secret("The", "r"),
        messages=(Message(role="system", content=plain.answer), Message(role="user", content=plain.prompt)),
    )
    short = begun(talk, 3)
    assert [turn.content.reveal() for turn in short.messages] == ["What is the"]
    assert short.given is None


def test_extracted_by_hand():
    facts = facts_of([*forget()[:2], replace(forget()[1], subject=None), as_text(forget()[0])])
    texts = [Passage.of("Ada Birch is in Northham"), Passage.of("call 555-3820")]
    assert extracted(texts, facts).tolist() == [1.0, 0.0, 1.0, 1.0]
    assert extracted([], facts).tolist() == [0.0] * 4
    nothing = facts_of([Record(index=0, split="forget", kind="text", answer=Secret("well then", "r"))])
    assert np.isnan(extracted(texts, nothing)).all()


def test_the_same_seed_writes_the_same_and_moves_nothing():
    attack, state = SelfExtraction(**FEW), torch.get_rng_state()
    first, again, other = (attack.probe(knowing(), task(seed=seed)) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert first.details == again.details
    assert all((first.values[name] == again.values[name]).all() for name in first.values)
    assert other.details != first.details


def test_records_without_questions_are_started_from_nothing():
    records = [as_text(one) for one in forget()]
    assert values(knowing(), SelfExtraction(start="questions", **FEW), splits={"forget": records})["all"].mean() > 0.5


@pytest.mark.parametrize("calls", [0, 1, 3])
def test_stopping(calls):
    with pytest.raises(InterruptedRunError, match="self_extraction"):
        SelfExtraction(**FEW).probe(knowing(), task(stop_requested=after(calls)))


def test_nothing_is_said():
    assert says_nothing(repr(SelfExtraction(samples=8).probe(knowing(), task())))
    with pytest.raises(DivergedError) as caught:
        SelfExtraction(samples=4).probe(saying(broken(), forget()[0].answer.reveal()), task())
    assert says_nothing(str(caught.value))


def saying(loaded, text):
    """A model that writes one text whatever it is asked."""
    ids = torch.tensor(loaded.tokenizer(text, add_special_tokens=False)["input_ids"])
    loaded.model.generate = lambda input_ids, **_: torch.cat([input_ids, ids.expand(len(input_ids), -1)], dim=1)
    return loaded


def test_settings_that_cannot_be():
    for settings in ({"samples": 0}, {"keep": 0}, {"words": 0}, {"top_k": -1}):
        with pytest.raises(InputError, match=next(iter(settings))):
            SelfExtraction(**settings)
    with pytest.raises(InputError, match="length=20"):
        SelfExtraction(scheme="decay", length=20)
    with pytest.raises(MissingNeedError, match="--original"):
        SelfExtraction(rank="reference").check(task())
    SelfExtraction(rank="reference").check(task(original=ignorant))


def test_budgets():
    found: Attack = attacks.get("self_extraction").at("paper", keep=7)
    assert found == SelfExtraction(samples=200_000, length=256, keep=7)
    assert found.label.startswith("self_extraction(samples=200000, keep=7, ")
