"""Sophia's update by hand, the Gauss-Newton-Bartlett estimate against the exact diagonal, exact resume."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import nn

from expunge.config import Choice
from expunge.errors import InputError
from expunge.methods.gradient_ascent import GradientAscent
from expunge.methods.npo import NPO
from expunge.methods.preset import Axes, Training
from expunge.methods.retain import NoRetain, RetainKL
from expunge.models.reading import read
from expunge.registry import optimizers
from expunge.training import checkpoint, curvature, distributed
from expunge.training.loop import train
from expunge.training.optimizers.sophia import Sophia, SophiaOptimizer
from expunge.training.step import Step
from expunge.training.streams import Streams
from tests.support.tiny import examples, llama
from tests.training.test_loop import TRAINING, job

EXACT = 1e-12  # float64
LR, DECAY = 0.1, 0.5


def optimizer_of(weight: nn.Parameter, **settings) -> SophiaOptimizer:
    made = Sophia(**settings).create([weight], Training(learning_rate=LR, weight_decay=DECAY))
    assert isinstance(made, SophiaOptimizer)
    return made


def weight_of(*values: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values, dtype=torch.float64))


def test_two_steps_of_gnb_by_hand():
    weight = weight_of(1.0, -2.0, 3.0)
    optimizer = optimizer_of(weight, beta1=0.9, beta2=0.95, rho=0.04, eps=1e-3)
    optimizer.curvature({"w": torch.tensor([1000.0, 20.0, 0.0], dtype=torch.float64)})  # h = 0.05 of it: 50, 1, 0
    weight.grad = torch.tensor([4.0, -1.0, 0.5], dtype=torch.float64)
    optimizer.step()
    # m = 0.4, -0.1, 0.05; rho h = 2, 0.04, 0 -> eps; m / that = 0.2, -2.5, 50; clipped: 0.2, -1, 1
    expected = [0.95 * 1 - 0.1 * 0.2, 0.95 * -2 + 0.1, 0.95 * 3 - 0.1]
    assert weight.tolist() == pytest.approx(expected, abs=EXACT)
    weight.grad = torch.tensor([0.0, 0.0, -1.0], dtype=torch.float64)
    optimizer.step()
    # m = 0.36, -0.09, 0.045 - 0.1; h as it was
    again = [0.95 * expected[0] - 0.1 * 0.18, 0.95 * expected[1] + 0.1, 0.95 * expected[2] + 0.1]
    assert weight.tolist() == pytest.approx(again, abs=EXACT)
    assert optimizer.state[weight]["m"].tolist() == pytest.approx([0.36, -0.09, -0.055], abs=EXACT)
    assert optimizer.state[weight]["h"].tolist() == pytest.approx([50.0, 1.0, 0.0], abs=EXACT)
    assert float(optimizer.state[weight]["step"]) == 2


def test_squared_takes_the_square_of_every_gradient():
    weight = weight_of(0.0)
    optimizer = optimizer_of(weight, estimator="squared", batch_tokens=100.0, rho=0.5, beta1=0.8, beta2=0.75, eps=1e-9)
    m = h = at = 0.0
    for gradient in (2.0, -1.0, 0.25):
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        m, h = 0.8 * m + 0.2 * gradient, 0.75 * h + 0.25 * 100.0 * gradient**2
        at = at * (1 - LR * DECAY) - LR * max(-1.0, min(1.0, m / (0.5 * h)))
        assert weight.item() == pytest.approx(at, abs=EXACT)
    assert not any(optimizer.wants_curvature(step) for step in range(30))


def test_curvature_is_wanted_in_the_first_step_and_every_k_after_it():
    optimizer = optimizer_of(weight_of(0.0), every=4)
    assert [step for step in range(12) if optimizer.wants_curvature(step)] == [0, 4, 8]


@pytest.mark.parametrize("settings", [{"beta1": 1.0}, {"beta2": -0.1}, {"rho": 0.0}, {"every": 0}, {"eps": 0.0}])
def test_numbers_without_meaning_are_refused(settings):
    with pytest.raises(InputError, match="sophia|beta"):
        Choice("sophia", settings).create(optimizers)


def test_a_curvature_of_another_shape_is_refused():
    with pytest.raises(InputError, match="shape"):
        optimizer_of(weight_of(0.0)).curvature({"w": torch.zeros(2)})


def test_draws_follow_the_distribution_and_never_take_the_impossible():
    logits = torch.tensor([0.0, -torch.inf, 1.0, 2.0, -torch.inf])
    draws = 20000
    uniform = (torch.arange(draws) + 0.5) / draws  # stratified: exact to one in 20,000
    labels = curvature.draw(logits.expand(draws, -1), uniform)
    shares = torch.bincount(labels, minlength=5) / draws
    assert torch.allclose(shares, logits.softmax(-1), atol=2 / draws)
    assert curvature.draw(logits[None], torch.zeros(1)).item() == 0
    assert curvature.draw(logits[None], torch.full((1,), 1.0 - 1e-16, dtype=torch.float64)).item() == 3


def test_squared_mean_of_drawn_labels_is_the_gauss_newton_diagonal():
    """All draws of a softmax regression on two inputs, weighed by their chance: E[B ghat^2] in closed form.

    The Gauss-Newton diagonal of the mean loss for weight (v, d) is mean over n of p_nv (1 - p_nv) x_nd^2.
    """
    generator = torch.Generator().manual_seed(5)
    inputs = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    weight = torch.randn(4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    p = (inputs @ weight.T).softmax(-1).detach()
    expected = torch.zeros_like(weight)
    for labels in product(range(4), repeat=2):
        loss = -(inputs @ weight.T).log_softmax(-1)[range(2), list(labels)].mean()
        (ghat,) = torch.autograd.grad(loss, weight)
        expected = expected + p[0, labels[0]] * p[1, labels[1]] * 2 * ghat.square()
    exact = ((p * (1 - p))[:, :, None] * inputs.square()[:, None, :]).mean(0)
    assert torch.allclose(expected, exact, atol=EXACT)


def setting(method=None, micro_batch=8, retain=None):
    training = replace(TRAINING, micro_batch=micro_batch)
    made = job(method or NPO(), retain or NoRetain(), model=llama(dropout=0.3), training=training)
    made.model.requires_grad_(True)
    accelerator = distributed.accelerator(made.model)
    step = Step(made.model, made.method, made.retain_term, made.references)
    return made, accelerator, step


@pytest.mark.slow
def test_estimate_has_the_gauss_newton_diagonal_of_the_output_layer_as_its_mean():
    """Untied output layer: the features do not depend on it, so its diagonal is known exactly."""
    model = llama(tied=False)
    made = replace(job(GradientAscent(), NoRetain()), model=model)
    accelerator, step = distributed.accelerator(model), Step(model, GradientAscent(), NoRetain(), {})
    data = made.streams().step_data(0)
    features, logits = [], []
    for batches in data.micro_batches:
        batch = batches["forget"]
        last_BTD = model.model(batch.input_ids_BT, attention_mask=batch.attention_mask_BT).last_hidden_state
        features.append(last_BTD.detach()[:, :-1][batch.labels_scored_BT[:, 1:]])
        logits.append(read(model, batch).logits.detach())
    p, x = torch.cat(logits).softmax(-1), torch.cat(features)
    exact = torch.einsum("nv,nd->vd", p * (1 - p), x.square()) / len(x)
    name, draws = "model.lm_head.weight", 100
    mean = sum(curvature.estimate(accelerator, step, data, seed)[name] for seed in range(draws)) / draws
    ratio = (mean / exact).mean()  # 61 x 32 entries, each of which scatters by about sqrt(2 / draws)
    assert float(ratio) == pytest.approx(1.0, abs=0.05)
    assert torch.corrcoef(torch.stack([mean.flatten(), exact.flatten()]))[0, 1] > 0.4


def test_estimate_does_not_depend_on_micro_batches_and_leaves_nothing_behind():
    found = []
    for size in (8, 3):
        made, accelerator, step = setting(micro_batch=size, retain=RetainKL())
        step.train()
        for number, parameter in enumerate(step.parameters()):
            parameter.grad = torch.full_like(parameter, float(number))
        before = torch.get_rng_state()
        found.append(curvature.estimate(accelerator, step, made.streams().step_data(0), seed=3))
        assert torch.equal(torch.get_rng_state(), before)
        assert all(bool((p.grad == number).all()) for number, p in enumerate(step.parameters()))
        assert all(module.training for module in step.modules())
        assert isinstance(step.method, NPO)
        assert isinstance(step.retain_term, RetainKL)
    assert list(found[0]) == [name for name, _ in step.named_parameters()]
    for name, value in found[0].items():
        assert torch.allclose(value, found[1][name], rtol=1e-3, atol=1e-6), name
        assert float(value.sum()) > 0
    other = curvature.estimate(accelerator, step, made.streams().step_data(0), seed=4)
    assert any(not torch.allclose(other[name], found[0][name], rtol=1e-2) for name in other)


def test_records_of_weight_0_and_weights_of_tokens_do_not_count():
    """A label is drawn for each scored token that counts at all, and counts once."""
    made, accelerator, step = setting(GradientAscent())
    streams = Streams(
        specs=made.method.views(),
        examples={"forget": examples(4, seed=9)},
        batch_size=4,
        micro_batch=4,
        seed=0,
        pad_id=0,
    )
    data = streams.step_data(0)
    plain = curvature.estimate(accelerator, step, data, seed=1)
    batch = data.micro_batches[0]["forget"]
    heavier = replace(batch, weights_B=batch.weights_B * 3, token_weights_BT=batch.token_weights_BT * 0.5)
    same = curvature.estimate(accelerator, step, data._replace(micro_batches=[{"forget": heavier}]), seed=1)
    without = replace(batch, weights_B=torch.tensor([1.0, 1.0, 1.0, 0.0]))
    fewer = curvature.estimate(accelerator, step, data._replace(micro_batches=[{"forget": without}]), seed=1)
    three = replace(batch, **{key: value[:3] for key, value in vars(batch).items()})
    alone = curvature.estimate(accelerator, step, data._replace(micro_batches=[{"forget": three}]), seed=1)
    for name, value in plain.items():
        assert torch.allclose(value, same[name], atol=1e-6), name
        assert torch.allclose(fewer[name], alone[name], rtol=1e-3, atol=1e-6), name


def test_fisher_is_the_mean_of_squares_of_single_records():
    model, records = llama().requires_grad_(True), examples(5, seed=4, weights=[1.0, 0.0, 1.0, 1.0, 1.0])
    found = curvature.empirical_fisher(model, records, 0, records=3)
    expected: dict[str, torch.Tensor] = {}
    for row in (0, 2, 3):
        logits = model(torch.tensor([records[row].input_ids])).logits[0, :-1]
        labels = torch.tensor(records[row].labels[1:])
        loss = nn.functional.cross_entropy(logits, labels, ignore_index=-100, reduction="sum")
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        for (name, _), gradient in zip(model.named_parameters(), gradients, strict=True):
            expected[name] = expected.get(name, 0) + gradient.square() / 3
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert torch.allclose(value, expected[name], rtol=1e-4, atol=1e-7), name
    assert all(parameter.grad is None for parameter in model.parameters())
    named = {f"model.{name}": parameter for name, parameter in model.named_parameters()}
    assert list(curvature.empirical_fisher(model, records, 0, 3, named)) == list(named)
    with pytest.raises(InputError, match="at least one record"):
        curvature.empirical_fisher(model, examples(2, weights=[0.0, 0.0]), 0, 3)


@pytest.mark.parametrize("estimator", ["gnb", "squared"])
def test_a_checkpoint_brings_all_of_it_back(tmp_path, estimator):
    def made() -> tuple[nn.Parameter, SophiaOptimizer]:
        weight = nn.Parameter(torch.tensor([1.0, -2.0]))
        return weight, optimizer_of(weight, estimator=estimator)

    def steps(weight: nn.Parameter, optimizer: SophiaOptimizer, first: int, last: int) -> None:
        for number in range(first, last):
            weight.grad = weight.detach() * (1.0 + number)
            if optimizer.wants_curvature(number):
                optimizer.curvature({"w": torch.tensor([3.0, 0.5])})
            optimizer.step()

    whole, optimizer = made()
    steps(whole, optimizer, 0, 6)
    halted, optimizer = made()
    steps(halted, optimizer, 0, 3)
    checkpoint.save(tmp_path, checkpoint.Progress(3, {}, {}), {"w": halted}, optimizer)
    resumed, optimizer = made()
    checkpoint.load(tmp_path / "step-000003", {"w": resumed}, optimizer)
    steps(resumed, optimizer, 3, 6)
    assert torch.equal(resumed, whole)


def test_the_loop_runs_with_what_souls_code_does():
    seen = []
    axes = Axes(optimizer=Choice("sophia", {"estimator": "squared"}))
    train(job(NPO(beta=0.5), NoRetain(), axes=axes, listener=seen.append, training=replace(TRAINING, epochs=4)))
    assert seen[-1].terms["forget"] < seen[0].terms["forget"]
