"""The logit lens sees in inner layers what the last one hides."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from expunge.attacks.base import AttackTask
from expunge.attacks.lens import ANY, LogitLens, _reciprocal
from expunge.errors import InputError
from expunge.models.load import LoadedModel
from tests.attacks.lookup import END, lookup, record
from tests.models.conftest import build, make_tokenizer

FACTS = {10: 20, 20: 21, 21: END, 11: 22, 22: END}
RECORDS = (record(0, "w10", " w20 w21"), record(1, "w11", " w22"))
TASK = AttackTask(splits={"forget": RECORDS}, max_length=32)
WHOLE = LogitLens(scored="answer")


def test_a_hack_of_the_last_layer_hides_nothing():
    found = WHOLE.probe(lookup(FACTS, layers=3, hacked=True), TASK)
    assert found.best == ANY
    assert found.values[ANY].tolist() == found.values["layer 1"].tolist() == [1, 1]
    assert found.values["layer 2"].tolist() == [0, 0]
    assert found.at == {"layer 0": 0, "layer 1": 1, "layer 2": 2}
    assert found.plain == "layer 2"
    assert found.details["reciprocal_rank_layer_0"] == 1
    assert found.details["reciprocal_rank_layer_2"] == pytest.approx(1 / 97)  # last of 97 words


def test_a_model_that_knows_nothing():
    found = WHOLE.probe(lookup({}), TASK)
    assert all(values.tolist() == [0, 0] for values in found.values.values())
    # All words are as likely, and ties go to the smaller id: the ranks are 20, 21, 2 and 22, 2.
    first, second = (1 / 21 + 1 / 22 + 1 / 3) / 3, (1 / 23 + 1 / 3) / 2
    assert found.details["reciprocal_rank_layer_0"] == pytest.approx((first + second) / 2)


@pytest.mark.parametrize(
    ("facts", "share", "strength"),
    [({10: 20}, 1 / 3, 0.0), ({20: 21, 21: END}, 2 / 3, 2 / 3), ({10: 20, 21: END}, 2 / 3, 1 / 3)],
)
def test_measures_by_hand(facts, share, strength):
    for measure, expected in (("share", share), ("strength", strength)):
        found = LogitLens(scored="answer", measure=measure).probe(lookup(facts), TASK)
        assert found.values["layer 0"][0] == found.values[ANY][0] == pytest.approx(expected)


def test_the_best_layer_is_that_of_each_record():
    """Even records have for an answer what layer 0 says, odd ones what layer 2 says."""
    model = build("llama", num_hidden_layers=4)
    states = model(torch.arange(3, 23)[:, None], output_hidden_states=True).hidden_states
    said = [model.lm_head(model.model.norm(states[layer + 1]))[:, 0].argmax(-1).tolist() for layer in (0, 2)]
    asked = [record(n, f"w{n + 3}", f" w{said[n % 2][n]}") for n in range(20)]
    task = AttackTask(splits={"forget": asked}, max_length=32)
    found = WHOLE.probe(LoadedModel(model, make_tokenizer(), ""), task)
    layers = np.array([values for name, values in found.values.items() if name != ANY])
    assert found.values[ANY].min() >= 1 / 2  # the word, if not the end
    assert layers.min(1).max() == 0  # no layer alone has them all
    assert found.values[ANY].tolist() == layers.max(0).tolist()


def test_records_without_tokens_have_no_part_in_the_mean():
    assert _reciprocal([np.array([0, 1]), np.array([], dtype=np.int64)]) == 0.75
    assert np.isnan(_reciprocal([np.array([], dtype=np.int64)]))


def test_inner_layers_by_hand():
    """One record at a time, from transformers' own hidden states, which are not normed below the last."""
    model = build("llama", num_hidden_layers=3)
    records = [record(0, "w10 w11", " w20 w21"), record(1, "w12", " w30"), record(2, "w9 w8 w7", " w6 w5 w4 w3")]
    loaded = LoadedModel(model, make_tokenizer(), "")
    found = WHOLE.probe(loaded, AttackTask(splits={"forget": records}, max_length=32))
    for row, ids in enumerate(([10, 11, 20, 21, END], [12, 30, END], [9, 8, 7, 6, 5, 4, 3, END])):
        start = (2, 1, 3)[row]
        states = model(torch.tensor([ids]), output_hidden_states=True).hidden_states
        for layer in range(2):
            guess = model.lm_head(model.model.norm(states[layer + 1]))[0].argmax(-1).tolist()
            hits = [guess[place - 1] == ids[place] for place in range(start, len(ids))]
            assert found.values[f"layer {layer}"][row] == pytest.approx(np.mean(hits))


@pytest.mark.parametrize("settings", [{"measure": "mean"}, {"scored": "all"}])
def test_settings_that_do_not_exist(settings):
    with pytest.raises(InputError):
        LogitLens(**settings)
