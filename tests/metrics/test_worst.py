"""The worst form: by hand, and left out where nobody has it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from expunge.evaluation.runner import evaluate
from expunge.metrics.base import Answers
from expunge.metrics.memorisation import ExtractionStrength
from expunge.metrics.worst import FORM_LISTS, WorstForm
from tests.evaluation.worlds import Source, make_splits, make_store, make_subject
from tests.metrics.numbers import array, need
from tests.support.tiny import llama

EXACT = 1e-12
log = math.log


def table(kind: str, split: str, **forms) -> Answers:
    return Answers({need(kind, split, form): rows for form, rows in forms.items()})


def test_extraction_strength_by_hand():
    """Record 0: 1/2 as trained, 1 and 0 as clozes. Record 1: 1/3 as trained, cut off as cloze. Record 2: nothing."""
    found = table(
        "ranks",
        "forget",
        trained=[[array(1, 0)], [array(2, 3, 0)], [array()]],
        cloze=[[array(0), array(4)], [array()], []],
    )
    score = WorstForm().compute(found)
    assert score.value == pytest.approx((1 + 1 / 3) / 2, abs=EXACT)
    assert score.details == {"forms": 2, "worst_trained": 0.5, "worst_cloze": 0.5}
    assert math.isnan(score.samples[0].values[2])


def test_probability_by_hand_and_the_other_way_round_for_what_should_stay():
    rows = {"trained": [[array(log(0.5), log(0.5))]], "prefix": [[array(log(0.25), log(0.16))]]}
    assert WorstForm(metric="probability").compute(table("token_logps", "forget", **rows)).value == pytest.approx(0.5)
    kept = WorstForm(metric="probability", split="retain")
    score = kept.compute(table("token_logps", "retain", **rows))
    assert score.value == pytest.approx(0.2, abs=EXACT)
    assert score.details["worst_prefix"] == 1
    assert (kept.aim, WorstForm().aim) == ("higher", "closer")


def test_a_form_that_nobody_has_is_left_out_and_shared_forms_are_read_once(tmp_path):
    splits = make_splits(3)
    splits["forget"][0] = replace(splits["forget"][0], paraphrased_answer=None)
    source = Source(llama())
    metrics = [WorstForm(), ExtractionStrength(), ExtractionStrength(form="paraphrased_question")]
    found = evaluate([make_subject("unlearned", source)], splits, metrics, make_store(tmp_path), resamples=2)
    worst, own, other = found.scores
    assert worst.details["forms"] == 3
    assert worst.records == 3
    assert worst.value >= max(own.value, other.value)
    assert len(list(tmp_path.iterdir())) == 3


def test_forms_that_guessing_answers_are_not_among_them():
    assert "yes_no" not in FORM_LISTS["told_1"]
    assert "multiple_choice" not in FORM_LISTS["told_1"]
