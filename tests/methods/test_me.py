"""Maximum entropy in the loop."""

from __future__ import annotations

import math

import pytest
import torch

from expunge.methods.me import MaximumEntropy
from expunge.methods.recipe import resolve
from expunge.methods.retain import RetainNLL
from tests.methods.loops import assert_micro_batches_change_nothing, mean, records, reports
from tests.support.tiny import VOCABULARY, llama


@pytest.mark.parametrize("whole", [False, True])
def test_first_value_is_the_token_mean_of_kl_from_the_uniform_distribution(whole):
    model, values = llama(), []
    for one in records(MaximumEntropy(), RetainNLL(), whole=whole)["forget"]:
        with torch.no_grad():
            table_TV = model(torch.tensor([one.input_ids])).logits[0].double().log_softmax(-1)
        places = [place for place, label in enumerate(one.labels) if place > 0 and label >= 0]
        values += [-math.log(VOCABULARY) - float(table_TV[place - 1].mean()) for place in places]
    seen = reports(MaximumEntropy(), RetainNLL(), whole=whole)
    assert seen[0].terms["forget"] == pytest.approx(mean(values), rel=1e-4)
    assert seen[-1].terms["forget"] >= 0


def test_the_forget_term_falls_towards_0():
    seen = reports(MaximumEntropy(), whole=True)
    assert 0 < seen[-1].terms["forget"] < 0.5 * seen[0].terms["forget"]


def test_micro_batches_change_nothing():
    assert_micro_batches_change_nothing(MaximumEntropy(), RetainNLL())


def test_preset_scores_prompts_too_with_a_tenth_of_the_weight():
    axes = resolve("me").axes
    assert (axes.tokens.name, axes.forget_weight, axes.retain_weight, axes.retain_term.name) == ("all", 0.1, 1.0, "nll")
