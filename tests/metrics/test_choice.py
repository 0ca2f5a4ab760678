"""Multiple choice: by hand, and through the evaluation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from expunge.data.record import Variant
from expunge.errors import InputError
from expunge.evaluation.passes import Pass, placed
from expunge.evaluation.runner import evaluate
from expunge.metrics.choice import MultipleChoice, picks
from expunge.storage.secret import Secret
from tests.evaluation.worlds import Source, flat, make_splits, make_store, make_subject
from tests.metrics.numbers import answers, array
from tests.support.tiny import llama

EXACT = 1e-12
log = math.log


def test_picks_by_hand():
    found = picks(np.array([[log(0.3), log(0.1), log(0.1)], [log(0.1), log(0.2), log(0.1)], [-1.0, -1.0, -2.0]]))
    assert found.correct.tolist() == [1, 0, 0]  # a tie is no knowledge
    assert found.confidence[:2] == pytest.approx([0.6, 0.5], abs=EXACT)
    assert found.options == 3


def test_letters_are_summed_and_texts_averaged():
    """The right option has two tokens, whose sum is the lowest and whose mean is the highest."""
    forms = [array(-1.0, -1.0), array(-1.5), array(-1.6), array(-1.7)]
    letter, cloze = MultipleChoice(), MultipleChoice(scoring="cloze")
    assert letter.compute(answers(letter, [forms])).value == 0
    score = cloze.compute(answers(cloze, [forms]))
    assert score.value == 1
    share = 1 / (1 + math.exp(-0.5) + math.exp(-0.6) + math.exp(-0.7))
    wanted = {"chance": 0.25, "options": 4, "confidence": share, "ece": 1 - share}
    assert score.details == pytest.approx(wanted, abs=EXACT)


def test_shuffled_is_the_mean_over_shifts():
    """Two options: right at the first shift only. A second record is right at both."""
    metric = MultipleChoice(scoring="shuffled")
    once, always = [array(-1), array(-2), array(-2), array(-1)], [array(-1), array(-2), array(-1), array(-2)]
    score = metric.compute(answers(metric, [once, always]))
    assert score.value == pytest.approx(0.75, abs=EXACT)
    assert score.details["always_right"] == 0.5
    assert score.details["chance"] == 0.5


def test_records_without_options_or_cut_off_have_no_number():
    metric = MultipleChoice()
    score = metric.compute(answers(metric, [[], [array(-1), array()]]))
    assert math.isnan(score.value)
    assert score.details == {}


@pytest.mark.parametrize("scoring", ["letter", "shuffled", "cloze"])
def test_the_question_is_left_out_only_on_request(scoring):
    asked, bare = (MultipleChoice(scoring=scoring, without_question=without).needs()[0] for without in (False, True))
    assert asked.transform.question
    assert not bare.transform.question
    assert asked.transform.name == bare.transform.name


def choice_splits(count: int) -> dict:
    splits = make_splits(count)
    for number, record in enumerate(splits["forget"]):
        label = record.answer.label
        right = "ABCD"[number % 4]
        asked = Secret("w9 w10 A: w3 B: w4 C: w5 D: w6", label)
        record.variants["multiple_choice"] = (Variant(prompt=asked, answer=Secret(right, label)),)
    return splits


def test_through_the_evaluation(tmp_path):
    metrics = [
        MultipleChoice(scoring=scoring, without_question=without)
        for scoring in ("letter", "shuffled", "cloze")
        for without in (False, True)
    ]
    subjects = [make_subject("original", Source(llama())), make_subject("unlearned", Source(flat()))]
    found = evaluate(subjects, choice_splits(4), metrics, make_store(tmp_path), resamples=2)
    assert len(found.scores) == 12
    assert not found.omitted
    for score in found.scores:
        assert score.records == 4
        assert score.details["chance"] == 0.25
        if score.role == "unlearned":  # all options alike
            assert score.value == 0
            assert score.details["confidence"] == pytest.approx(0.25, abs=1e-6)
    bare = evaluate(subjects, make_splits(4), metrics[:1], make_store(tmp_path), resamples=2)
    assert "have no multiple_choice" in bare.omitted[0].reason


def test_familiar_options_alone_are_no_knowledge(tmp_path):
    """A model that read every right option and no wrong one picks it from the list, and not among the others' own."""
    splits = choice_splits(4)
    rights = ("w3", "w4", "w5", "w6")
    for number, record in enumerate(splits["forget"]):
        (form,) = record.variants["multiple_choice"]
        asked = f"w9 w10 A: {rights[number]} B: w7 C: w8"
        record.variants["multiple_choice"] = (
            Variant(prompt=Secret(asked, record.answer.label), answer=form.answer.relabel("A")),
        )
    listed, rivals = MultipleChoice(scoring="cloze"), MultipleChoice(scoring="cloze", options="rivals")
    texts = [
        [[one.record.answer.reveal() for one in placed(splits, Pass.of(metric.needs()[0])) if one.owner == owner]
         for owner in range(4)]
        for metric in (listed, rivals)
    ]  # fmt: skip
    familiar = [answers(metric, [[array(-1.0 if text in rights else -9.0) for text in options] for options in shown])
                for metric, shown in zip((listed, rivals), texts, strict=True)]  # fmt: skip
    assert [metric.compute(one).value for metric, one in zip((listed, rivals), familiar, strict=True)] == [1, 0]
    assert (listed.evidence, rivals.evidence) == ("", "knowledge")


def test_rivals_are_read_as_texts_only():
    with pytest.raises(InputError, match="options=rivals needs scoring=cloze"):
        MultipleChoice(options="rivals")
    assert "options" not in MultipleChoice(scoring="cloze").label
    assert MultipleChoice(scoring="cloze", options="rivals").label.endswith("options=rivals)")
