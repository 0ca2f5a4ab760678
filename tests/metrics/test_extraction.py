"""Metrics of extraction: by hand, and against generation from tiny real models."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from expunge.data.tokenize import encode
from expunge.errors import InputError
from expunge.evaluation.answering import answer_needs
from expunge.metrics.extraction import (
    DiscoverableExtraction,
    ExtractionLikelihood,
    MemorisationAccuracy,
    ProbabilisticExtraction,
    discoverable,
    draw_logp,
)
from expunge.models.generate import greedy
from expunge.models.load import LoadedModel
from tests.evaluation.worlds import make_splits, make_tokenizer
from tests.metrics.numbers import answers, array
from tests.support.tiny import llama

EXACT = 1e-12
NEVER = -1e4  # what stands for minus infinity
log = math.log


@pytest.mark.parametrize(
    ("ranks", "context", "length", "expected"),
    [
        ([5, 5, 0, 0], 2, 2, 1.0),
        ([5, 5, 0, 0, 7], 2, 2, 1.0),  # what comes after does not matter
        ([0, 0, 1, 0], 2, 2, 0.0),
        ([0, 0, 0, 1], 2, 2, 0.0),
        ([0, 1, 0, 0], 1, 3, 0.0),
        ([0], 0, 1, 1.0),
    ],
)
def test_discoverable_by_hand(ranks, context, length, expected):
    assert discoverable(np.array(ranks), context, length) == expected
    assert math.isnan(discoverable(np.array(ranks), context, len(ranks) - context + 1))


def test_discoverable_counts_records_that_are_too_short():
    metric = DiscoverableExtraction(context=1, length=2)
    ranks = [[array(3, 0, 0)], [array(0, 0)], [array(0, 0, 1)], [], [array(0, 1, 0, 0)]]
    score = metric.compute(answers(metric, ranks))
    assert score.value == pytest.approx(1 / 3, abs=EXACT)
    assert score.details == {"too_short": 1.0}
    assert np.isnan(score.samples[0].values).tolist() == [False, True, False, True, False]
    assert metric.label == "discoverable_extraction(split=forget, form=trained, context=1, length=2)"
    assert (metric.aim, DiscoverableExtraction(split="retain").aim) == ("closer", "higher")


@pytest.fixture(scope="module")
def learned() -> LoadedModel:
    """A model that holds some of the forget answers."""
    model, tokenizer = llama(5, hidden=64), make_tokenizer()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(14):
        for record in make_splits(12)["forget"][:9]:
            ids = torch.tensor([encode(record, tokenizer, row=0, max_length=64).input_ids])
            model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return LoadedModel(model.eval(), tokenizer, "tiny")


@pytest.mark.parametrize(("context", "length"), [(0, 2), (1, 2), (2, 3)])
def test_discoverable_equals_greedy_generation(learned, context, length):
    metric, records = DiscoverableExtraction(context=context, length=length), make_splits(12)["forget"]
    found = answer_needs(learned, {"forget": records}, metric.needs(), max_length=64, batch_size=5)
    values = metric.compute(answers(metric, found[metric.needs()[0]])).samples[0].values
    expected = []
    for record in records:
        example = encode(record, learned.tokenizer, row=0, max_length=64)
        first = next(place for place, label in enumerate(example.labels) if label >= 0) + context
        true = list(example.input_ids[first : first + length])
        said = greedy(learned.model, learned.tokenizer, [example.input_ids[:first]], max_new_tokens=length)[0]
        said += [2] * (len(said) < length)  # the end token, which greedy takes away
        expected.append(math.nan if len(true) < length else float(said == true))
    assert values.tolist() == pytest.approx(expected, nan_ok=True)
    assert {0.0, 1.0} <= set(expected)


def test_the_part_that_is_drawn_by_hand():
    logps = array(-1, -2, -4, -8)
    assert draw_logp(logps, 0, 0) == -15
    assert draw_logp(logps, 1, 0) == -14
    assert draw_logp(logps, 1, 2) == -6
    assert draw_logp(logps, 3, 1) == -8
    assert math.isnan(draw_logp(logps, 3, 2))
    assert math.isnan(draw_logp(logps, 4, 0))
    assert math.isnan(draw_logp(array(), 0, 0))


def test_probabilistic_extraction_by_hand():
    """Q = 1/4: 1 - (3/4)^n reaches 1/2 at n = 3 (37/64); q = 1/8 at n = 6; what is never drawn, never."""
    logps = [[array(log(0.5), log(0.5))], [array(log(0.125))], [array(-0.1, NEVER)], [array()], []]
    metrics = [ProbabilisticExtraction(n=n) for n in (2, 3, 5, 6)]
    scores = [metric.compute(answers(metric, logps)) for metric in metrics]
    assert [score.value for score in scores] == pytest.approx([0, 1 / 3, 1 / 3, 2 / 3], abs=EXACT)
    assert scores[0].details == {"too_short": 1.0, "median_tries": 6.0}
    assert np.isnan(scores[0].samples[0].values).tolist() == [False, False, False, True, True]
    assert metrics[0].label == (
        "probabilistic_extraction(split=forget, form=trained, n=2, p=0.5, temperature=1.0, top_k=40, context=0, "
        "length=0)"
    )
    assert dict(metrics[0].needs()[0].params) == {"temperature": 1.0, "top_k": 40}


def test_most_records_never_drawn_take_infinitely_many_tries():
    metric = ProbabilisticExtraction()
    score = metric.compute(answers(metric, [[array(NEVER)], [array(-1.0)], [array(NEVER)]]))
    assert score.details["median_tries"] == math.inf
    assert math.isnan(metric.compute(answers(metric, [[], []])).details["median_tries"])


def test_several_forms_count_as_one_record():
    metric = ProbabilisticExtraction(n=1)
    score = metric.compute(answers(metric, [[array(log(0.9)), array(log(0.1))], [array(log(0.9))]]))
    assert score.value == pytest.approx(0.75, abs=EXACT)
    assert score.details["median_tries"] == 1.0


def brute_force(model, prompt: list[int], count: int, temperature: float, top_k: int, draws: int) -> np.ndarray:
    """Draws token by token, ``draws`` at once."""
    generator = torch.Generator().manual_seed(0)
    said = torch.tensor([prompt]).repeat(draws, 1)
    for _ in range(count):
        with torch.no_grad():
            kept = model(said).logits[:, -1].topk(top_k)
        chosen = torch.multinomial((kept.values / temperature).softmax(-1), 1, generator=generator)
        said = torch.cat([said, kept.indices.gather(-1, chosen)], dim=-1)
    return said[:, len(prompt) :].numpy()


@pytest.mark.slow
def test_probabilities_equal_brute_force_sampling(learned):
    """2,000 draws of two tokens: every share within four standard errors, and the verdict with it."""
    records, draws = make_splits(12)["forget"], 2_000
    limit = 1 - 0.5**0.25  # where 1 - (1 - q)^4 = 1/2
    metric = ProbabilisticExtraction(n=4, p=0.5, temperature=0.7, top_k=12, context=1, length=2)
    need = metric.needs()[0]
    logps = answer_needs(learned, {"forget": records}, [need], max_length=64, batch_size=5)[need]
    values = metric.compute(answers(metric, logps)).samples[0].values
    shares = []
    for record, forms, value in zip(records[:6], logps, values, strict=False):
        example = encode(record, learned.tokenizer, row=0, max_length=64)
        first = next(place for place, label in enumerate(example.labels) if label >= 0) + 1
        true = example.input_ids[first : first + 2]
        said = brute_force(learned.model, list(example.input_ids[:first]), 2, 0.7, 12, draws)
        share = float(np.mean((said == np.array(true)).all(-1)))
        q = math.exp(draw_logp(forms[0], 1, 2))
        assert share == pytest.approx(q, abs=4 * math.sqrt(q * (1 - q) / draws) + 1e-9)
        if abs(share - limit) > 0.03:  # else chance decides
            assert value == float(share > limit)
        shares.append(share)
    assert min(shares) < limit - 0.03
    assert max(shares) > limit + 0.03


def test_extraction_likelihood_and_memorisation_accuracy_are_means():
    for metric in (ExtractionLikelihood(), MemorisationAccuracy()):
        score = metric.compute(answers(metric, [[0.25], [math.nan], [np.array(0.75)], [], [0.5, 1.0]]))
        assert score.value == pytest.approx((0.25 + 0.75 + 0.75) / 3, abs=EXACT)
        assert score.details == {"too_short": 1.0}
    label = ExtractionLikelihood(stride=8).label
    assert label == "extraction_likelihood(split=forget, form=trained, n=10, stride=8)"
    assert dict(ExtractionLikelihood(n=3).needs()[0].params) == {"n": 3, "stride": 1}


@pytest.mark.parametrize(
    ("metric", "settings"),
    [
        (ExtractionLikelihood, {"n": 0}),
        (ExtractionLikelihood, {"stride": 0}),
        (DiscoverableExtraction, {"context": -1}),
        (DiscoverableExtraction, {"length": 0}),
        (ProbabilisticExtraction, {"n": 0}),
        (ProbabilisticExtraction, {"p": 0.0}),
        (ProbabilisticExtraction, {"p": 1.0}),
        (ProbabilisticExtraction, {"temperature": 0.0}),
        (ProbabilisticExtraction, {"top_k": -1}),
        (ProbabilisticExtraction, {"context": -1}),
        (ProbabilisticExtraction, {"length": -1}),
    ],
)
def test_settings_that_cannot_be(metric, settings):
    name, value = next(iter(settings.items()))
    with pytest.raises(InputError, match=f"{name}={value}"):
        metric(**settings)
