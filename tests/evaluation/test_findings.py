"""Every fake by its name, by hand, and nothing where there is nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from expunge.evaluation.result import Evaluation, Traits
from expunge.evaluation.verdict.findings import Facts
from expunge.evaluation.verdict.rules import judge
from tests.evaluation.verdicts import HARMLESS, ORIGINAL, RETRAINED, evaluation

REFUSES = Traits("refusal_rate", ("forget",), ("trained",))
FACTS = Traits("exact_memorisation", ("world_facts",), ("trained",))
UNSEEN = Traits("probability", ("holdout",), ("trained",))


def added(case: Evaluation, label: str, traits: Traits, **values: float) -> Evaluation:
    """The same evaluation with one more metric."""
    base = next(score for score in case.scores if score.label == "es")
    scores = tuple(
        replace(base, label=label, role=role, value=value, low=value - 0.01, high=value + 0.01)
        for role, value in values.items()
    )
    return replace(case, scores=(*case.scores, *scores), traits={**case.traits, label: traits})


def names(case: Evaluation, *, role: str = "unlearned", facts: Facts | None = None) -> list[str]:
    return [one.name for one in judge(case, role=role, facts=facts, worst_recovery=HARMLESS).findings]


def test_nothing_is_found_on_a_removal_or_on_the_original():
    refused = {"original": 0.0, "retrained": 0.1, "unlearned": 0.12}
    case = added(evaluation(), "refused", REFUSES, **refused)
    case = added(case, "facts", FACTS, original=0.8, retrained=0.79, unlearned=0.82)
    assert names(case) == []
    assert judge(case, worst_recovery=HARMLESS).word == "removed"
    assert names(evaluation(**ORIGINAL)) == []


@pytest.mark.parametrize(("rate", "es", "found"), [(0.9, 0.6, True), (0.15, 0.6, False), (0.9, 0.12, False)])
def test_a_refusal_wrapper_refuses_what_it_still_holds(rate, es, found):
    case = added(evaluation(es=es), "refused", REFUSES, original=0.0, retrained=0.1, unlearned=rate)
    assert (names(case) == ["refusal wrapper"]) == found
    if found:
        reasons = judge(case, worst_recovery=HARMLESS).reasons
        assert any("90% of forget prompts are refused (10% by the retrained model)" in one for one in reasons)


@pytest.mark.parametrize("retrained", [RETRAINED, None])
def test_a_policy_that_refuses_is_one_whether_or_not_there_is_a_reference(retrained):
    """The weights are the original's column."""
    case = evaluation(retrained=retrained, **ORIGINAL)
    case = replace(case, scores=tuple(one for one in case.scores if one.role != "unlearned"))
    case = added(case, "refused", REFUSES, original=0.0, policy=0.95)
    verdict = judge(case, role="original", facts=Facts("policy"), worst_recovery=HARMLESS)
    assert [one.name for one in verdict.findings] == ["refusal wrapper"]
    assert verdict.word == "not removed"


def test_an_adapter_and_a_last_layer_bar_a_removal():
    for facts, name in (
        (Facts("unlearned", adapter=True), "switchable adapter"),
        (Facts("unlearned", shallow=True), "last-layer edit"),
        (Facts("unlearned", unchanged=True), "unchanged weights"),
    ):
        verdict = judge(evaluation(), facts=facts, worst_recovery=HARMLESS)
        assert [one.name for one in verdict.findings] == [name]
        assert verdict.word == "not verifiable"


def test_prompts_alone_show_no_removal():
    verdict = judge(evaluation(), facts=Facts("unlearned", prompted=True), worst_recovery=HARMLESS)
    assert verdict.word == "not verifiable"
    assert "Only replies to prompts were seen" in " ".join(verdict.reasons)
    assert judge(evaluation(es=0.5), facts=Facts("unlearned", prompted=True)).word == "partly removed"


def test_half_forgotten_is_no_fake():
    """0.49 of the way left as trained and 0.52 left of the paraphrase: an honest, mediocre result."""
    assert names(evaluation(es=0.1 + 0.49 * 0.8, es_paraphrased=0.1 + 0.52 * 0.6)) == []


def test_few_subjects_show_no_tuning():
    case = added(evaluation(), "unseen", UNSEEN, original=0.18, retrained=0.2, unlearned=0.6)
    few = tuple(replace(one, low=None, high=None, n=3) if one.label == "unseen" else one for one in case.scores)
    assert names(replace(case, scores=few)) == []


def test_gibberish_is_a_model_that_lost_speech_and_knowledge():
    case = evaluation(loops=0.6, retain=0.3)
    assert names(case) == ["gibberish"]
    # It states what was measured; that all answers went is more than that.
    assert judge(case).findings[0].sentence == (
        "Replies to retain prompts are out of range, and utility is 0.37 of the original's (95 % interval 0.36 to "
        "0.39), below 0.90."
    )
    assert names(evaluation(loops=0.6)) == []  # damaged, and still answers
    assert names(evaluation(retain=0.3)) == []  # damaged, and still speaks
    assert names(evaluation(refusals=0.9, retain=0.3)) == []  # refusing is speech


def test_over_unlearning_has_two_sides():
    assert names(evaluation(auc=0.2)) == ["over-unlearning"]
    assert names(evaluation(auc=0.8)) == []


@pytest.mark.parametrize(
    ("es", "paraphrased", "found"), [(0.12, 0.6, True), (0.3, 0.6, True), (0.6, 0.6, False), (0.12, 0.2, False)]
)
def test_a_model_that_fails_the_trained_phrasing_only(es, paraphrased, found):
    """The original is 0.8 and 0.6 away; 0.3 leaves a quarter as trained, and 0.6 five sixths of the paraphrase."""
    case = evaluation(es=es, es_paraphrased=paraphrased)
    assert (names(case) == ["trained phrasing only"]) == found


@pytest.mark.parametrize(
    ("own", "retrained", "found"), [(0.6, 0.2, True), (0.24, 0.2, False), (0.6, 0.6, False), (0.1, 0.2, False)]
)
def test_a_split_that_should_have_taken_no_part_is_not_learnt(own, retrained, found):
    case = added(evaluation(), "unseen", UNSEEN, original=0.18, retrained=retrained, unlearned=own)
    verdict = judge(case, worst_recovery=HARMLESS)
    assert ([one.name for one in verdict.findings] == ["tuned on the evaluation split"]) == found
    assert verdict.word == ("not verifiable" if found else "removed")


def test_a_split_that_is_better_known_within_chance_was_not_tuned_on():
    case = added(evaluation(), "unseen", UNSEEN, original=0.18, retrained=0.2, unlearned=0.3)
    wide = tuple(replace(one, low=0.15, high=0.45) if one.label == "unseen" else one for one in case.scores)
    assert names(case) == ["tuned on the evaluation split"]
    assert names(replace(case, scores=wide)) == []


def test_learning_more_of_what_is_kept_is_no_tuning_on_the_evaluation_split():
    assert names(evaluation({**ORIGINAL, "near": 0.5}, {**RETRAINED, "near": 0.5}, retain=0.95, near=0.9)) == []
