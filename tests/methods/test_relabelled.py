"""Fine-tuning on other answers, in the loop."""

from __future__ import annotations

import itertools
import math

import pytest

from expunge.config import Choice
from expunge.errors import InputError
from expunge.methods.recipe import resolve
from expunge.methods.relabelled import RelabelledNLL
from expunge.methods.retain import NoRetain, RetainNLL
from expunge.methods.retain_ap import AnswerPreservation
from expunge.models.parameters import LoRA
from expunge.registry import parameter_choices, relabellers
from tests.methods.loops import assert_micro_batches_change_nothing, job, logps, mean, records, reports, total
from tests.support.params import few


@pytest.mark.parametrize("answers", [1, 3])
def test_first_value_is_the_mean_over_the_tokens_of_all_answers(answers):
    method = RelabelledNLL(answers=answers)
    chosen = records(method, NoRetain())
    values = [-value for spec in method.views() for one in chosen[spec.name] for value in logps(one)]
    seen = reports(method, NoRetain())
    assert seen[0].terms["forget"] == pytest.approx(mean(values), rel=1e-5)
    assert seen[-1].terms["forget"] < 0.9 * seen[0].terms["forget"]
    if answers > 1:  # views have unequal numbers of tokens: this is not the mean of their means
        means = [-mean([value for one in chosen[spec.name] for value in logps(one)]) for spec in method.views()]
        assert abs(mean(means) - mean(values)) > 1e-4 * mean(values)


@pytest.mark.parametrize(
    ("answers", "retain"),
    few(itertools.product([3, 1], [RetainNLL(), AnswerPreservation()])),
    ids=lambda part: str(part) if isinstance(part, int) else type(part).__name__,
)
def test_micro_batches_change_nothing(answers, retain):
    assert_micro_batches_change_nothing(RelabelledNLL(answers=answers), retain)


def test_the_true_answers_are_never_read_and_the_first_view_is_forget():
    views = RelabelledNLL(answers=3).views()
    assert [view.name for view in views] == ["forget", "forget_1", "forget_2"]
    assert [view.sample for view in views] == [0, 1, 2]
    assert all(view.relabel and view.source == "forget" and not view.reference for view in views)


def test_presets():
    idk, idk_ap, sanitized = (resolve(name) for name in ("idk", "idk_ap", "knowledge_sanitization"))
    assert {recipe.method for recipe in (idk, idk_ap, sanitized)} == {RelabelledNLL(answers=1)}
    assert {recipe.method.spec.guarantee for recipe in (idk, idk_ap, sanitized)} == {"behavioural"}
    assert idk.axes.retain_term.name == sanitized.axes.retain_term.name == "nll"
    assert idk_ap.retain_term == AnswerPreservation(beta=0.1)
    assert idk_ap.axes.relabel.name == "idk"
    assert idk.training.epochs == idk_ap.training.epochs == 5
    sanitized.create_axes()
    assert sanitized.axes.relabel.create(relabellers).answers == ("I don't know.",)
    assert sanitized.axes.parameters.create(parameter_choices) == LoRA(rank=8, alpha=16.0, dropout=0.05)
    assert (sanitized.axes.tokens, sanitized.training.learning_rate) == (Choice("all"), 3e-4)


def test_no_answer_at_all_is_refused():
    with pytest.raises(InputError, match="answers .* at least 1, not 0"):
        resolve("idk", {"answers": 0})


def test_answer_preservation_by_hand_in_the_loop():
    """(1/beta) log(1 + exp(-beta (kept - refusal))) on sums, mean over records; every step holds 10 of the 14."""
    method, retain = RelabelledNLL(), AnswerPreservation(beta=0.5)
    assert [(view.name, view.source, view.relabel) for view in retain.views()] == [
        ("retain", "retain", False),
        ("retain_idk", "retain", True),
    ]
    chosen = records(method, retain)
    rows = job(method, retain).streams().rows(0)["retain"]
    gaps = [total(chosen["retain"][row]) - total(chosen["retain_idk"][row]) for row in rows]
    expected = mean([2 * math.log1p(math.exp(-0.5 * gap)) for gap in gaps])
    seen = reports(method, retain)
    assert seen[0].terms["retain"] == pytest.approx(expected, rel=1e-4)
    assert seen[-1].terms["retain"] < seen[0].terms["retain"]


@pytest.mark.parametrize("beta", [0.0, -1.0])
def test_answer_preservations_beta_is_checked_before_anything_runs(beta):
    with pytest.raises(InputError, match="beta"):
        resolve("idk_ap", {"retain_term": {"name": "ap", "settings": {"beta": beta}}}).create_axes()
