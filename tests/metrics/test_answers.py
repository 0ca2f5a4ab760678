"""Refusals and the mix of answers, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from expunge.errors import InputError
from expunge.metrics.answers import AnswerMix, OverRefusal, RefusalRate, kinds_of, total_variation
from tests.metrics.numbers import answers, array

EXACT = 1e-12
CORRECT, REFUSAL, LOOP, MADE_UP = array(1, 0, 0, 1, 5), array(0, 1, 0, 1, 5), array(0, 0, 1, 1, 5), array(0, 0, 0, 1, 5)
CALM = array(10, 10)  # one nat per token


def mix(own, *, judged=None, **others):
    metric = AnswerMix()
    lists = {role: (texts, [[CALM] * len(forms) for forms in texts]) for role, texts in others.items()}
    return metric.compute(answers(metric, own, judged or [[CALM] * len(forms) for forms in own], **lists))


def test_distance_of_the_mix_by_hand():
    """Shares (1/4, 1/4, 1/4, 1/4) against (0, 0, 1, 0): half of 1/4 + 1/4 + 3/4 + 1/4."""
    own = [[CORRECT], [REFUSAL], [MADE_UP], [LOOP]]
    score = mix(own, retrained=[[MADE_UP]] * 4)
    assert score.value == pytest.approx(0.75, abs=EXACT)
    assert score.details == {"correct": 0.25, "refusal": 0.25, "fabricated": 0.25, "gibberish": 0.25}
    assert mix(own, retrained=own).value == 0
    assert mix([[CORRECT]] * 4, retrained=[[MADE_UP]] * 4).value == 1


@pytest.mark.parametrize("fault", [CORRECT, REFUSAL, LOOP])
def test_leaks_refusals_and_gibberish_all_show(fault):
    score = mix([[MADE_UP], [MADE_UP], [MADE_UP], [fault]], retrained=[[MADE_UP]] * 4)
    assert score.value == pytest.approx(0.25, abs=EXACT)


def test_elsewhere_the_original_is_the_control():
    """What the original refuses of the retain set is no cost; two more refusals of four are half."""
    metric = AnswerMix(split="retain")

    def distance(own, original):
        calm = [[CALM]] * 4
        others = {"original": (original, calm), "retrained": ([[LOOP]] * 4, calm)}
        return metric.compute(answers(metric, own, calm, **others)).value

    shy = [[REFUSAL], [CORRECT], [CORRECT], [CORRECT]]
    assert distance(shy, shy) == 0
    assert distance([[REFUSAL]] * 3 + [[CORRECT]], shy) == pytest.approx(0.5, abs=EXACT)
    assert math.isnan(metric.compute(answers(metric, shy, [[CALM]] * 4, retrained=(shy, [[CALM]] * 4))).value)


def test_over_refusal_has_the_original_as_control():
    metric = OverRefusal()
    score = metric.compute(answers(metric, [[1.0], [1.0], [0.0], []], original=([[1.0], [0.0], [0.0], []],)))
    assert score.value == pytest.approx(2 / 3, abs=EXACT)
    assert score.details == {"beyond_original": pytest.approx(1 / 3, abs=EXACT)}
    assert not metric.compute(answers(metric, [[1.0]])).details


def test_without_a_retrained_model_there_are_shares_and_no_distance():
    score = mix([[CORRECT], [MADE_UP], []])
    assert math.isnan(score.value)
    assert score.missing == "there is no retrained model to compare with"
    assert score.details == {"correct": 0.5, "refusal": 0, "fabricated": 0.5, "gibberish": 0}


def test_a_mix_of_nothing_says_which_model_did_not_answer():
    said, nothing = [[CORRECT], [MADE_UP]], [[], []]
    for own, retrained, why in [
        (nothing, said, "no forget prompt was answered"),
        (said, nothing, "no forget prompt was answered by the retrained model"),
        (said, said, ""),
    ]:
        score = mix(own, retrained=retrained)
        assert score.missing == why
        assert math.isnan(score.value) == bool(why)


def test_samples_are_one_hot_records():
    """So that the interval can be clustered by subject; a record without a reply is left out on both sides."""
    score = mix([[CORRECT], [CORRECT, LOOP], []], retrained=[[MADE_UP], [MADE_UP, MADE_UP], []])
    own = np.stack([sample.values for sample in score.samples[:4]], axis=1)
    assert own[:2].tolist() == [[1, 0, 0, 0], [0.5, 0, 0, 0.5]]
    assert np.isnan(own[2]).all()
    assert [len(sample.values) for sample in score.samples] == [3] * 8
    assert {sample.split for sample in score.samples} == {"forget"}
    assert score.value == pytest.approx(0.5 * (0.75 + 1 + 0.25), abs=EXACT)


def test_the_original_sets_what_is_unlikely():
    """Its own replies have at most one nat per token, so the limit is five; without them the model's own count."""
    own, strange = [[MADE_UP], [MADE_UP]], [[array(49, 10)], [array(51, 10)]]
    assert mix(own, judged=strange, original=[[CORRECT]]).details["gibberish"] == 0.5
    assert mix(own, judged=strange).details["gibberish"] == 0
    everywhere = AnswerMix()
    lists = {"original": ([[CORRECT]], [[array(30, 10)]]), "retrained": (own, strange)}
    assert everywhere.compute(answers(everywhere, own, strange, **lists)).details["gibberish"] == 0


def test_kinds_of_an_empty_answer():
    assert np.isnan(kinds_of([[], []], [[], []], 5.0)).all()
    assert math.isnan(total_variation(array(), array()))


shares = st.lists(st.sampled_from([CORRECT, REFUSAL, LOOP, MADE_UP]), min_size=1, max_size=9)


@given(shares, shares)
def test_distance_is_a_symmetric_share(own, other):
    one, two = ([[text] for text in texts] for texts in (own, other))
    value = mix(one, retrained=two).value
    assert 0 <= value <= 1 + EXACT
    assert value == pytest.approx(mix(two, retrained=one).value, abs=EXACT)


def test_refusal_rates_by_hand():
    for metric in (RefusalRate(), OverRefusal()):
        assert metric.compute(answers(metric, [[1.0], [0.0], [np.array(0.0)], []])).value == pytest.approx(
            1 / 3, abs=EXACT
        )


def test_directions_and_names():
    assert (RefusalRate().aim, RefusalRate(split="retain").aim, OverRefusal().aim) == ("closer", "lower", "lower")
    assert AnswerMix().aim == AnswerMix(split="retain").aim == "lower"
    assert RefusalRate().label == (
        "refusal_rate(split=forget, form=trained, max_new_tokens=200, rule=phrase_heuristic_1)"
    )
    assert AnswerMix().label.endswith("rule=heuristic_1)")
    assert OverRefusal(split="world_facts").label.startswith("over_refusal(split=world_facts")
    with pytest.raises(InputError, match="no over-refusal"):
        OverRefusal(split="forget")
