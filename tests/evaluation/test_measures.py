"""The null band between several retrained models, by hand, and what Holm leaves of many metrics."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from expunge.evaluation.result import Evaluation, Gap, Traits
from expunge.evaluation.verdict.measures import band_distance, measures
from expunge.evaluation.verdict.policy import Thresholds
from expunge.evaluation.verdict.rules import judge
from tests.evaluation.verdicts import HARMLESS, ORIGINAL, RETRAINED, evaluation


def gap(value: float, half: float | None = 0.02, reference: str = "retrained") -> Gap:
    bounds = {"low": None, "high": None} if half is None else {"low": value - half, "high": value + half}
    return Gap(label="es", role="unlearned", value=value, n=50, reference=reference, **bounds)


def test_one_retrained_model_is_a_band_of_no_width():
    found = band_distance([gap(0.2)])
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.18, 0.22))
    assert found.p == pytest.approx(math.erfc(1.959964 * 10 / math.sqrt(2)), abs=1e-12)
    assert found.detectable == pytest.approx(0.02 * 2.8016 / 1.95996, abs=1e-5)


@pytest.mark.parametrize(
    ("own", "value", "low", "high"),
    [(0.5, 0.1, 0.18, 0.12), (0.35, 0.0, 0.03, -0.03), (0.1, -0.2, -0.22, -0.28), (0.4, 0.0, 0.08, 0.02)],
)
def test_distances_are_from_the_nearer_end_of_the_band(own, value, low, high):
    """Retrained models at 0.3 and 0.4: 0.35 lies between them, 0.5 is 0.1 above, 0.1 is 0.2 below.

    The bounds face outwards: how low below the lower end, how high above the upper one.
    """
    found = band_distance([gap(own - 0.3), gap(own - 0.4, reference="retrained_2")])
    assert (found.value, found.low, found.high) == pytest.approx((value, low, high), abs=1e-12)
    assert (found.p == 1.0) == (abs(value) < 1e-9)


def test_without_an_interval_the_number_of_records_decides():
    """0.2 is beyond half an interval of 0.1 and not of 0.25; nothing is known of no records at all."""
    found = band_distance([gap(0.2, None)], 0.1)
    assert (found.value, found.low, found.detectable) == (0.2, None, math.inf)
    assert found.standing(0.05) == "outside"
    assert band_distance([gap(0.2, None)], 0.25).standing(0.05) == "undecided"
    assert band_distance([gap(0.2, None)]).standing(0.05) == "undecided"
    assert band_distance([gap(0.01, None)], 0.001).standing(0.05) == "undecided"
    assert band_distance([]) is None


def with_second(case: Evaluation, values: dict[str, float]) -> Evaluation:
    """Adds a second retrained model to an evaluation: its gaps to the original and the unlearned model."""
    more = tuple(
        replace(one, value=score.value - values[one.label], reference="retrained_2", **bounds)
        for one in case.gaps
        if one.label in values
        for score in [case.get(one.label, one.role)]
        for middle in [score.value - values[one.label]]
        for bounds in [{"low": middle - 0.01, "high": middle + 0.01}]
    )
    return replace(case, gaps=(*case.gaps, *more))


def test_what_another_seed_gives_too_is_no_difference():
    """Extraction strength 0.17 against 0.10 is outside; a second retrained model at 0.20 makes it the band's inside."""
    case = evaluation(es=0.17)
    assert judge(case, worst_recovery=HARMLESS).word == "partly removed"
    assert judge(with_second(case, {"es": 0.20}), worst_recovery=HARMLESS).word == "removed"
    assert judge(with_second(case, {"es": 0.05}), worst_recovery=HARMLESS).word == "partly removed"


def test_an_original_inside_the_band_knows_nothing():
    known = {"es": 0.9, "es paraphrased": 0.7, "auc": 0.95}
    assert judge(with_second(evaluation(), known), worst_recovery=HARMLESS).word == "not known"


def many(value: float, count: int, half: float = 0.03) -> Evaluation:
    """As many metrics, all at the retrained model's value but the first."""
    names = [f"es {number}" for number in range(count)]
    case = evaluation()
    traits = {name: Traits("extraction_strength", ("forget",), (name,), "knowledge") for name in names}
    base = {score.role: score for score in case.scores if score.label == "es"}
    scores = [
        replace(base[role], label=name, value=0.1 + value if (name, role) == (names[0], "unlearned") else own)
        for name in names
        for role, own in (("original", 0.9), ("retrained", 0.1), ("unlearned", 0.1))
    ]
    gaps = [
        Gap(label=name, role=role, value=own, low=own - half, high=own + half, n=100)
        for name in names
        for role, own in (("original", 0.8), ("unlearned", value if name == names[0] else 0.0))
    ]
    kept = tuple(score for score in case.scores if score.label == "retain")
    traits |= {"retain": case.traits["retain"]}
    return Evaluation(scores=(*scores, *kept), omitted=(), gaps=tuple(gaps), traits=traits)


