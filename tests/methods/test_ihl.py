"""Inverted hinge: another token overtakes the true one."""

from __future__ import annotations

import pytest

from expunge.methods.ihl import IHL
from expunge.methods.recipe import resolve
from expunge.methods.retain import RetainNLL
from tests.methods.running import by_token, check_micro_batches, run, taught, views_of


def test_the_term_by_its_definition():
    views = views_of(IHL(), model=taught(10))
    expected = []
    for row, label in zip(
        views["forget"].policy.logits.detach().softmax(-1), views["forget"].policy.labels, strict=True
    ):
        others = [float(p) for token, p in enumerate(row) if token != int(label)]
        expected.append(1 + float(row[label]) - max(others))
    term = IHL().forget_term(views, {})
    assert by_token(term, views) == pytest.approx(expected, abs=1e-5)
    assert term.reduction == "token"


def test_the_true_tokens_are_overtaken():
    outcome = run(IHL(), model=taught(), epochs=20)
    assert outcome.before > -0.2
    assert outcome.after < outcome.before - 2
    assert outcome.terms[0]["forget"] > 1.2
    assert outcome.terms[-1]["forget"] < 1


def test_micro_batches_change_nothing():
    check_micro_batches(IHL(), RetainNLL())


def test_preset():
    recipe = resolve("ihl")
    assert (recipe.axes.parameters.name, recipe.axes.parameters.settings["rank"]) == ("lora", 32)
    assert (recipe.axes.retain_term.name, recipe.training.learning_rate) == ("nll", 2e-4)
    assert "FILA" in resolve("ihl").method.preset.departs
