"""SHRED: surprising tokens are lowered, the others hold the model where it was."""

from __future__ import annotations

import pytest
import torch

from expunge.errors import InputError
from expunge.functional.losses import least_likely
from expunge.methods.recipe import resolve
from expunge.methods.shred import SHRED
from expunge.methods.undial import UNDIAL
from tests.methods.running import (
    TOLERANCE,
    assert_same,
    by_token,
    check_micro_batches,
    check_references,
    run,
    taught,
    views_of,
)
from tests.support.tiny import llama


def test_at_the_original_only_the_surprising_tokens_count():
    method = SHRED(share=0.25, top_k=20)
    views = views_of(method)
    values = torch.tensor(by_token(method.forget_term(views, {}), views))
    scored_BT = views["forget"].batch.labels_scored_BT
    logps_BT, row_N = views["forget"].reference.token_logps, scored_BT.nonzero()[:, 0]
    for row in range(4):
        logps, found = logps_BT[row][scored_BT[row]], values[row_N == row]
        lowered = set(logps.argsort()[: -(-len(logps) // 4)].tolist())
        assert {place for place, value in enumerate(found.tolist()) if value > 1e-5} == lowered


def test_it_is_the_reference_that_says_what_is_surprising():
    method, every = SHRED(share=0.25, strength=5.0, top_k=61), SHRED(share=1.0, strength=5.0, top_k=61)
    views = views_of(method, model=llama(), original=llama(seed=1))
    scored_BT = views["forget"].batch.labels_scored_BT
    surprising_N = least_likely(views["forget"].reference.token_logps, scored_BT, 0.25)[scored_BT]
    own_N = least_likely(views["forget"].policy.token_logps, scored_BT, 0.25)[scored_BT]
    assert not torch.equal(surprising_N, own_N)
    found_N, lowered_N = (torch.tensor(by_token(each.forget_term(views, {}), views)) for each in (method, every))
    assert torch.equal(found_N == lowered_N, surprising_N)


@pytest.mark.parametrize("more", [{"share": 0.0}, {"skip": 99}, {"strength": 0.0}])
def test_with_nothing_to_lower_nothing_moves_at_the_original(more):
    model = taught(10)
    method = SHRED(**more)
    term = method.forget_term(views_of(method, model=model), {})
    assert term.values.abs().max() < 1e-5
    term.values.sum().backward()
    assert max(float(parameter.grad.abs().max()) for parameter in model.parameters()) < 1e-5


def test_the_first_tokens_can_be_left_alone():
    method = SHRED(share=1.0, skip=2)
    views = views_of(method)
    scored_BT = views["forget"].batch.labels_scored_BT
    values = torch.tensor(by_token(method.forget_term(views, {}), views))
    assert ((values > 1e-5) == (scored_BT.cumsum(-1)[scored_BT] > 2)).all()


def test_the_true_tokens_sink_and_more_so_with_a_larger_share():
    little, all_of_them = (run(SHRED(share=share), model=taught(), epochs=20) for share in (0.2, 1.0))
    assert little.before > -0.2
    assert all_of_them.after < little.after - 0.5 < little.before - 0.7
    assert little.terms[-1]["forget"] < 0.6 * little.terms[0]["forget"]


def test_with_every_token_lowered_and_every_token_distilled_it_is_undial():
    """The two differ by the entropy of the target, which has no gradient."""
    shred, undial = (run(method, epochs=2, rate=1e-3) for method in (SHRED(share=1.0, top_k=61), UNDIAL()))
    assert_same(shred.weights, undial.weights)
    narrow = run(SHRED(share=1.0, top_k=5), epochs=2, rate=1e-3)
    assert (narrow.weights - undial.weights).abs().mean() > 10 * TOLERANCE


def test_micro_batches_and_the_kind_of_reference_change_nothing():
    check_micro_batches(SHRED())
    check_references(SHRED())


def test_preset_and_settings_that_cannot_be_meant():
    recipe = resolve("shred")
    assert recipe.axes.retain_term.name == "none"
    assert recipe.training.learning_rate == 1e-5
    for changes in ({"share": 1.5}, {"share": -0.1}, {"top_k": 1}, {"skip": -1}, {"strength": -1.0}):
        with pytest.raises(InputError, match=next(iter(changes))):
            resolve("shred", changes)