@pytest.mark.parametrize(("count", "word"), [(1, "partly removed"), (2, "partly removed"), (30, "not verifiable")])
def test_one_of_many_metrics_that_is_apart_by_chance_is_no_difference(count, word):
    """0.055 with half an interval of 0.047: p = 0.022, times 2 is 0.044, and times 30 no finding."""
    verdict = judge(many(0.055, count, half=0.047), worst_recovery=HARMLESS)
    assert verdict.word == word
    assert verdict.measures[0].distance.p == pytest.approx(min(1.0, count * 0.02183), rel=1e-2)


def test_adjusting_takes_no_other_model_into_account():
    """Three metrics decide; each p is adjusted among the unlearned model's three, not among all six."""
    found = measures(evaluation(es=0.2), "unlearned")
    assert [one.own.label for one in found] == ["es", "es paraphrased", "auc"]
    assert [one.distance.p for one in found] == pytest.approx([0.0, 1.0, 1.0], abs=1e-12)
    assert all(one.original_distance.p < 1e-6 for one in found)


def test_replies_decide_only_where_nothing_else_is_seen():
    case = evaluation()
    said = {"original": 0.9, "retrained": 0.2, "unlearned": 0.21}
    base = next(score for score in case.scores if score.label == "es")
    scores = tuple(replace(base, label="rouge", role=role, value=value) for role, value in said.items())
    gaps = tuple(
        Gap(label="rouge", role=role, value=value, low=value - 0.01, high=value + 0.01, n=100)
        for role, value in (("original", 0.7), ("unlearned", 0.01))
    )
    traits = {"rouge": Traits("rouge", ("forget",), ("trained",), "knowledge")}
    alone = Evaluation(scores=scores, omitted=(), gaps=gaps, traits=traits)
    assert [one.name for one in measures(alone, "unlearned")] == ["rouge"]
    both = replace(case, scores=(*case.scores, *scores), gaps=(*case.gaps, *gaps), traits={**case.traits, **traits})
    assert "rouge" not in [one.name for one in measures(both, "unlearned")]


def test_a_share_of_zero_moves_are_told_as_none():
    (first, *_) = measures(evaluation(**{**ORIGINAL}), "unlearned")
    assert first.moved == 0.0


def test_the_p_value_is_that_of_the_nearer_end():
    """0.1 above the higher end, known to 0.04, and 0.3 above the lower one, known to 0.5: the nearer one is beyond."""
    near, far = gap(0.1, 0.04), gap(0.3, 0.5, reference="retrained_2")
    assert band_distance([near, far]).p == band_distance([near]).p < 1e-5
    assert band_distance([far]).p > 0.2


def test_what_the_original_never_knew_is_not_still_held():
    """The original lies below the retrained model, as where a form asks for a list; above it is something else."""
    below = evaluation({**ORIGINAL, "es paraphrased": 0.1}, {**RETRAINED, "es paraphrased": 0.4}, es_paraphrased=0.8)
    found = {one.own.label: one for one in measures(below, "unlearned")}
    assert found["es paraphrased"].stands(Thresholds()) == "outside"
    assert not found["es paraphrased"].holds(Thresholds())
    assert measures(evaluation(es=0.5), "unlearned")[0].holds(Thresholds())


@pytest.mark.parametrize(("records", "standing"), [(20, "undecided"), (200, "outside")])
def test_few_subjects_are_tested_over_records(records, standing):
    """Differences of 0.3 in extraction strength and 0.2 in an area: about 0.44 and 0.18 are sure of 20 records."""
    case = evaluation(es=0.4, auc=0.62, half=None)
    case = replace(case, scores=tuple(replace(score, records=records) for score in case.scores))
    found = {one.own.label: one.stands(Thresholds()) for one in measures(case, "unlearned")}
    assert (found["es"], found["auc"]) == (standing, standing)


def test_few_subjects_alone_put_no_attack_outside():
    case = evaluation(auc=0.57, half=None)
    case = replace(case, scores=tuple(replace(score, records=36) for score in case.scores))
    found = {one.own.label: one.stands(Thresholds()) for one in measures(case, "unlearned")}
    assert found["auc"] == "undecided"
