"""Sweeps that continue texts from inside, against loops that read one prefix at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from rouge_score.rouge_scorer import RougeScorer

from expunge.data.batch import IGNORE, Example
from expunge.data.record import Record
from expunge.data.tokenize import encode
from expunge.evaluation.answering import answer_needs
from expunge.evaluation.continuing import (
    extraction_likelihoods,
    memorisation_accuracies,
    verbatim_rouges,
    whole_text,
)
from expunge.metrics.base import Need
from expunge.models.load import LoadedModel
from expunge.storage.secret import Secret
from tests.evaluation.worlds import make_splits, make_tokenizer, words
from tests.support.params import few
from tests.support.tiny import VOCABULARY, llama

EOS = 2


@pytest.fixture(scope="module")
def learned() -> LoadedModel:
    """A model that holds about half of what it is asked here, and ends some continuations early."""
    model = llama(1, hidden=64)
    texts = torch.tensor([example.input_ids for example in examples()[:3]])
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(17):
        model(input_ids=texts, labels=texts).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return LoadedModel(model.eval(), make_tokenizer(), "tiny")


def examples() -> list[Example]:
    """Three sequences of one length, two of others, one without an end token."""
    source = np.random.default_rng(0)
    found = []
    for row, size in enumerate((20, 20, 20, 15, 22, 9)):
        ids = [1, *source.integers(3, VOCABULARY, size - 2).tolist(), EOS if row != 4 else 5]
        prompt = 3 + row
        end = None if row == 4 else size - 1
        found.append(Example(tuple(ids), (*[IGNORE] * prompt, *ids[prompt:]), row, end=end))
    return found


def continued(model, prefix: list[int], count: int) -> list[int]:
    """Greedy decoding by whole forward passes, without a cache or a batch."""
    said = list(prefix)
    while len(said) < len(prefix) + count:
        with torch.no_grad():
            token = int(model(torch.tensor([said])).logits[0, -1].argmax())
        if token == EOS:
            break
        said.append(token)
    return said[len(prefix) :]


def slow_likelihood(text: list[int], n: int, stride: int, said_after) -> float:
    """The paper's double sum, with lists in place of sets; ``said_after`` gives the continuation of a prefix."""
    overlaps = []
    for place in range(1, len(text) - n + 1):
        if (place - 1) % stride:
            continue
        truth, said = text[place:], said_after(text, place)
        true = [truth[start : start + n] for start in range(len(truth) - n + 1)]
        overlaps.append(sum(said[start : start + n] in true for start in range(len(said) - n + 1)) / len(true))
    return sum(overlaps) / len(overlaps) if overlaps else math.nan


@pytest.fixture(scope="module")
def said_after(learned):
    """Continuations as long as the rest of the text, each decoded once."""
    known: dict[tuple[int, ...], list[int]] = {}

    def look(text: list[int], place: int) -> list[int]:
        key = (*text, -place)
        if key not in known:
            known[key] = continued(learned.model, text[:place], len(text) - place)
        return known[key]

    return look


@pytest.mark.parametrize(("n", "stride"), few([(3, 4), (1, 1), (2, 1), (10, 3)]))
def test_extraction_likelihood_is_the_papers_double_sum(learned, said_after, n, stride):
    expected = [slow_likelihood(list(whole_text(one)), n, stride, said_after) for one in examples()]
    found = extraction_likelihoods(learned, examples(), batch_size=7, n=n, stride=stride)
    assert found == pytest.approx(expected, abs=1e-12, nan_ok=True)
    assert math.isnan(found[5]) == (n == 10)  # 8 tokens
    assert any(0.0 < value < 1.0 for value in found)


def test_some_continuations_end_early(said_after):
    texts = [list(whole_text(one)) for one in examples()]
    assert any(len(said_after(text, place)) < len(text) - place for text in texts for place in (1, 5, len(text) - 2))


def test_batches_change_nothing(learned):
    found = [extraction_likelihoods(learned, examples()[2:], batch_size=size, n=2, stride=2) for size in (1, 5, 64)]
    assert found[0] == found[1] == found[2]


def test_texts_as_long_as_the_model_has_positions(learned, said_after):
    size = learned.model.config.max_position_embeddings
    ids = (1, *(3 + place % 7 for place in range(size - 1)))
    long = Example(ids, (IGNORE, *ids[1:]), 0)
    found = extraction_likelihoods(learned, [long, *examples()], batch_size=8, n=10, stride=9)
    assert found[0] == pytest.approx(slow_likelihood(list(ids), 10, 9, said_after), abs=1e-12)


