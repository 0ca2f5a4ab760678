"""What the suites measure."""

from __future__ import annotations

import pytest

from expunge.evaluation.replies import Asking
from expunge.evaluation.suites import NEW_TOKENS
from expunge.metrics.base import Metric
from expunge.registry import metrics as registry
from expunge.registry import suites

TOFU_SPLITS = ("forget", "retain", "real_authors", "world_facts")


def names(suite: tuple[Metric, ...], split: str) -> set[str]:
    return {registry.name_of(metric) for metric in suite if split in {need.split for need in metric.needs()}}


@pytest.mark.parametrize("name", ["quick", "tofu"])
@pytest.mark.parametrize("splits", [(), ("forget",), TOFU_SPLITS])
def test_labels_are_unique(name, splits):
    labels = [metric.label for metric in suites.get(name)(splits)]
    assert len(set(labels)) == len(labels) > 10


def test_quick():
    suite = suites.get("quick")(("forget", "retain", "holdout"))
    attacks = {"mia_loss", "mia_zlib", "mia_min_k", "mia_min_k_plus_plus"}
    forget = {"probability", "extraction_strength", "exact_memorisation", "rouge", "truth_ratio", "forget_quality"}
    forget |= {"decoy_rank", "answer_mix", "refusal_rate", "repetition", "reply_perplexity", "empty_rate"}
    assert names(suite, "forget") == forget | attacks
    assert names(suite, "holdout") == attacks
    spoken = {"answer_mix", "over_refusal", "repetition", "reply_perplexity", "empty_rate"}
    assert names(suite, "retain") == {"exact_memorisation", "probability", "perplexity", "rouge"} | spoken
    assert names(suite, "world_facts") == set()
    assert names(suites.get("quick")(("world_facts",)), "world_facts") == {
        "exact_memorisation",
        "probability",
        "rouge",
        "perplexity",
        "over_refusal",
    }
    lengths = {dict(need.params)["max_new_tokens"] for metric in suite for need in metric.needs() if need.params}
    assert lengths == {NEW_TOKENS}
    asked = {Asking.of(need) for metric in suite for need in metric.needs() if need.generates}
    assert asked == {Asking("forget", "trained", NEW_TOKENS), Asking("retain", "trained", NEW_TOKENS)}


def test_quick_reads_labels_and_neighbours_where_they_are():
    suite = suites.get("quick")(("forget", "retain", "classification", "neighbours_1"))
    assert names(suite, "classification") == {"classification"}
    assert {metric.measure for metric in suite if registry.name_of(metric) == "classification"} == {
        "accuracy",
        "precision",
        "recall",
        "f1",
        "loss",
    }
    assert names(suite, "neighbours_1") == {"exact_memorisation", "probability"}


def test_tofu():
    suite = suites.get("tofu")(TOFU_SPLITS)
    for split in TOFU_SPLITS:
        assert {"probability", "rouge", "truth_ratio"} <= names(suite, split)
    assert {"forget_quality", "model_utility"} <= {registry.name_of(metric) for metric in suite}
    scorers = {dict(need.params)["scorer"] for metric in suite for need in metric.needs() if need.generates}
    assert scorers == {"tofu_rouge_l_recall"}
    labels = [metric.label for metric in suite]
    assert "probability(split=real_authors, form=trained, normalised=True)" in labels
    assert "probability(split=retain, form=trained, normalised=False)" in labels
    assert "truth_ratio(split=world_facts, form=trained, mean=geometric, aggregate=truth_better)" in labels, (
        "world facts have no paraphrase"
    )
