"""What the suites measure."""

from __future__ import annotations

import math

import pytest
import torch

from expunge.evaluation.eight_methods import NO_ATTACK, NO_RECORDS, eight_rows
from expunge.evaluation.passes import Pass, placed
from expunge.evaluation.replies import Asking
from expunge.evaluation.runner import evaluate
from expunge.evaluation.suites import NEW_TOKENS
from expunge.metrics.base import FORWARD, Metric
from expunge.registry import metrics as registry
from expunge.registry import suites
from tests.evaluation.worlds import Source, make_splits, make_store, make_subject
from tests.support.tiny import llama

TOFU_SPLITS = ("forget", "retain", "real_authors", "world_facts")


def names(suite: tuple[Metric, ...], split: str) -> set[str]:
    return {registry.name_of(metric) for metric in suite if split in {need.split for need in metric.needs()}}


@pytest.mark.parametrize("name", ["quick", "tofu", "full"])
@pytest.mark.parametrize("splits", [(), ("forget",), TOFU_SPLITS])
def test_labels_are_unique(name, splits):
    labels = [metric.label for metric in suites.get(name)(splits)]
    assert len(set(labels)) == len(labels) > 10


def test_quick():
    suite = suites.get("quick")(("forget", "retain", "holdout"))
    attacks = {"mia_loss", "mia_zlib", "mia_min_k", "mia_min_k_plus_plus"}
    forget = {"probability", "extraction_strength", "exact_memorisation", "rouge", "truth_ratio", "forget_quality"}
    forget |= {"decoy_rank", "answer_mix", "refusal_rate", "repetition", "reply_perplexity", "empty_rate"}
    forget |= {"multiple_choice"}
    assert names(suite, "forget") == forget | attacks
    alone = next(metric for metric in suite if metric.needs()[0].form == "value")
    assert (registry.name_of(alone), alone.evidence) == ("probability", "knowledge")
    assert names(suite, "holdout") == attacks | {"probability"}
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


def test_full_takes_one_forward_for_each_text_and_one_gradient_for_each_record(tmp_path, monkeypatch):
    """All metrics that generate nothing, 25 and more of them: one pass for each split, form and transform."""
    splits, batch_size = make_splits(12), 5
    model, backward = llama(), []
    forwards: list[int] = []
    model.register_forward_hook(lambda *_: forwards.append(1))
    gradients = torch.autograd.grad

    def counted(*arguments, **settings):
        backward.append(1)
        return gradients(*arguments, **settings)

    monkeypatch.setattr(torch.autograd, "grad", counted)
    apart = {"extraction_likelihood", "memorisation_accuracy"}  # sweeps that generate, or read the whole text
    suite = [metric for metric in suites.get("full")(tuple(splits)) if registry.name_of(metric) not in apart]
    silent = [metric for metric in suite if not any(need.generates or need.paired for need in metric.needs())]
    found = evaluate([make_subject("unlearned", Source(model))], splits, silent, make_store(tmp_path), resamples=2)
    assert len(silent) > 25
    computed = {score.label for score in found.scores}
    read = {
        Pass.of(need)
        for metric in silent
        if metric.label in computed
        for need in metric.needs()
        if need.kind in FORWARD and need.split in splits and placed(splits, Pass.of(need))
    }
    passes = sum(math.ceil(len(placed(splits, one)) / batch_size) for one in read)
    assert {one.transform.name for one in read if one.transform} == {"lowercase", "word_dropout", "after_others"}
    assert len(backward) == 24  # every forget and holdout record once
    # The default batch holds sixteen; the same passes in smaller batches are as many as they have to be.
    forwards.clear()
    again = [make_subject("unlearned", Source(model), weights="again")]
    evaluate(again, splits, silent, make_store(tmp_path), batch_size=batch_size, resamples=2)
    assert len(forwards) == passes + 24


def test_eight_methods_has_eight_rows_and_says_which_are_absent():
    splits = ("forget", "retain", "holdout", "world_facts", "neighbours_1", "neighbours_far")
    rows = eight_rows(splits)
    assert len(rows) == 8
    absent = {row.name: row.absent for row in rows if row.absent}
    attacks = ("jailbreak prompts", "in-context relearning", "relearning by fine-tuning", "latent knowledge")
    assert absent == dict.fromkeys(attacks, NO_ATTACK)
    assert all(bool(row.metrics) != bool(row.absent) for row in rows)
    suite = suites.get("eight_methods")(splits)
    assert {metric for row in rows for metric in row.metrics} <= set(suite)
    assert len(suite) == len(set(suite))
    assert names(suite, "neighbours_1") == {"exact_memorisation", "locality_gap"}


def test_a_row_without_records_says_so():
    rows = {row.name: row for row in eight_rows(("forget",))}
    assert rows["side effects in similar domains"].absent == NO_RECORDS
    assert not rows["trivial prompting baseline"].absent
