"""Model utility and forget quality: by hand, and against real logs of Llama-2-7B."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import scipy.stats

from expunge.functional.text import SCORERS, Reply
from expunge.metrics.base import Answers
from expunge.metrics.distribution import ForgetQuality, forget_quality
from expunge.metrics.memorisation import truth_ratio, truth_scores
from expunge.metrics.utility import SPLITS, ModelUtility, model_utility, split_utility
from tests.metrics.numbers import answers, array

EXACT = 1e-12
PUBLISHED = 5e-5  # four printed digits
log = math.log


def test_split_utility_by_hand():
    found = split_utility(array(log(0.4)), array(log(0.2)), [array(log(0.1), log(0.1))], array(0.7), normalised=True)
    assert (found.probability[0], found.rouge[0], found.truth[0]) == pytest.approx((0.4 / 0.6, 0.7, 0.5), abs=EXACT)
    plain = split_utility(array(log(0.4)), array(log(0.2)), [array(log(0.1))], array(0.7), normalised=False)
    assert plain.probability[0] == pytest.approx(0.4, abs=EXACT)


def test_model_utility_is_a_harmonic_mean_of_means():
    assert model_utility(array(0.25, 0.75), array(1.0)) == pytest.approx(2 / (1 / 0.5 + 1), abs=EXACT)
    assert model_utility(array(0.0), array(1.0)) == 0.0
    assert math.isnan(model_utility(array(), array(1.0)))


def test_model_utility_metric_reads_nine_numbers():
    metric = ModelUtility()
    own = {}
    for need in metric.needs():
        if need.kind == "generation_score":
            own[need] = [[0.8], [0.6]]
        elif need.form == "perturbed_answer":
            own[need] = [[array(log(0.1)), array(log(0.1))]] * 2
        else:
            own[need] = [[array(log(0.2), log(0.2))]] * 2
    scorers = {dict(need.params)["scorer"] for need in metric.needs() if need.generates}
    assert scorers == {"tofu_rouge_l_recall"}  # the published numbers
    score = metric.compute(Answers(own))
    parts = [0.2, 0.7, 0.5, 0.5, 0.7, 0.5, 0.5, 0.7, 0.5]
    assert list(score.details.values()) == pytest.approx(parts, abs=EXACT)
    assert list(score.details)[:4] == [
        "retain_probability",
        "retain_rouge",
        "retain_truth_ratio",
        "real_authors_probability",
    ]
    paraphrased = [need.split for need in metric.needs() if need.form == "paraphrased_answer"]
    assert paraphrased == ["retain"]  # TOFU has no paraphrases of real authors and world facts
    assert score.value == pytest.approx(9 / sum(1 / part for part in parts), abs=EXACT)
    assert [sample.split for sample in score.samples] == [split for split in SPLITS for _ in range(3)]


def test_forget_quality_by_hand():
    test = forget_quality(array(1, 2, 3, 4), array(11, 12, 13, 14))
    assert test.D == 1.0
    assert test.p == pytest.approx(2 / math.comb(8, 4), abs=EXACT)
    assert (test.n, test.m) == (4, 4)


def test_forget_quality_metric():
    metric = ForgetQuality()
    truth, wrong = [[array(log(0.5))], [array(log(0.5))], []], [[array(log(0.1))], [array(log(0.2))], []]
    same = metric.compute(answers(metric, truth, wrong, retrained=(truth, wrong)))
    assert same.value == 1.0
    assert same.details == {"D": 0.0, "p": 1.0, "n": 2.0, "m": 2.0}
    other = metric.compute(answers(metric, truth, wrong, retrained=(truth, [[array(-0.1)], [array(-0.1)], []])))
    assert other.details["D"] == 1.0
    assert other.value == other.details["p"] < 1
    assert not metric.resampled


def logged(path, model: str, part: str) -> dict[str, list]:
    columns = json.loads((path / "tofu_logs" / f"{model}.json").read_text())[part]
    return {name: list(values.values()) for name, values in columns.items() if name != "generated_text"}


PARTS = ("eval_log.json", "eval_real_author_wo_options.json", "eval_real_world_wo_options.json")


def utility_of(path, model: str, mean: str) -> float:
    columns = []
    for part in PARTS:
        log_of = logged(path, model, part)
        columns.extend(
            split_utility(
                -np.array(log_of["avg_gt_loss"]),
                -np.array(log_of["avg_paraphrased_loss"]),
                [-np.array(losses) for losses in log_of["average_perturb_loss"]],
                np.array(log_of["rougeL_recall"]),
                normalised=part != PARTS[0],
                mean=mean,
            )
        )
    return model_utility(*columns)


def forget_ratios(path, model: str) -> np.ndarray:
    log_of = logged(path, model, "eval_log_forget.json")
    wrong = [-np.array(losses) for losses in log_of["average_perturb_loss"]]
    return truth_ratio(-np.array(log_of["avg_paraphrased_loss"]), wrong)


@pytest.mark.real
@pytest.mark.parametrize(
    ("model", "mean", "expected"),
    [
        ("llama2_7b_full", "geometric", 0.6227),
        ("llama2_7b_retain90", "geometric", 0.6137),
        ("llama2_7b_full", "arithmetic", 0.5859),
        ("llama2_7b_retain90", "arithmetic", 0.5752),
    ],
)
def test_model_utility_of_real_logs(shared_data, model, mean, expected):
    assert utility_of(shared_data, model, mean) == pytest.approx(expected, abs=PUBLISHED)


@pytest.mark.real
@pytest.mark.parametrize("model", ["llama2_7b_full", "llama2_7b_retain90"])
def test_rouge_of_real_logs(shared_data, model):
    """Every ROUGE-L recall in the logs, from the reply and the answer beside it."""
    for part in (*PARTS, "eval_log_forget.json"):
        columns = json.loads((shared_data / "tofu_logs" / f"{model}.json").read_text())[part]
        replies = [Reply(text=reply, truth=truth) for _, reply, truth in columns["generated_text"].values()]
        expected = list(columns["rougeL_recall"].values())
        assert SCORERS["tofu_rouge_l_recall"](replies) == pytest.approx(expected, abs=EXACT)


@pytest.mark.real
def test_forget_quality_of_real_logs(shared_data):
    full, retrained = (forget_ratios(shared_data, name) for name in ("llama2_7b_full", "llama2_7b_retain90"))
    test = forget_quality(full, retrained)
    assert (test.n, test.m) == (300, 300)
    assert pytest.approx(0.3967, abs=PUBLISHED) == test.D
    assert test.p == pytest.approx(1.8e-21, rel=0.03)
    assert forget_quality(1 / full, 1 / retrained).p == pytest.approx(test.p)  # a test of ranks
    assert test.p == pytest.approx(scipy.stats.ks_2samp(full, retrained, method="exact").pvalue)


@pytest.mark.real
def test_forget_columns_of_the_published_table(shared_data):
    """TOFU's results for retain90: truth ratio 0.674, ROUGE 0.408, probability 0.148."""
    log_of = logged(shared_data, "llama2_7b_retain90", "eval_log_forget.json")
    scores = truth_scores(forget_ratios(shared_data, "llama2_7b_retain90"), "closer_to_one")
    assert np.mean(scores) == pytest.approx(0.674, abs=5e-4)
    assert np.mean(log_of["rougeL_recall"]) == pytest.approx(0.408, abs=5e-4)
    assert np.mean(np.exp(-np.array(log_of["avg_gt_loss"]))) == pytest.approx(0.148, abs=5e-4)
