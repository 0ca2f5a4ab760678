"""What holds for every relabeller: the same seed gives the same answers, never the true one, and nothing else moves."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
import transformers

from expunge.config import Choice
from expunge.data.tokenize import encode_all
from expunge.errors import InputError
from expunge.functional.words import folded
from expunge.models.relabel import Relabeller
from expunge.registry import relabellers
from tests.models.conftest import build, make_tokenizer
from tests.models.relabel.records import answers, record, task

OF_TEXTS = ("alternate", "counterfactual", "entity_swap", "idk", "masked", "noisy_text", "random_answer")
OF_TOKENS = ("random_token", "top1_wrong")
PLAIN_TEXT = {"masked", "noisy_text", "entity_swap", "counterfactual"}
FULL = {"chat_template": "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} </s> {% endfor %}"}


def full_task(seed: int = 0, **more):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = FULL["chat_template"]
    return task(seed, model=build("llama"), tokenizer=tokenizer, **more)


def relabeller(name: str) -> Relabeller:
    return Choice(name, {"new_tokens": 8} if name == "alternate" else {}).create(relabellers)


def test_no_relabeller_is_left_out():
    assert sorted((*OF_TEXTS, *OF_TOKENS)) == [name for name in relabellers.names() if name in (*OF_TEXTS, *OF_TOKENS)]
    assert set(OF_TEXTS) | set(OF_TOKENS) <= set(relabellers.names())


@pytest.mark.parametrize("kind", ["qa", "completion", "messages", "text"])
@pytest.mark.parametrize("name", OF_TEXTS)
def test_answers_change_and_nothing_else(name, kind):
    own = [record(index, kind) for index in range(4)]
    if kind == "text" and name not in PLAIN_TEXT:
        with pytest.raises(InputError, match=r"ecord 0 is plain text") as caught:
            relabeller(name).relabel_all(own, full_task())
        assert "Keld" not in str(caught.value)
        return
    given = full_task(seed=3)
    before = torch.get_rng_state(), random.getstate()
    made = relabeller(name).relabel_all(own, given, 1)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert answers(made) == answers(relabeller(name).relabel_all(own, full_task(seed=3), 1))
    for old, new in zip(own, made, strict=True):
        assert folded(new.answer.reveal()) != folded(old.answer.reveal())
        assert new.answer.label == old.answer.label
        assert replace(new, answer=old.answer) == old
        if kind == "completion":
            assert new.answer.reveal().startswith(" ")
            assert not new.answer.reveal().startswith("  ")


@pytest.mark.parametrize("name", sorted(set(OF_TEXTS) - {"alternate"}))
def test_a_record_gets_its_answer_whatever_its_neighbours(name):
    """But for those whose values are exchanged among the records: these have a retain set here."""
    retain = [record(index, split="retain") for index in range(8)]
    own = [record(index) for index in range(4)]
    whole = answers(relabeller(name).relabel_all(own, task(seed=1, retain=retain)))
    assert answers(relabeller(name).relabel_all(own[::-1], task(seed=1, retain=retain))) == whole[::-1]


@pytest.mark.parametrize("name", sorted(set(OF_TEXTS) - {"masked"}))
def test_seeds_and_samples_differ(name):
    own = [record(index) for index in range(4)]
    kept = [record(index, split="retain") for index in range(8)]
    found = [
        answers(relabeller(name).relabel_all(own, full_task(seed, retain=kept), sample))
        for seed, sample in ((0, 0), (0, 1), (1, 0), (12, 2), (1, 22))
    ]
    assert len(set(map(tuple, found))) == 5


@pytest.mark.parametrize("kind", ["qa", "completion", "text"])
@pytest.mark.parametrize("name", OF_TOKENS)
def test_labels_change_and_inputs_do_not(name, kind):
    given = full_task(seed=3)
    words = "w5 w9 w17 w30 w8"
    own = [record(index, kind, answer=f" w4{index} {words}") for index in range(3)]
    examples = encode_all(own, replace_template(given.tokenizer), max_length=32).examples
    before = torch.get_rng_state(), random.getstate()
    made = relabeller(name).relabel_tokens(examples, given, 1)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert relabeller(name).relabel_tokens(examples, given, 1) == made
    assert relabeller(name).relabel_tokens(examples[::-1], given, 1)[::-1] == made
    for old, new in zip(examples, made, strict=True):
        assert replace(new, labels=old.labels) == old
        for place, (was, now) in enumerate(zip(old.labels, new.labels, strict=True)):
            special = was in given.tokenizer.all_special_ids
            kept = was == -100 or special or place == 0  # the end is special, what is not scored stays so
            assert (was == now) == kept
            assert kept or now not in given.tokenizer.all_special_ids


def replace_template(tokenizer: transformers.PreTrainedTokenizerFast) -> transformers.PreTrainedTokenizerFast:
    tokenizer.chat_template = None
    return tokenizer
