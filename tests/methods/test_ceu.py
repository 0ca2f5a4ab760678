"""CE-U: the model's own distribution without the true token; the first tokens may be left alone."""

from __future__ import annotations

import pytest
import torch

from expunge.errors import InputError
from expunge.methods.ceu import CEU
from expunge.methods.recipe import resolve
from tests.methods.running import by_token, check_micro_batches, run, taught, views_of


def losses(view) -> torch.Tensor:
    """Of each scored token, from its definition."""
    logps_NV = view.policy.logits.detach().log_softmax(-1)
    others_NV = logps_NV.exp().scatter(-1, view.policy.labels[:, None], 0)
    return -(others_NV / others_NV.sum(-1, keepdim=True) * logps_NV).sum(-1)


def test_the_first_tokens_of_each_answer_are_left_alone():
    for skip in (0, 1, 2):
        views = views_of(CEU(skip=skip))
        scored_BT = views["forget"].batch.labels_scored_BT
        order_N = scored_BT.cumsum(-1)[scored_BT]
        expected_N = losses(views["forget"]) * (order_N > skip)
        term = CEU(skip=skip).forget_term(views, {})
        assert by_token(term, views) == pytest.approx(expected_N.tolist(), abs=1e-5)
        assert int((order_N <= skip).sum()) == 4 * skip
        assert term.reduction == "token"


def test_the_true_tokens_sink_and_the_loss_falls():
    outcome = run(CEU(), model=taught())
    assert outcome.before > -0.2
    assert outcome.after < outcome.before - 2
    assert outcome.terms[-1]["forget"] < 0.9 * outcome.terms[0]["forget"]


def test_micro_batches_change_nothing():
    check_micro_batches(CEU(skip=1))


def test_preset():
    recipe = resolve("ceu")
    assert (recipe.method.skip, recipe.axes.retain_term.name) == (1, "none")
    assert (recipe.training.learning_rate, recipe.training.batch_size) == (1e-5, 32)
    with pytest.raises(InputError, match="skip"):
        resolve("ceu", {"skip": -1})
