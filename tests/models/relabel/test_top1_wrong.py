"""Adversarial labels against a loop over positions."""

from __future__ import annotations

import pytest
import torch

from expunge.data.batch import IGNORE, Example
from expunge.models.relabel.top1_wrong import Top1Wrong, likeliest_wrong
from tests.models.conftest import VOCABULARY, build, make_examples, make_tokenizer
from tests.models.relabel.records import task

SPECIAL = (0, 1, 2)


def by_loop(model, example: Example) -> tuple[int, ...]:
    """One prefix at a time: argmax over v that is neither special nor x_t of p(v | x_<t)."""
    labels = list(example.labels)
    for place in range(1, len(labels)):
        if labels[place] == IGNORE or labels[place] in SPECIAL:
            continue
        with torch.no_grad():
            scores = model(torch.tensor([example.input_ids[:place]])).logits[0, -1].tolist()
        wrong = [v for v in range(VOCABULARY) if v not in SPECIAL and v != example.input_ids[place]]
        labels[place] = max(wrong, key=lambda v: scores[v])
    return tuple(labels)


@pytest.mark.parametrize("name", ["llama", "gpt2", "cohere"])
def test_labels_are_those_of_a_loop_over_positions(name):
    model = build(name)
    rows = [*make_examples(20), Example((1, 5, 6, 2), (IGNORE, 5, 6, 2), 20)]
    found = Top1Wrong().relabel_tokens(rows, task(model=model, tokenizer=make_tokenizer()))
    assert [one.labels for one in found] == [by_loop(model, row) for row in rows]
    assert [one.input_ids for one in found] == [row.input_ids for row in rows]
    assert not model.training


def test_the_true_token_is_passed_over_where_it_is_likeliest():
    """Most labels of a model that knows the text would else be the truth."""
    model = build("llama")
    ids = [1, 5]
    for _ in range(8):
        with torch.no_grad():
            scores = model(torch.tensor([ids])).logits[0, -1]
        scores[[0, 1, 2]] = float("-inf")
        ids.append(int(scores.argmax()))
    example = Example(tuple(ids), (IGNORE, IGNORE, *ids[2:]), 0)
    (found,) = Top1Wrong().relabel_tokens([example], task(model=model, tokenizer=make_tokenizer()))
    assert all(new != old for new, old in zip(found.labels[2:], ids[2:], strict=True))
    assert found.labels == by_loop(model, example)


def test_by_hand():
    logits_NV = torch.tensor([[5.0, 1.0, 3.0, 4.0], [5.0, 1.0, 3.0, 4.0]])
    allowed_V = torch.tensor([False, True, True, True])
    assert likeliest_wrong(logits_NV, torch.tensor([1, 3]), allowed_V).tolist() == [3, 2]
