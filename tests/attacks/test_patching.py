"""States of other models in the original: what they cost, and the score made of it, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from expunge.attacks.base import AttackTask
from expunge.attacks.patching import DEPTH, UnlearningDepth, depth_scores, kept_shares, patched_logps
from expunge.data.batch import IGNORE, Example, collate
from expunge.errors import InputError, MissingNeedError
from expunge.functional.logprobs import predicting_mask
from expunge.models.load import LoadedModel
from expunge.models.reading import read
from tests.attacks.lookup import END, lookup, record
from tests.models.conftest import build, make_examples, make_tokenizer

FACTS = {10: 20, 20: 21, 21: END, 11: 22, 22: END}
RECORDS = [record(0, "w10", " w20 w21"), record(1, "w11", " w22")]
ATTACK = UnlearningDepth(scored="answer")
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


def loaded(seed, name="llama", **changes):
    return LoadedModel(build(name, seed=seed, **changes), make_tokenizer(), "")


def task(original, retrained, records=RECORDS, **settings):
    return AttackTask(
        splits={"forget": records}, max_length=32, original=lambda: original, retrained=lambda: retrained, **settings
    )


def test_scores_by_hand():
    """Layers of 1.0 and 0.5 count, one of 0.04 does not: (1.0 * 0.25 + 0.5 * 1) / 1.5 = 1/2."""
    first = np.array([[1.0, 0.5, 0.04], [0.05, 0.0, -3.0], [2.0, 0.0, 0.0], [2.0, 1.0, 0.0]])
    second = np.array([[0.25, 0.9, 9.0], [1.0, 1.0, 1.0], [-1.0, 5.0, 5.0], [3.0, 1.0, 0.0]])
    np.testing.assert_allclose(depth_scores(first, second, 0.05), [0.5, np.nan, 0.0, 1.0])
    expected = [[0.75, 0.0, np.nan], [np.nan] * 3, [1.0, np.nan, np.nan], [0.0, 0.0, np.nan]]
    np.testing.assert_allclose(kept_shares(first, second, 0.05), expected)
    assert np.isnan(depth_scores(np.array([[np.nan]]), np.array([[1.0]]), 0.05)).all()


def test_the_last_layer_is_read_by_the_originals_own_top():
    original, source = build("llama", seed=0), build("llama", seed=1)
    batch = collate(make_examples(), pad_id=0)
    mask_BT = predicting_mask(batch.labels_BT)
    with torch.no_grad():
        found_BL = patched_logps(original, source, batch, [0, 1])
        states_ND = read(source, batch, hidden_layers=(1,)).hidden(1)[mask_BT]
        logps_NV = original.lm_head(original.model.norm(states_ND)).log_softmax(-1)
    labels = [[label for label in example.labels[1:] if label != IGNORE] for example in make_examples()]
    own_N = logps_NV[torch.arange(len(logps_NV)), torch.tensor([label for row in labels for label in row])]
    expected_B = torch.stack([part.mean() for part in own_N.split([len(row) for row in labels])])
    torch.testing.assert_close(found_BL[:, 1], expected_B, **TOLERANCE)


def test_states_are_replaced_where_they_predict_and_nowhere_else():
    """One record without padding, and hooks set by hand."""
    original, source = build("llama", seed=0), build("llama", seed=1)
    ids = (5, 6, 7, 8, 9)
    batch = collate([Example(ids, (IGNORE, IGNORE, IGNORE, 8, 9), 0)], pad_id=0)
    with torch.no_grad():
        states_BTD = source(torch.tensor([ids]), output_hidden_states=True).hidden_states[1]

        def put(_, args, output):
            patched_BTD = output.clone()
            patched_BTD[:, 2:4] = states_BTD[:, 2:4]
            return patched_BTD

        handle = original.model.layers[0].register_forward_hook(put)
        logps_TV = original(torch.tensor([ids])).logits[0].log_softmax(-1)
        handle.remove()
        found_BL = patched_logps(original, source, batch, [0])
    torch.testing.assert_close(found_BL[0, 0], (logps_TV[2, 8] + logps_TV[3, 9]) / 2, **TOLERANCE)


def test_the_original_is_intact_and_the_retrained_model_is_erased():
    original, retrained = loaded(0), loaded(1)
    records = [record(n, f"w{n + 3} w{n + 20}", f" w{n + 40} w{n + 60}") for n in range(12)]
    own = ATTACK.probe(loaded(0), task(original, retrained, records))
    other = ATTACK.probe(loaded(1), task(original, retrained, records))
    known = ~np.isnan(own.values[DEPTH])
    assert own.best == DEPTH
    assert 3 <= known.sum() == own.details["records"]
    assert (own.values[DEPTH][known] == 1).all()
    assert (other.values[DEPTH][known] == 0).all()
    assert (np.isnan(other.values[DEPTH]) == ~known).all()
    assert own.at == {"layer 0": 0, "layer 1": 1}
    assert own.details["own_lost_layer_0"] == 0 != own.details["retrained_lost_layer_0"]
    assert other.details["own_lost_layer_0"] == other.details["retrained_lost_layer_0"]


def test_a_hack_of_the_last_layer_is_half_the_depth():
    """Every layer of the retrained model says nothing; of the hacked model's two the first says all.

    The hacked state costs more than the empty one, which counts no more than all.
    """
    original, hacked = lookup(FACTS), lookup(FACTS, hacked=True)
    nobody = lookup(FACTS)
    nobody.model.model.embed_tokens.weight.data.zero_()
    found = ATTACK.probe(hacked, task(original, nobody))
    np.testing.assert_allclose(found.values[DEPTH], [0.5, 0.5])
    assert found.values["layer 0"].tolist() == [1, 1]
    assert found.values["layer 1"].tolist() == [0, 0]


def test_where_the_retrained_model_knows_there_is_nothing_to_tell():
    found = ATTACK.probe(loaded(1), task(loaded(0), loaded(0)))
    assert np.isnan(found.values[DEPTH]).all()
    assert found.details["records"] == 0


def test_models_that_do_not_fit():
    with pytest.raises(InputError, match=r"LlamaForCausalLM \(3 layers of width 32\) do not fit"):
        ATTACK.probe(loaded(1, num_hidden_layers=3), task(loaded(0), loaded(0)))
    with pytest.raises(InputError, match="Qwen2ForCausalLM"):
        ATTACK.probe(loaded(0), task(loaded(0), loaded(0, "qwen2")))
    other = make_tokenizer()
    other.eos_token = "w3"
    with pytest.raises(InputError, match="tokenizers"):
        ATTACK.probe(LoadedModel(build("llama"), other, ""), task(loaded(0), loaded(0)))


@pytest.mark.parametrize("role", ["original", "retrained"])
def test_both_other_models_are_needed(role):
    lacking = replace(task(loaded(0), loaded(0)), **{role: None})
    with pytest.raises(MissingNeedError, match=f"--{role} MODEL"):
        ATTACK.check(lacking)


@pytest.mark.parametrize("settings", [{"threshold": 0.0}, {"scored": "all"}])
def test_settings_that_make_no_sense(settings):
    with pytest.raises(InputError):
        UnlearningDepth(**settings)
