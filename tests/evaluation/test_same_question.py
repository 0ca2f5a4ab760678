"""True and wrong answers are read after the same question, whatever form asks it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from expunge.data.record import Record
from expunge.data.tokenize import encode
from expunge.errors import InputError
from expunge.evaluation.runner import evaluate
from expunge.metrics.distances import PairedGap
from expunge.metrics.memorisation import Probability, TruthRatio
from tests.evaluation.worlds import Source, make_record, make_store, make_subject, make_tokenizer
from tests.support.tiny import llama

CLOSE = 1e-5


def mean_logp(model, record: Record) -> float:
    """Nats per answer token, from the full logits in float64."""
    example = encode(record, make_tokenizer(), row=0, max_length=64)
    with torch.no_grad():
        table = model(torch.tensor([example.input_ids])).logits[0].double().log_softmax(-1)
    return float(np.mean([table[at - 1, label].item() for at, label in enumerate(example.labels) if label >= 0]))


def by_hand(model, record: Record) -> tuple[float, float, float]:
    """Truth ratio, normalised probability, and the log ratio after the paraphrased question."""
    asked = replace(record, prompt=record.paraphrased_question)
    own = mean_logp(model, asked)
    wrong = np.array([mean_logp(model, replace(asked, answer=answer)) for answer in record.perturbed_answers])
    return np.exp(wrong.mean() - own), np.exp(own) / (np.exp(own) + np.exp(wrong).sum()), wrong.mean() - own


def scored(tmp_path, models, records, *metrics):
    subjects = [make_subject(role, Source(model)) for role, model in models.items()]
    return evaluate(subjects, {"forget": records}, metrics, make_store(tmp_path, "forget"), resamples=20)


def test_all_answers_are_read_after_the_paraphrased_question(tmp_path):
    """By hand, record for record; a ratio of answers to two different questions fails it."""
    models = {"unlearned": llama(seed=3), "retrained": llama(seed=4)}
    records = [make_record("forget", index) for index in range(4)]
    form = "paraphrased_question"
    ratio, probability = TruthRatio(form=form), Probability(form=form, normalised=True)
    gap = PairedGap(form=form, measure="log_truth_ratio")
    found = scored(tmp_path, models, records, ratio, probability, gap)
    values = {(score.label, score.role): score.value for score in found.scores}
    for role, model in models.items():
        hand = np.array([by_hand(model, record) for record in records])
        scores = np.minimum(hand[:, 0], 1 / hand[:, 0])
        assert values[ratio.label, role] == pytest.approx(scores.mean(), abs=CLOSE)
        assert values[probability.label, role] == pytest.approx(hand[:, 1].mean(), abs=CLOSE)
    both = [np.array([by_hand(models[role], record)[2] for record in records]) for role in models]
    assert values[gap.label, "unlearned"] == pytest.approx(np.abs(both[0] - both[1]).mean(), abs=CLOSE)


def test_records_without_wrong_answers_are_reported(tmp_path):
    records = [replace(make_record("forget", index), perturbed_answers=()) for index in range(2)]
    metric = TruthRatio(form="paraphrased_question")
    found = scored(tmp_path, {"unlearned": llama()}, records, metric)
    assert [item.reason for item in found.omitted] == ["the forget records have no perturbed_answer"]
    apart = [make_record("forget", 0, paraphrase=False), replace(make_record("forget", 1), perturbed_answers=())]
    found = scored(tmp_path, {"unlearned": llama()}, apart, metric)
    assert "no forget record has both" in found.omitted[0].reason


@pytest.mark.parametrize("form", ["cloze", "value", "multi_hop", "yes_no", "perturbed_answer"])
def test_wrong_answers_to_another_question_normalise_nothing(form):
    with pytest.raises(InputError, match=f"form='{form}' cannot be scored here"):
        Probability(form=form, normalised=True)
