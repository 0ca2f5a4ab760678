"""What holds for every registered method that is a loss, run as the workflow runs it."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from expunge.config import Choice
from expunge.errors import InterruptedRunError
from expunge.methods.base import LossMethod
from expunge.methods.recipe import resolve
from expunge.registry import methods, parameter_choices
from tests.workflows.conforming import BATCH, STEPS, Meter, carry_out, short

pytestmark = pytest.mark.slow

EPOCH = 3  # steps
ROUNDING = 1e-4  # a term that is flat at the start goes where rounding leads it: 3e-5 for circuit_breaker
PRESETS = [name for name in methods.names() if isinstance(resolve(name).method, LossMethod)]
MEMORY = 0.35  # copies of the weights: caches, states and what the allocator has not let go


@pytest.fixture(scope="module")
def outcomes(trained, tmp_path_factory):
    """One uninterrupted run of each preset, made once."""
    known = {}

    def of(name):
        if name not in known:
            known[name] = carry_out(trained, short(name), tmp_path_factory.mktemp("whole") / name)
        return known[name]

    return of


@pytest.mark.parametrize("name", PRESETS)
def test_terms_are_finite_and_the_main_one_falls(trained, outcomes, name):
    outcome = outcomes(name)
    assert outcome.product.trouble is None
    assert len(outcome.terms) == STEPS or outcome.product.result.reason != "all steps done"
    assert all(math.isfinite(value) for step in outcome.terms for value in step.values())
    main = outcome.main_term
    if outcome.recipe.method.monotone:
        assert outcome.mean(main, -EPOCH, None) < outcome.mean(main, None, EPOCH)
    else:  # its weights fade with what they weigh
        assert trained.likelihood(outcome.product.model) < trained.likelihood(trained.model) - 0.5


@pytest.mark.parametrize("name", PRESETS)
def test_the_same_seed_gives_the_same_weights_and_a_stopped_run_too(trained, outcomes, name, tmp_path):
    whole = outcomes(name).weights
    out = tmp_path / "run"
    with pytest.raises(InterruptedRunError):
        carry_out(trained, short(name), out, stop_after=5)
    resumed = carry_out(trained, short(name), out).weights
    assert resumed.keys() == whole.keys()
    for key, weight in whole.items():
        assert torch.equal(weight, resumed[key]), key
    moved = max(
        float((weight - dict(trained.model.named_parameters())[key]).abs().max()) for key, weight in whole.items()
    )
    assert moved > 1e-5


@pytest.mark.parametrize("name", PRESETS)
def test_micro_batches_and_padding_change_nothing(trained, name, tmp_path):
    """Alone, no record is padded; under plain SGD the weights tell the gradients apart, and nothing else."""
    chosen = resolve(name).axes.parameters
    still = Choice(chosen.name, {key: value for key, value in chosen.settings.items() if key != "dropout"})
    plain = {"max_steps": 3, "optimizer": "sgd", "stopper": "none", "learning_rate": 1e-2, "parameters": still}
    whole, single = (
        carry_out(trained, short(name, **plain, micro_batch=size), tmp_path / str(size)) for size in (BATCH, 1)
    )
    for step, (one, two) in enumerate(zip(whole.terms, single.terms, strict=True)):
        assert one == pytest.approx(two, rel=2e-4, abs=1e-5), step
    for key, weight in whole.weights.items():
        assert torch.allclose(weight, single.weights[key], atol=ROUNDING), key


@pytest.mark.parametrize("name", PRESETS)
def test_lora_works(trained, name, tmp_path):
    adapter = Choice("lora", {"rank": 4, "alpha": 8.0})
    outcome = carry_out(trained, short(name, parameters=adapter), tmp_path / "run")
    assert all(math.isfinite(value) for step in outcome.terms for value in step.values())
    before = dict(trained.model.named_parameters())
    changed = {key for key, weight in outcome.weights.items() if not torch.equal(weight, before[key])}
    assert changed
    assert not any("embed" in key or "norm" in key for key in changed)


@pytest.mark.parametrize("name", PRESETS)
def test_memory_is_as_declared(trained, name, tmp_path, monkeypatch):
    """Counted while gradients are there: weights, gradients, optimizer, references and whatever an axis keeps."""
    recipe = short(name, max_steps=3)
    changing = recipe.axes.parameters.create(parameter_choices).apply(copy.deepcopy(trained.model))
    weights = sum(weight.numel() for weight in trained.model.parameters())
    share = sum(weight.numel() for weight in changing.parameters() if weight.requires_grad) / weights
    meter = Meter(trained.model, changing)
    meter.watch(monkeypatch)
    carry_out(trained, recipe, tmp_path / "run")
    assert meter.most == pytest.approx(recipe.memory_factor(share), abs=MEMORY)
