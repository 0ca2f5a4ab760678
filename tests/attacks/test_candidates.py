"""Candidates are counted as they are, and the answer's first token is looked for among them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from expunge.attacks.base import AttackTask
from expunge.attacks.candidates import HeadProjection, ProbabilityDelta, guesses
from expunge.attacks.inside import first_place
from expunge.data.batch import IGNORE, Example
from expunge.errors import InputError
from expunge.models.load import LoadedModel
from tests.attacks.lookup import END, lookup, record
from tests.models.conftest import build, make_tokenizer

FACTS = {10: 20, 20: 21, 21: END, 11: 22, 22: END}
RECORDS = [record(0, "w10 w11", " w20 w21"), record(1, "w12", " w30"), record(2, "w9 w8 w7", " w6 w5 w4 w3")]
TEXTS = [[10, 11, 20, 21, END], [12, 30, END], [9, 8, 7, 6, 5, 4, 3, END]]
STARTS = [2, 1, 3]


def test_guesses_by_hand():
    first = torch.tensor([[5.0, 4.0, 3.0, 2.0, 1.0], [0.0, 9.0, 1.0, 8.0, 2.0]])
    second = torch.tensor([[4.0, 5.0, 1.0, 2.0, 3.0], [9.0, 8.0, 0.0, 1.0, 2.0]])
    assert guesses([first, second], [2, 1], 2, bottom=False) == ([{0, 1}, {1, 3, 0}], [False, True])
    assert guesses([first, second], [2, 4], 1, bottom=True) == ([{0, 1, 4, 2}, {1, 0, 2}], [True, False])
    assert guesses([first], [2, 4], 9, bottom=True)[0] == [{0, 1, 2, 3, 4}] * 2


def oracle(attack, layers, delta):
    """Per record, from transformers' own hidden states: candidates at the end of the prompt."""
    model = build("llama", num_hidden_layers=4)
    found = []
    for ids, start in zip(TEXTS, STARTS, strict=True):
        output = model(torch.tensor([ids]), output_hidden_states=True)
        rows = [model.lm_head(model.model.norm(state))[0, start - 1] for state in output.hidden_states[1:4]]
        rows = [*rows, output.logits[0, start - 1]]
        chosen = [rows[layer] for layer in layers]
        if delta:
            shares = [row.softmax(-1) for row in chosen]
            chosen = [after - before for before, after in zip(shares, shares[1:], strict=False)]
        order = [row.argsort(descending=True).tolist() for row in chosen]
        ends = [ids for row in order for ids in (row[: attack.k], row[-attack.k :] if attack.bottom else [])]
        found.append({token for part in ends for token in part})
    return found


@pytest.mark.parametrize("bottom", [False, True])
@pytest.mark.parametrize(("kind", "delta"), [(HeadProjection, False), (ProbabilityDelta, True)])
def test_candidates_of_inner_layers_by_hand(kind, delta, bottom):
    attack = kind(k=20, others=(1,), bottom=bottom, layers="0,2-3", scored="answer")
    loaded = LoadedModel(build("llama", num_hidden_layers=4), make_tokenizer(), "")
    found = attack.probe(loaded, AttackTask(splits={"forget": RECORDS}, max_length=32))
    expected = oracle(attack, (0, 2, 3), delta)
    hits = [ids[start] in candidates for ids, start, candidates in zip(TEXTS, STARTS, expected, strict=True)]
    assert found.best == "k=20"
    assert found.values["k=20"].tolist() == hits
    assert found.details["candidates_k20"] == found.at["k=20"] == pytest.approx(sum(map(len, expected)) / 3)
    assert found.details["most_candidates_k20"] == max(map(len, expected))


def test_layers_that_agree_make_one_candidate():
    task = AttackTask(splits={"forget": [record(0, "w10", " w20 w21"), record(1, "w11", " w23")]}, max_length=32)
    attack = HeadProjection(k=1, others=(), layers="0-3", scored="answer")
    found = attack.probe(lookup(FACTS, layers=4), task)
    assert found.values["k=1"].tolist() == [1, 0]
    assert found.at == {"k=1": 1.0}
    hidden = attack.probe(lookup(FACTS, layers=4, hacked=True), task)
    assert hidden.values["k=1"].tolist() == [1, 0]
    assert hidden.at == {"k=1": 2.0}  # what the first three layers say, and what the last one says


def test_a_change_between_layers_tells():
    """The last block throws the answer out: of all probabilities that of the answer falls most."""
    task = AttackTask(splits={"forget": [record(0, "w10", " w20 w21")]}, max_length=32)
    for bottom, expected in ((True, 1), (False, 0)):
        attack = ProbabilityDelta(k=1, others=(), layers="2-3", scored="answer", bottom=bottom)
        assert attack.probe(lookup(FACTS, layers=4, hacked=True), task).values["k=1"].tolist() == [expected]


def test_one_layer_has_no_change():
    task = AttackTask(splits={"forget": RECORDS}, max_length=32)
    with pytest.raises(InputError, match="two or more"):
        ProbabilityDelta(layers="1").probe(lookup(FACTS), task)


def test_spaces_and_special_tokens_are_passed_over():
    tokenizer = SimpleNamespace(all_special_ids=[2], decode=lambda ids: " " if ids == [5] else "x")
    labels = (IGNORE, IGNORE, 5, 2, 6, 7)
    assert first_place(Example((1, 3, 5, 2, 6, 7), labels, 0), tokenizer) == 4
    assert first_place(Example((1, 5, 2), (IGNORE, 5, 2), 0), tokenizer) is None
    assert first_place(Example((6, 5), (6, 5), 0), tokenizer) is None  # nothing predicts the first token


def test_a_record_without_such_a_token_has_no_number(monkeypatch):
    task = AttackTask(splits={"forget": RECORDS}, max_length=32)
    places = {0: 2, 1: None, 2: 3}
    monkeypatch.setattr("expunge.attacks.candidates.first_place", lambda example, _: places[example.row])
    found = HeadProjection(scored="answer").probe(lookup(FACTS), task)
    assert [value == value for value in found.values["k=4"]] == [True, False, True]


@pytest.mark.parametrize("settings", [{"k": 0}, {"others": (0,)}, {"scored": "all"}])
def test_settings_that_make_no_sense(settings):
    with pytest.raises(InputError):
        HeadProjection(**settings)


def test_logits_of_half_precision_are_compared_in_full(monkeypatch):
    seen = []
    monkeypatch.setattr(HeadProjection, "rankings", lambda self, logits: seen.extend(logits) or list(logits))
    half = LoadedModel(build("llama").bfloat16(), make_tokenizer(), "")
    HeadProjection(scored="answer").probe(half, AttackTask(splits={"forget": RECORDS}, max_length=32))
    assert {logits_NV.dtype for logits_NV in seen} == {torch.float32}
