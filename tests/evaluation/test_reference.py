"""When a retrained model supports no verdict, by hand: its weights, what it recites, and what it recognises."""

from __future__ import annotations

from dataclasses import replace

import pytest

from expunge.evaluation.result import Evaluation, Traits
from expunge.evaluation.verdict.findings import Facts
from expunge.evaluation.verdict.reference import unsound
from expunge.evaluation.verdict.rules import judge
from tests.evaluation.verdicts import HARMLESS, ORIGINAL, RETRAINED, TRAITS, evaluation

LEARNT, UNSEEN = "forget probability", "holdout probability"
MORE = {
    **TRAITS,
    LEARNT: Traits("probability", ("forget",), ("trained",), "knowledge"),
    UNSEEN: Traits("probability", ("holdout",), ("trained",)),
}


def world(
    *, recites: tuple[int, int] = (40, 0), auc: float = 0.5, learnt: float = 0.1, half: float | None = 0.01, **own
) -> Evaluation:
    """An original that gives forget answers 0.9, and a retrained model that gives holdout answers 0.1."""
    original = {**ORIGINAL, LEARNT: 0.9, UNSEEN: 0.1}
    retrained = {**RETRAINED, "auc": auc, LEARNT: learnt, UNSEEN: 0.1}
    made = evaluation(original, retrained, half=half, **own)
    counts = dict(zip(("original", "retrained"), recites, strict=True))
    scores = tuple(
        replace(score, details={"completed_verbatim": float(counts[score.role])})
        if score.label == "es" and score.role in counts
        else score
        for score in made.scores
    )
    return replace(made, scores=scores, traits=MORE)


def without(made: Evaluation, label: str) -> Evaluation:
    return replace(made, scores=tuple(score for score in made.scores if score.label != label))


def test_an_honest_reference_is_accused_of_nothing():
    assert unsound(world(), {}) == ()
    assert judge(world(), worst_recovery=HARMLESS).word == "removed"


@pytest.mark.parametrize(("other", "says"), [("original", "of the original, up"), ("judged", "of the judged model")])
def test_a_reference_with_the_weights_of_another_model_supports_no_verdict(other, says):
    verdict = judge(world(), facts=Facts("unlearned", duplicates={"retrained": other}), worst_recovery=HARMLESS)
    assert verdict.word == "not verifiable"
    assert verdict.reference == verdict.reasons
    assert says in verdict.reasons[0]


def test_of_several_references_the_unsound_one_is_named():
    (said,) = unsound(world(), {"retrained_2": "retrained"})
    assert said.startswith("The retrained 2 model has the weights of the retrained model")


@pytest.mark.parametrize(("count", "word"), [(10, "removed"), (11, "not verifiable"), (40, "not verifiable")])
def test_a_reference_that_recites_more_than_a_quarter_of_the_answers_saw_them(count, word):
    verdict = judge(world(recites=(40, count), learnt=0.4), worst_recovery=HARMLESS)
    assert verdict.word == word
    said = f"it completes {count} forget answers of at least 8 tokens word for word, the original 40"
    assert (said in " ".join(verdict.reasons)) == (count > 10)


@pytest.mark.parametrize(("auc", "seen"), [(0.90, False), (0.92, True), (1.0, True)])
def test_a_reference_that_recognises_the_records_saw_them(auc, seen):
    """The interval is 0.01 to both sides, and has to lie above 0.9."""
    found = unsound(world(auc=auc, learnt=0.8), {})
    assert bool(found) == seen
    assert not seen or f"AUC {auc:.2f}, 95 % interval {auc - 0.01:.2f} to {auc + 0.01:.2f}" in found[0]


def test_too_few_subjects_for_an_interval_recognise_nothing():
    assert unsound(world(auc=1.0, learnt=0.8, half=None), {}) == ()


@pytest.mark.parametrize(("learnt", "seen"), [(0.3, False), (0.31, True)])
def test_answers_have_to_be_likelier_than_those_of_the_holdout(learnt, seen):
    """A quarter of the way from 0.1 to 0.9 is 0.3; less is a holdout of another kind, or wording that is shared."""
    case = world(recites=(40, 40), auc=1.0, learnt=learnt)
    assert bool(unsound(case, {})) == seen
    assert unsound(without(case, UNSEEN), {})


def test_an_unsound_reference_comes_before_everything():
    unknown = replace(world(recites=(40, 40), learnt=0.9, **ORIGINAL), gaps=())
    assert judge(unknown).word == "not verifiable"
    damaged = world(recites=(40, 40), learnt=0.9, retain=0.1)
    assert judge(damaged, facts=Facts("unlearned", same=True)).word == "not verifiable"


def test_the_weights_of_the_original_are_not_removed_at_any_size():
    """Without intervals no metric tells original and retrained model apart; what is recited does."""
    few = world(half=None, auc=0.6)
    few = replace(few, scores=tuple(replace(score, n=1, records=1) for score in few.scores))
    assert judge(few).word == "not verifiable"
    verdict = judge(few, facts=Facts("unlearned", same=True))
    assert verdict.word == "not removed"
    assert verdict.reasons[0] == "The judged weights are the original's, up to rounding."
    assert "completes 40 forget answers" in verdict.reasons[1]
    silent = replace(few, scores=tuple(replace(score, details={}) for score in few.scores))
    assert judge(silent, facts=Facts("unlearned", same=True)).word == "not verifiable"


def test_the_weights_of_an_original_that_never_knew_are_not_known():
    unknown = evaluation({**ORIGINAL, "es": 0.13, "es paraphrased": 0.1, "auc": 0.53})
    assert judge(unknown, facts=Facts("unlearned", same=True)).word == "not known"