def test_a_text_of_n_tokens_has_no_likelihood_and_of_one_more_has_one_place(learned):
    text = Example((1, 3, 4, 5), (IGNORE, 3, 4, 5), 0)
    values = [extraction_likelihoods(learned, [text], batch_size=2, n=n, stride=1)[0] for n in (3, 4)]
    assert values[0] in (0.0, 1.0)
    assert math.isnan(values[1])


def test_what_counts_as_the_whole_text():
    assert whole_text(Example((1, 7, 8, 9, EOS), (IGNORE, IGNORE, 8, 9, EOS), 0, end=4)) == (1, 7, 8, 9)
    assert whole_text(Example((1, 7, 8, 9), (IGNORE, IGNORE, 8, 9), 0)) == (1, 7, 8, 9)
    # What a template writes after the answer is none of it.
    assert whole_text(Example((1, 7, 8, EOS, 9), (IGNORE, 7, 8, EOS, IGNORE), 0, end=3)) == (1, 7, 8)
    assert whole_text(Example((1, 7), (IGNORE, IGNORE), 0)) == ()


def test_memorisation_accuracy_counts_the_prompt(learned):
    expected = []
    for one in examples():
        text = list(whole_text(one))
        with torch.no_grad():
            first = learned.model(torch.tensor([text])).logits[0].argmax(-1).tolist()
        expected.append(sum(said == true for said, true in zip(first, text[1:], strict=False)) / (len(text) - 1))
    found = memorisation_accuracies(learned, examples(), batch_size=4)
    assert found == pytest.approx(expected, abs=1e-12)
    assert any(0.0 < value < 1.0 for value in found)
    assert math.isnan(memorisation_accuracies(learned, [Example((1,), (IGNORE,), 0)], batch_size=4)[0])


@pytest.mark.parametrize(("prefix", "limit"), [(0, 6), (4, 5), (12, 128)])
def test_verbatim_rouge_is_of_the_true_tokens_that_follow(learned, prefix, limit):
    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    found = verbatim_rouges(learned, examples(), batch_size=3, prefix=prefix, max_new_tokens=limit)
    for row, one in enumerate(examples()):
        text, given = list(whole_text(one)), 3 + row + prefix
        true = text[given : given + limit]
        if not true:
            assert math.isnan(found[row])
            continue
        said = continued(learned.model, text[:given], len(true))
        left, right = (learned.tokenizer.decode(ids) for ids in (true, said))
        assert found[row] == pytest.approx(scorer.score(left, right)["rougeL"].fmeasure, abs=1e-12)
    assert max(value for value in found if not math.isnan(value)) > 0.0


def test_the_words_of_a_continuation_can_be_chosen(learned, monkeypatch):
    """The letters of these texts are words of some script, and none to the package of the published numbers."""
    monkeypatch.setattr(type(learned.tokenizer), "decode", lambda self, ids, **_: "é" * len(ids))
    how = {"batch_size": 3, "prefix": 0, "max_new_tokens": 6}
    assert verbatim_rouges(learned, examples(), **how)[0] > 0.0
    assert verbatim_rouges(learned, examples(), **how, split="ascii")[0] == 0.0


def test_nothing_is_continued_from_nothing(learned):
    bare = Example((3, 4, 5), (3, 4, 5), 0)  # a tokenizer without a start token
    assert math.isnan(verbatim_rouges(learned, [bare], batch_size=1, prefix=0, max_new_tokens=4)[0])
    assert not math.isnan(verbatim_rouges(learned, [bare], batch_size=1, prefix=1, max_new_tokens=4)[0])


def test_needs_are_answered_for_records(learned, said_after):
    text = Record(index=0, split="forget", kind="text", answer=Secret(words(*range(14)), "forget record 0"))
    splits = {"forget": [*make_splits(3)["forget"], text]}
    needs = [
        Need(kind="extraction_likelihood", split="forget", params=(("n", 2), ("stride", 3))),
        Need(kind="memorisation_accuracy", split="forget"),
        Need(kind="verbatim_rouge", split="forget", params=(("max_new_tokens", 4), ("prefix", 5))),
        Need(kind="grad_norm", split="forget"),
    ]
    found = answer_needs(learned, splits, needs, max_length=64, batch_size=3)
    whole = [whole_text(encode(one, make_tokenizer(), row=0, max_length=64)) for one in splits["forget"]]
    slow = [slow_likelihood(list(ids), 2, 3, said_after) for ids in whole]
    assert [values[0] for values in found[needs[0]]] == pytest.approx(slow, abs=1e-12, nan_ok=True)
    assert all(len(values) == 1 for need in needs for values in found[need])
    assert all(need.reads_logits for need in needs)
