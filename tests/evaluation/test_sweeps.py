"""Gradients, transforms, draws and two models side by side, against slow readings of the same."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from expunge.data.tokenize import encode
from expunge.data.transforms import AfterOthers, Lowercase, WordDropout
from expunge.errors import InputError
from expunge.evaluation.answering import answer_needs
from expunge.evaluation.replies import Asking, generate_replies, score_replies
from expunge.evaluation.runner import evaluate
from expunge.metrics.base import Answers, Metric, Need, Sampling, Score, mean_score
from tests.evaluation.worlds import Source, make_splits, make_store, make_subject, make_tokenizer, never
from tests.support.tiny import llama


def own_example(record):
    return encode(record, make_tokenizer(), row=0, max_length=64)


def logits_of(model, example):
    with torch.no_grad():
        table = model(torch.tensor([example.input_ids])).logits[0].double()
    return [table[place - 1] for place, label in enumerate(example.labels) if label >= 0]


def test_norm_of_each_records_own_gradient():
    model, records = llama(), make_splits(4)["forget"]
    need = Need(kind="grad_norm", split="forget")
    found = answer_needs(Source(model)(), {"forget": records}, [need], max_length=64, batch_size=3)[need]
    for record, answer in zip(records, found, strict=True):
        example = own_example(record)
        model.zero_grad()
        labels = torch.tensor([example.labels])
        model(input_ids=torch.tensor([example.input_ids]), labels=labels).loss.backward()
        squares = sum(float(weight.grad.double().square().sum()) for weight in model.parameters())
        assert answer == [pytest.approx(math.sqrt(squares), rel=1e-4)]
    model.zero_grad()
    model.requires_grad_(False)
    again = answer_needs(Source(model)(), {"forget": records}, [need], max_length=64, batch_size=3)[need]
    assert again == found
    assert not any(weight.requires_grad for weight in model.parameters())
    assert all(weight.grad is None or not weight.grad.any() for weight in model.parameters())


def test_log_probabilities_under_a_decoding_scheme():
    model, records = llama(), make_splits(3)["forget"]
    need = Need(kind="sampled_logps", split="forget", params=(("temperature", 0.5), ("top_k", 20)))
    plain = Need(kind="sampled_logps", split="forget", params=(("temperature", 1.0), ("top_k", 0)))
    usual = Need(kind="token_logps", split="forget")
    found = answer_needs(Source(model)(), {"forget": records}, [need, plain, usual], max_length=64, batch_size=2)
    for row, record in enumerate(records):
        example = own_example(record)
        labels = [label for label in example.labels if label >= 0]
        for value, row_V, label in zip(found[need][row][0], logits_of(model, example), labels, strict=True):
            chosen = row_V.topk(20)
            if label in chosen.indices:
                weights = (chosen.values / 0.5).softmax(-1)
                expected = math.log(weights[chosen.indices.tolist().index(label)])
                assert value == pytest.approx(expected, abs=1e-5)
            else:
                assert value == -1e4
        assert found[plain][row][0] == pytest.approx(found[usual][row][0], abs=1e-6)


def test_transformed_records_are_read_in_place_of_the_form():
    model, splits = llama(), make_splits(4)
    transforms = [Lowercase(), WordDropout(copies=3), AfterOthers(count=2)]
    needs = [Need(kind="token_logps", split="forget", transform=one) for one in transforms]
    found = answer_needs(Source(model)(), splits, needs, max_length=64, batch_size=5)
    for need, change in zip(needs, transforms, strict=True):
        for row, record in enumerate(splits["forget"]):
            changed = change.apply(record, splits["holdout"] if change.reads else ())
            assert len(found[need][row]) == len(changed)
            for values, one in zip(found[need][row], changed, strict=True):
                example = own_example(one)
                labels = [label for label in example.labels if label >= 0]
                rows = logits_of(model, example)
                expected = [float(row_V.log_softmax(-1)[label]) for row_V, label in zip(rows, labels, strict=True)]
                assert values == pytest.approx(expected, abs=1e-5)


class Distance(Metric):
    """Mean divergence from the retrained model."""

    direction = "lower"
    compares_to = ("retrained",)

    @property
    def label(self) -> str:
        return "distance"

    def needs(self) -> tuple[Need, ...]:
        return (Need(kind="divergence", split="forget", params=(("role", "retrained"),)),)

    def compute(self, answers: Answers) -> Score:
        rows = [float(np.mean(forms[0])) if forms else math.nan for forms in answers[self.needs()[0]]]
        return mean_score("forget", np.array(rows))


@pytest.fixture(autouse=True)
def known_name(monkeypatch):
    monkeypatch.setattr("expunge.evaluation.runner.registry.name_of", lambda metric: "distance")


def test_two_models_side_by_side_equal_scipy_and_are_stored(tmp_path):
    splits = make_splits(4)
    own, other = llama(1), llama(2)
    subjects = [make_subject("retrained", Source(other)), make_subject("unlearned", Source(own))]
    store = make_store(tmp_path)
    found = evaluate(subjects, splits, [Distance()], store, resamples=10)
    expected = []
    for record in splits["forget"]:
        example = own_example(record)
        pairs = zip(logits_of(other, example), logits_of(own, example), strict=True)
        expected.append(np.mean([entropy(left.softmax(-1), right.softmax(-1)) for left, right in pairs]))
    assert found.get("distance", "unlearned").value == pytest.approx(np.mean(expected), rel=1e-5)
    reasons = {(one.role, one.reason) for one in found.omitted}
    assert reasons == {("retrained", "this model is what the others are compared with")}
    stored = [make_subject("retrained", never), make_subject("unlearned", never)]
    assert evaluate(stored, splits, [Distance()], store, resamples=10).scores == found.scores
    # Another retrained model gives other numbers.
    changed = [make_subject("retrained", Source(llama(3)), weights="other"), stored[1]]
    with pytest.raises(AssertionError, match="must not be loaded"):
        evaluate(changed, splits, [Distance()], store, resamples=10)


def test_models_of_other_vocabularies_have_no_distance_and_stop_nothing(tmp_path):
    wide = llama(2)
    wide.resize_token_embeddings(70)
    subjects = [make_subject("retrained", Source(wide)), make_subject("unlearned", Source(llama(1)))]
    found = evaluate(subjects, make_splits(3), [Distance()], make_store(tmp_path), resamples=10)
    assert math.isnan(found.get("distance", "unlearned").value)


def test_draws_are_reproduced_and_differ_from_each_other():
    records = make_splits(3)["forget"]
    params = (("draw_seed", 3), ("max_new_tokens", 4), ("samples", 5), ("scorer", "length"), ("temperature", 1.0))
    need = Need(kind="generation_score", split="forget", params=(*params, ("top_p", 1.0)))
    asking = Asking.of(need)
    assert asking.sampling == Sampling(samples=5, draw_seed=3)
    said = [
        generate_replies(Source(llama())(), {"forget": records}, asking, max_length=64, batch_size=2, policy=None)
        for _ in range(2)
    ]
    assert said[0].texts == said[1].texts
    assert said[0].owners == tuple(row for row in range(3) for _ in range(5))
    assert len({text.reveal() for text in said[0].texts[:5]}) > 1
    assert [len(forms) for forms in score_replies(said[0], need)] == [5, 5, 5]


@pytest.mark.parametrize("settings", [{"samples": 0}, {"temperature": 0.0}, {"top_p": 0.0}, {"top_p": 1.5}])
def test_draws_that_cannot_be(settings):
    with pytest.raises(InputError, match="draw at least once"):
        Sampling(**settings)


class Family(Distance):
    """Mean number of answers of other retrained models, and of a reference."""

    compares_to = ()
    may_compare_to = ("retrained", "reference")

    def needs(self) -> tuple[Need, ...]:
        return (Need(kind="token_logps", split="forget"),)

    def compute(self, answers: Answers) -> Score:
        (need,) = self.needs()
        count = len(answers.family("retrained", need)) + 10 * len(answers.family("reference", need))
        return mean_score("forget", np.full(len(answers[need]), float(count)))


def test_all_models_of_a_family_are_read_and_a_reference_has_no_column(tmp_path):
    roles = ("retrained", "retrained_2", "reference", "unlearned")
    subjects = [make_subject(role, Source(llama(seed))) for seed, role in enumerate(roles)]
    subjects[2] = replace(subjects[2], scored=False)
    found = evaluate(subjects, make_splits(3), [Family()], make_store(tmp_path), resamples=10)
    values = {score.role: score.value for score in found.scores}
    assert values == {"unlearned": 12.0, "retrained": 11.0, "retrained_2": 11.0}
