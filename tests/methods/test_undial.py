"""UNDIAL: nothing at strength 0, and the true tokens sink towards the adjusted distribution of the original."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from expunge.errors import InputError
from expunge.methods.recipe import resolve
from expunge.methods.undial import UNDIAL
from tests.methods.running import by_token, check_micro_batches, check_references, run, taught, views_of
from tests.support.tiny import llama


def test_the_term_is_the_cross_entropy_to_the_adjusted_reference_at_answer_tokens():
    model, original = llama(), llama(seed=1)
    views = views_of(UNDIAL(strength=3.0), model=model, original=original)
    term = UNDIAL(strength=3.0).forget_term(views, {})
    batch, expected = views["forget"].batch, []
    for ids, labels, mask in zip(batch.input_ids_BT, batch.labels_BT, batch.attention_mask_BT, strict=True):
        ids, labels = ids[mask.bool()][None], labels[mask.bool()]
        with torch.no_grad():
            own, reference = model(ids).logits[0], original(ids).logits[0].clone()
        for place, label in enumerate(labels.tolist()):
            if label >= 0:
                reference[place - 1, label] -= 3.0
                expected.append(cross_entropy(own[place - 1], reference[place - 1].softmax(-1)).item())
    assert by_token(term, views) == pytest.approx(expected, abs=1e-5)
    assert term.reduction == "token"


def test_without_strength_nothing_moves_at_the_original():
    model = taught(10)
    term = UNDIAL(strength=0.0).forget_term(views_of(UNDIAL(strength=0.0), model=model), {})
    term.values.sum().backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    assert max(float(gradient.abs().max()) for gradient in gradients) < 1e-5


def test_the_true_tokens_sink_towards_the_target_and_no_further():
    mild, strong = (run(UNDIAL(strength=strength), model=taught(), epochs=20) for strength in (2.0, 10.0))
    assert mild.before == strong.before > -0.2
    assert strong.after < mild.after - 0.5 < mild.before - 0.7
    assert mild.terms[-1]["forget"] < 0.9 * mild.terms[0]["forget"]


def test_micro_batches_and_the_kind_of_reference_change_nothing():
    check_micro_batches(UNDIAL())
    check_references(UNDIAL())


def test_preset():
    recipe = resolve("undial")
    assert recipe.method.strength == 10.0
    assert recipe.axes.parameters.settings == {"rank": 8, "alpha": 16.0}
    assert (recipe.training.learning_rate, recipe.training.epochs, recipe.axes.retain_term.name) == (1e-4, 10, "none")
    assert recipe.needs() == ("forget",)


@pytest.mark.parametrize("strength", [-1.0, math.nan])
def test_a_strength_that_lowers_nothing_is_refused(strength):
    with pytest.raises(InputError, match="strength"):
        UNDIAL(strength=strength)
