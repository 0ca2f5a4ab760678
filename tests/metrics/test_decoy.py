"""Decoy rank by hand, and its two promises: uniform where nothing is known, smallest where all is."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from expunge.data.batch import collate
from expunge.data.forms import with_forms
from expunge.data.record import Record
from expunge.data.tokenize import encode, pad_id
from expunge.errors import InputError
from expunge.evaluation.answering import answer_needs
from expunge.functional.testing import holm
from expunge.metrics.base import Answers
from expunge.metrics.decoy import DecoyRank, rank_p_value
from expunge.models.load import LoadedModel
from expunge.storage.secret import Secret
from tests.data.test_tokenize import byte_level
from tests.metrics.numbers import answers, array


def test_rank_by_hand():
    assert rank_p_value(-1.0, array(-2.0, -3.0, -4.0)) == 1 / 4
    assert rank_p_value(-2.5, array(-2.0, -3.0, -4.0)) == 2 / 4
    assert rank_p_value(-5.0, array(-2.0, -3.0, -4.0)) == 4 / 4
    assert rank_p_value(-3.0, array(-2.0, -3.0, -4.0)) == 3 / 4  # ties count against
    assert rank_p_value(-3.0 + 1e-13, array(-3.0)) == 1.0  # and so does rounding
    assert np.isnan(rank_p_value(-1.0, array()))
    assert np.isnan(rank_p_value(float("nan"), array(-1.0)))


def rank_by_loop(truth: float, decoys: list[float]) -> float:
    """The place of the value in the list of all, the best first, and last among its equals."""
    place = 1
    for other in decoys:
        if not other < truth:
            place += 1
    return place / (len(decoys) + 1)


@given(st.integers(-40, 40), st.lists(st.integers(-40, 40), min_size=1, max_size=60))
def test_rank_is_that_of_a_loop(truth, decoys):
    """In eighths, which are exact: no rounding hides a tie or makes one."""
    found = rank_p_value(truth / 8, array(*(other / 8 for other in decoys)))
    assert found == rank_by_loop(truth / 8, [other / 8 for other in decoys])


def holm_by_loop(p_values: list[float]) -> list[float]:
    """From the definition: reject one after the other, and stop at the first that fails; what level rejects each?"""
    adjusted = []
    for own in p_values:
        below = sorted(other for other in p_values if other <= own)
        adjusted.append(min(1.0, max((len(p_values) - place) * other for place, other in enumerate(below))))
    return adjusted


@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=8, unique=True))
def test_holm_is_that_of_a_loop(p_values):
    np.testing.assert_allclose(holm(p_values), holm_by_loop(p_values), rtol=1e-12)


def test_metric_is_that_of_a_loop_over_records_and_tokens():
    """Values and decoys of unequal length, some records without any."""
    source = np.random.default_rng(3)
    decoys = [
        [source.integers(-64, 0, size=source.integers(1, 5)) / 8 for _ in range(source.integers(0, 30))]
        for _ in range(12)
    ]
    values = [[source.integers(-64, 0, size=source.integers(1, 5)) / 8] for _ in range(12)]
    expected = [
        rank_by_loop(sum(value[0]) / len(value[0]), [sum(one) / len(one) for one in others])
        for value, others in zip(values, decoys, strict=True)
        if others
    ]
    found = DecoyRank().compute(answers(DecoyRank(), decoys, values))
    assert found.value == pytest.approx(sum(expected) / len(expected), abs=1e-12)
    assert found.details["holm_p"] == pytest.approx(min(holm_by_loop(expected)), abs=1e-12)


def test_one_subject():
    """A single record is enough: its own p-value, nothing to adjust."""
    others = [[array(-float(place)) for place in range(2, 41)]]
    found = DecoyRank().compute(answers(DecoyRank(), others, [[array(-1.0)]]))
    assert found.value == found.details["holm_p"] == pytest.approx(1 / 40)
    assert found.details == {"holm_p": pytest.approx(1 / 40), "significant": 1.0, "records": 1.0, "decoys": 39.0}
    found = DecoyRank().compute(answers(DecoyRank(), others, [[array(-2.5)]]))
    assert found.value == pytest.approx(2 / 40)
    assert found.details["significant"] == 0  # 0.05 is not below 0.05


def test_holm_by_hand():
    """Sorted 0.01, 0.02, 0.03, 0.5 times 4, 3, 2, 1: 0.04, 0.06, 0.06, 0.5."""
    np.testing.assert_allclose(holm([0.03, 0.01, 0.5, 0.02]), [0.06, 0.04, 0.5, 0.06])
    np.testing.assert_allclose(holm([0.9, 0.8]), [1.0, 1.0])
    assert len(holm([])) == 0


@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=8))
def test_holm_lies_between_none_and_bonferroni(p_values):
    adjusted = holm(p_values)
    assert np.all(adjusted >= np.array(p_values) - 1e-12)
    assert np.all(adjusted <= np.minimum(1, len(p_values) * np.array(p_values)) + 1e-12)
    order = np.argsort(p_values, kind="stable")
    assert np.all(np.diff(adjusted[order]) >= 0)


def test_metric_by_hand():
    """Ranks of 1/5, none, 3/5, 5/5; with two records those of the first and the third."""
    decoys = [[array(-4.0, -2.0), array(-5.0), array(-6.0), array(-3.5)], [], [array(-1.0)] * 2 + [array(-9.0)] * 2]
    decoys.append([array(-1.0)] * 4)
    value = [[array(-1.0, -2.0)], [array(-1.0)], [array(-2.0)], [array(-8.0)]]
    score = DecoyRank().compute(answers(DecoyRank(), decoys, value))
    assert score.value == pytest.approx((1 / 5 + 3 / 5 + 1) / 3)
    assert score.details == {"holm_p": pytest.approx(3 / 5), "significant": 0.0, "records": 3.0, "decoys": 4.0}
    two = DecoyRank(records=2)
    assert two.compute(answers(two, decoys, value)).value == pytest.approx(2 / 5)
    assert two.label == "decoy_rank(split=forget, form=decoy, records=2)"


def test_settings_that_make_no_sense():
    with pytest.raises(InputError, match="form="):
        DecoyRank(form="cloze")
    with pytest.raises(InputError, match="records=0"):
        DecoyRank(records=0)


TOKENIZER = byte_level()


def persons(count: int, seed: int = 0) -> list[Record]:
    source = np.random.default_rng(seed)
    made = []
    for index in range(count):
        digits = "".join(map(str, source.integers(1, 10, size=7)))
        label = f"forget record {index}"
        made.append(
            Record(
                index=index,
                split="forget",
                kind="qa",
                prompt=Secret(f"What is the number of person {chr(97 + index % 26)}{chr(97 + index // 26)}?", label),
                answer=Secret(f"It is {digits[:3]}-{digits[3:]}.", label),
            )
        )
    return made


def random_model(seed: int):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(TOKENIZER),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=128,
        initializer_range=0.3,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).eval()


def score(model, people, **settings):
    metric = DecoyRank(**settings)
    loaded = LoadedModel(model, TOKENIZER, "tiny")
    found = answer_needs(loaded, {"forget": people}, metric.needs(), max_length=128, batch_size=64)
    return metric.compute(Answers(found))


@pytest.mark.slow
def test_uniform_under_models_that_never_saw_the_values():
    p_values = []
    for seed in range(6):
        records = with_forms(persons(20, seed=seed), ["decoy"], seed=seed, decoys=39, decoy_records=20)
        p_values += list(score(random_model(seed), records, records=20).samples[0].values)
    assert len(p_values) == 120
    assert scipy.stats.kstest(p_values, "uniform").pvalue > 0.01
    assert 0.42 < np.mean(p_values) < 0.60


def test_a_model_without_preferences_says_nothing():
    model = random_model(0)
    torch.nn.init.zeros_(model.lm_head.weight)
    records = with_forms(persons(4), ["decoy"], decoys=39)
    found = score(model, records)
    # Values of one length have equal means then, and ties count against the value.
    assert found.details["significant"] == 0
    assert found.value > 0.3


def test_a_single_memorised_value_has_the_smallest_p():
    """The model is trained on one record by heart; no retrained model is needed to see it."""
    records = with_forms(persons(1), ["decoy"], decoys=99)
    model = random_model(0).train()
    batch = collate([encode(records[0], TOKENIZER, row=0, max_length=128)], pad_id(TOKENIZER))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(40):
        loss = model(input_ids=batch.input_ids_BT, attention_mask=batch.attention_mask_BT, labels=batch.labels_BT).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    found = score(model.eval(), records)
    assert found.value == pytest.approx(1 / 100)
    assert found.details["holm_p"] == pytest.approx(0.01)
    assert found.details["significant"] == 1


def test_only_tokens_of_the_value_are_scored():
    (record,) = with_forms(persons(1), ["decoy"], decoys=30)
    for form in ("value", "decoy"):
        for one in record.forms(form):
            example = encode(one, TOKENIZER, row=0, max_length=128)
            scored = [label for label in example.labels if label >= 0]
            assert TOKENIZER.decode(scored).strip() == one.answer.reveal()
