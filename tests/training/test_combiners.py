"""Combiners by hand, and in the loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from expunge.config import Choice
from expunge.errors import InputError
from expunge.methods.gradient_ascent import GradientAscent
from expunge.methods.preset import Axes, Training
from expunge.methods.retain import NoRetain, RetainKL
from expunge.registry import combiners
from expunge.training import checkpoint
from expunge.training.combiners import Alternating, Combiner, Moment, PrimalDual, Projection, WeightedSum
from expunge.training.loop import train
from tests.support.params import few
from tests.training.jobs import gradients_of, job, weights_after

BASE = {"forget": 2.0, "retain": 3.0, "mismatch": 0.5}
TRAINING = Training(learning_rate=1e-3, epochs=3, batch_size=4, micro_batch=4, warmup=0.0, checkpoint_every=2)


def vectors(**values):
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}


def test_the_sum_leaves_the_weights_of_the_axes_alone():
    assert WeightedSum().weights(BASE, {}, Moment(7, 10)) == BASE


def test_the_course_of_circuit_breakers_by_hand():
    """At step 75 of 150: half of the schedule of 300 steps that stops at 150, so 0.75 forget and 0.25 retain."""
    course = WeightedSum(forget_from=1.0, forget_to=0.5, retain_from=0.0, retain_to=0.5)
    assert course.weights(BASE, {}, Moment(0, 150)) == {"forget": 2.0, "retain": 0.0, "mismatch": 0.5}
    assert course.weights(BASE, {}, Moment(75, 150)) == {"forget": 1.5, "retain": 0.75, "mismatch": 0.375}


def test_turns_alternate_and_the_forget_side_begins():
    first, second = (Alternating().weights(BASE, {}, Moment(step, 4)) for step in (0, 1))
    assert first == {"forget": 2.0, "retain": 0.0, "mismatch": 0.5}
    assert second == {"forget": 0.0, "retain": 3.0, "mismatch": 0.0}


def test_primal_dual_by_hand():
    """Lambda 2, epsilon 1: retain 1.5 gives 2 + 4 * 0.5 = 4; retain 0.5 gives 2; retain 0 gives 0 and never less."""
    combiner = PrimalDual(epsilon=1.0, rate=4.0, initial=2.0)
    state = combiner.start()
    assert combiner.weights(BASE, state, Moment(0, 9)) == {"forget": 2.0, "retain": 6.0, "mismatch": 0.5}
    for retain, multiplier in ((1.5, 4.0), (0.5, 2.0), (0.0, 0.0), (0.0, 0.0)):
        state = combiner.update(state, {"forget": 1.0, "retain": retain}, Moment(1, 9))
        assert float(state["multiplier"]) == multiplier


def test_without_a_bound_the_first_retain_value_sets_it():
    """(1 + 0.5) * 2 = 3; the first step moves lambda by 1 * (2 - 3), the next by 1 * (5 - 3)."""
    combiner = PrimalDual(slack=0.5, initial=10.0)
    state = combiner.update(combiner.start(), {"retain": 2.0}, Moment(0, 9))
    assert (float(state["epsilon"]), float(state["multiplier"])) == (3.0, 9.0)
    state = combiner.update(state, {"retain": 5.0}, Moment(1, 9))
    assert (float(state["epsilon"]), float(state["multiplier"])) == (3.0, 11.0)


def test_the_multiplier_waits_for_the_end_of_its_warmup():
    combiner = PrimalDual(epsilon=0.0, initial=1.0, warmup=0.5)
    state = combiner.start()
    seen = []
    for step in range(4):
        state = combiner.update(state, {"retain": 1.0}, Moment(step, 4))
        seen.append(float(state["multiplier"]))
    assert seen == [1.0, 1.0, 2.0, 3.0]


def test_a_bound_relative_to_nothing_is_refused():
    """KL to the original is 0 at the start."""
    with pytest.raises(InputError, match="epsilon"):
        train(job(GradientAscent(), RetainKL(), axes=Axes(combiner=Choice("primal_dual"))))
    with pytest.raises(InputError, match="at least 0"):
        PrimalDual(epsilon=-1.0)


def test_primal_dual_needs_a_retain_term():
    with pytest.raises(InputError, match="--retain-term"):
        train(job(GradientAscent(), NoRetain(), axes=Axes(combiner=Choice("primal_dual"))))


def test_projection_by_hand():
    """g_f (1, 1), g_r (-1, 0) conflict: <g_f, g_r> = -1, so g_f loses its first entry, and g_r is added."""
    combined = Projection().combine(vectors(w=[1.0, 1.0]), vectors(w=[-1.0, 0.0]))
    assert combined["w"].tolist() == [-1.0, 1.0]
    # No conflict: the plain sum.
    assert Projection().combine(vectors(w=[1.0, 1.0]), vectors(w=[1.0, 0.0]))["w"].tolist() == [2.0, 1.0]
    # All parameters count together: the overlap is 1 - 4 = -3, the squared norm 1 + 4 = 5.
    both = Projection().combine(vectors(v=[1.0], w=[2.0]), vectors(v=[1.0], w=[-2.0]))
    assert both["v"].tolist() == pytest.approx([1 + 0.6 + 1])
    assert both["w"].tolist() == pytest.approx([2 - 1.2 - 2])
    assert Projection().combine(vectors(w=[1.0]), vectors(w=[0.0]))["w"].tolist() == [1.0]


def test_what_is_left_of_the_forget_gradient_does_not_touch_the_retain_term():
    source = torch.Generator().manual_seed(0)
    forget, retain = ({"w": torch.randn(50, generator=source, dtype=torch.float64)} for _ in range(2))
    retain["w"] -= 2 * forget["w"]
    combined = Projection().combine(forget, retain)
    assert float(((combined["w"] - retain["w"]) * retain["w"]).sum()) == pytest.approx(0, abs=1e-9)


@dataclass(frozen=True, kw_only=True)
class Separate(Combiner):
    """Asks for both sides one by one, and adds them."""

    separate: ClassVar[bool] = True


def test_separate_gradients_of_a_plain_sum_change_nothing(monkeypatch):
    monkeypatch.setitem(combiners._objects, "separate", Separate)
    plain, separate = (
        weights_after(training=TRAINING, axes=Axes(forget_weight=0.5, retain_weight=2.0, combiner=Choice(name)))
        for name in ("sum", "separate")
    )
    assert (plain - separate).abs().mean() < 2e-6
    assert (plain - weights_after(training=TRAINING)).abs().max() > 1e-4


@pytest.mark.parametrize("name", few(["primal_dual", "alternating", "projection"]))
def test_every_combiner_changes_the_run_and_not_with_micro_batches(name):
    plain = weights_after(training=TRAINING)
    whole, cut = (
        weights_after(training=Training(**{**vars(TRAINING), "micro_batch": size}), axes=Axes(combiner=Choice(name)))
        for size in (4, 1)
    )
    assert (whole - plain).abs().max() > 1e-4
    assert (whole - cut).abs().mean() < 2e-6


def test_the_multiplier_is_in_the_checkpoint(tmp_path):
    axes = Axes(combiner=Choice("primal_dual", {"epsilon": 0.0, "initial": 1.0}))
    seen = []
    made = job(training=TRAINING, axes=axes, checkpoints=tmp_path, listener=seen.append)
    train(made)
    last = checkpoint.list_checkpoints(tmp_path)[-1]
    parameters = gradients_of(made).parameters
    state = checkpoint.load(last, parameters, torch.optim.AdamW(parameters.values()))
    assert float(state.combiner["multiplier"]) == pytest.approx(1.0 + sum(report.terms["retain"] for report in seen))
    assert float(state.combiner["epsilon"]) == 0.0
