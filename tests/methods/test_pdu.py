"""PDU's forget term: logits grow flat. Its combiner is tested by itself."""

from __future__ import annotations

import pytest

from expunge.methods.pdu import PDU
from expunge.methods.recipe import resolve
from expunge.methods.retain import RetainNLL
from tests.methods.running import by_token, check_micro_batches, run, taught, views_of


def test_the_term_by_its_definition():
    views = views_of(PDU(), model=taught(10))
    logits = views["forget"].policy.logits.detach().double()
    expected = [(float(row.max()) - float(row.mean())) ** 2 for row in logits]
    term = PDU().forget_term(views, {})
    assert by_token(term, views) == pytest.approx(expected, rel=1e-5)
    assert term.reduction == "token"


def test_the_logits_grow_flat():
    outcome = run(PDU(), model=taught(), epochs=20)
    assert outcome.before > -0.2
    assert outcome.after < outcome.before - 2
    assert outcome.terms[0]["forget"] > 50  # squared nats: the guard must not take this for a run that diverged
    assert outcome.terms[-1]["forget"] < 0.5 * outcome.terms[0]["forget"]


def test_micro_batches_change_nothing():
    check_micro_batches(PDU(), RetainNLL())


def test_preset():
    recipe = resolve("pdu")
    assert recipe.axes.combiner.name == "primal_dual"
    assert recipe.axes.combiner.settings == {"epsilon": 0.3, "rate": 5.0, "initial": 100.0, "warmup": 0.5}
    assert (recipe.axes.retain_term.name, recipe.training.learning_rate, recipe.training.epochs) == ("nll", 1e-5, 10)
    assert recipe.method.scale * recipe.training.runaway == 5000
