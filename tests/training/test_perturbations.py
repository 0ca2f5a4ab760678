"""Adversaries: each against the plain loop that it equals."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F

from expunge.config import Choice
from expunge.errors import InputError
from expunge.methods.gradient_ascent import GradientAscent
from expunge.methods.npo import NPO
from expunge.methods.preset import Axes, Training
from expunge.methods.retain import NoRetain, RetainNLL
from expunge.methods.terms import per_token
from expunge.models.modules import blocks
from expunge.training.combiners import WeightedSum
from expunge.training.direction import Direction
from expunge.training.loop import train
from expunge.training.perturbations.base import Disturbance
from expunge.training.perturbations.embedding_noise import EmbeddingNoise
from expunge.training.perturbations.latent import Latent
from expunge.training.perturbations.sam import SAM
from expunge.training.perturbations.tamper import Tamper
from tests.support.tiny import llama
from tests.training.jobs import flat, gradients_of, job, weights_after

TRAINING = Training(learning_rate=1e-3, epochs=2, batch_size=4, micro_batch=4, warmup=0.0)
WEIGHTS = {"forget": 1.0, "retain": 1.0}


def direction(made, perturbation, **more):
    """The gradient of the first step under an adversary, and its terms."""
    gradients = gradients_of(made, perturbation)
    streams = made.streams()
    site = Direction(
        gradients=gradients,
        number=0,
        data=streams.step_data(0),
        others=lambda: [streams.step_data(1), streams.step_data(2)],
        state={},
        seed=5,
        **{"weights": WEIGHTS, **more},
    )
    terms = site.find(WeightedSum(), perturbation)
    return {name.removeprefix("model."): value for name, value in gradients.take().items()}, terms


def ascent(model, made, rows):
    """Token mean of the log-probability by transformers' own logits, and its gradient."""
    model.zero_grad()
    total, count = torch.zeros(()), 0
    for row in rows:
        example = made.examples["forget"][row]
        logits = model(torch.tensor([example.input_ids])).logits[0, :-1]
        labels = torch.tensor(example.labels[1:])
        total = total - F.cross_entropy(logits, labels, ignore_index=-100, reduction="sum")
        count += int((labels >= 0).sum())
    (total / count).backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def test_sam_takes_the_forget_gradient_a_step_further_and_the_retain_gradient_here():
    made = job(GradientAscent(), RetainNLL(), training=TRAINING)
    before = flat(made.model).clone()
    found, terms = direction(made, SAM(rho=0.05))
    assert torch.equal(flat(made.model), before)

    by_hand, rows = llama(), made.streams().rows(0)["forget"]
    here = ascent(by_hand, made, rows)
    norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in here.values()))
    with torch.no_grad():
        for name, parameter in by_hand.named_parameters():
            parameter += 0.05 / norm * here[name]
    there = ascent(by_hand, made, rows)
    retain, _ = direction(replace(made, method=GradientAscent()), SAM(rho=0.0))
    for name, gradient in found.items():
        # With rho 0 it is the plain sum, so the difference is that of the two forget gradients.
        assert torch.allclose(gradient - retain[name], there[name] - here[name], atol=1e-5), name
    assert max(float((there[name] - here[name]).abs().max()) for name in there) > 1e-3
    assert terms["forget"] == pytest.approx(direction(made, SAM(rho=0.0))[1]["forget"])


def test_a_distance_of_zero_is_the_plain_loop():
    plain = weights_after(training=TRAINING)
    still = weights_after(training=TRAINING, axes=Axes(perturb=Choice("sam", {"rho": 0.0})))
    assert (plain - still).abs().mean() < 2e-6
    moved = weights_after(training=TRAINING, axes=Axes(perturb=Choice("sam", {"rho": 0.1})))
    assert (plain - moved).abs().max() > 1e-4


def test_the_latent_adversary_raises_the_forget_term_within_its_ball():
    made = job(GradientAscent(), NoRetain(), training=TRAINING)
    gradients = gradients_of(made, Latent(layer="0", epsilon=0.3, steps=8))
    plain = gradients_of(made)
    data = made.streams().step_data(0)
    disturbed = gradients(data, {}, WEIGHTS)["forget"]
    assert disturbed > plain(data, {}, WEIGHTS)["forget"] + 0.05  # ascent lowers what the adversary raises


def test_the_ball_is_that_of_each_token():
    made = job(GradientAscent(), NoRetain(), training=TRAINING)
    batch = made.streams().step_data(0).micro_batches[0]["forget"]
    seen = {}

    def keep(module, args, output):
        seen["hidden"] = output[0] if isinstance(output, tuple) else output

    handle = blocks(made.model)[0].register_forward_hook(keep)
    made.model(batch.input_ids_BT, attention_mask=batch.attention_mask_BT)
    handle.remove()
    step = gradients_of(made).step

    def forget(tried: Disturbance) -> torch.Tensor:
        terms = made.method.terms(step._views({"forget": batch}, tried), {})
        return terms["forget"].numerator(batch)

    found = Latent(layer="0", epsilon=0.3, steps=32).disturb(made.model, batch, forget, 0)
    (change,) = found.interventions.values()
    moved = change(seen["hidden"]) - seen["hidden"]
    share = (moved.norm(dim=-1) / seen["hidden"].norm(dim=-1))[batch.attention_mask_BT.bool()]
    assert float(share.max()) <= 0.3 * (1 + 1e-5)
    assert float(share.max()) > 0.29


def test_the_latent_adversary_leaves_no_gradient_of_its_own_and_no_hook():
    """The weights' gradient under the final disturbance alone; sixteen inner passes leave nothing behind."""
    made = job(GradientAscent(), NoRetain(), training=TRAINING)
    found, _ = direction(made, Latent(layer="0", epsilon=1e-9, steps=2))
    plain, _ = direction(made, SAM(rho=0.0))
    assert max(float((found[name] - plain[name]).abs().max()) for name in found) < 1e-5
    assert not any(module._forward_hooks for module in made.model.modules())


def test_an_adversary_above_all_that_is_read_is_refused():
    from tests.training.methods import LowestLayer

    made = job(LowestLayer(), NoRetain(), training=TRAINING)
    with pytest.raises(InputError, match="does not depend on layer 1"):
        gradients_of(made, Latent(layer="1"))(made.streams().step_data(0), {}, WEIGHTS)


@pytest.mark.parametrize("choice", [Choice("latent", {"steps": 2, "layer": "0"}), Choice("embedding_noise")])
def test_micro_batches_change_nothing_under_an_adversary(choice):
    whole, cut = (
        weights_after(training=replace(TRAINING, micro_batch=size), axes=Axes(perturb=choice)) for size in (4, 1)
    )
    assert (whole - cut).abs().mean() < 5e-6
    assert (whole - weights_after(training=TRAINING)).abs().max() > 1e-4


def test_embedding_noise_by_hand():
    """Zero at scale 0; else of the deviation that was asked for, other in another step, and none on padding."""
    model = llama(hidden=64)
    made = job(NPO(), NoRetain(), model=model, training=TRAINING)
    batch = made.streams().step_data(0).micro_batches[0]["forget"]
    plain = model.get_input_embeddings()(batch.input_ids_BT)

    def noise(scale, seed=1):
        found = EmbeddingNoise(scale=scale).disturb(model, batch, lambda tried: tried, seed)
        return (found.inputs_embeds - plain).detach()

    assert not noise(0.0).any()
    there = batch.attention_mask_BT.bool()
    size = model.get_input_embeddings().weight.square().mean().sqrt()
    assert float(noise(0.5)[there].std()) == pytest.approx(0.5 * float(size), rel=0.1)
    assert not noise(0.5)[~there].any()
    assert (~there).any()
    assert torch.equal(noise(0.5), noise(0.5))
    assert not torch.equal(noise(0.5), noise(0.5, seed=2))


def test_tampering_by_hand():
    """Eight AdamW steps on the other batches' answers; the forget gradient after the 4th and 8th, weighted."""
    made = job(GradientAscent(), RetainNLL(), training=TRAINING)
    before = flat(made.model).clone()
    adversary = Tamper(steps=8, every=4, growth=0.5, scale=2.0, learning_rates=(1e-2,))
    found, terms = direction(made, adversary)
    assert torch.equal(flat(made.model), before)

    by_hand, streams = llama(), made.streams()
    retain = direction(made, SAM(rho=0.0))[0]
    forget_here = ascent(copy.deepcopy(by_hand), made, streams.rows(0)["forget"])
    attack = torch.optim.AdamW(by_hand.parameters(), lr=1e-2, weight_decay=0.0)
    total = {name: torch.zeros_like(parameter) for name, parameter in by_hand.named_parameters()}
    for step in range(8):
        relearn = ascent(by_hand, made, streams.rows(1 + step % 2)["forget"])
        for name, parameter in by_hand.named_parameters():
            parameter.grad = -relearn[name]
        attack.step()
        if step in (3, 7):
            for name, gradient in ascent(by_hand, made, streams.rows(0)["forget"]).items():
                total[name] += 2.0 * math.exp(0.5 * (step - 7)) * gradient
    for name, gradient in found.items():
        expected = total[name] + retain[name] - forget_here[name]
        assert torch.allclose(gradient, expected, atol=2e-4), name
    assert terms["attacked"] != pytest.approx(terms["forget"], abs=1e-3)


@dataclass(frozen=True, kw_only=True)
class Holding(GradientAscent):
    """Ascent, and a term that holds the model on the retain records."""

    def views(self):
        """Both sets."""
        return (*GradientAscent.views(self), *RetainNLL().views())

    def term_weights(self):
        """Whatever the weight of the forget term is."""
        return {"retain_anchor": 2.0}

    def terms(self, views, state):
        """Ascent, and likelihood of the retain answers."""
        anchor = per_token(-views["retain"].policy.token_logps, "retain")
        return {"forget": self.forget_term(views, state), "retain_anchor": anchor}


@pytest.mark.parametrize("adversary", [SAM(rho=5.0), Tamper(steps=8, learning_rates=(1e-2,))])
def test_what_holds_the_model_is_read_at_its_own_weights(adversary):
    """With weight 0 for the forget term, the gradient is the plain one of the term that holds, taken once."""
    made = job(Holding(), NoRetain(), training=TRAINING)
    weights = {"forget": 0.0, "retain_anchor": 2.0}
    gradients = gradients_of(made)
    gradients(made.streams().step_data(0), {}, weights)
    plain = {name.removeprefix("model."): value for name, value in gradients.take().items()}
    found, _ = direction(made, adversary, weights=weights)
    assert max(float(value.abs().max()) for value in plain.values()) > 1e-3
    for name, gradient in found.items():
        assert torch.allclose(gradient, plain[name], atol=1e-6), name


def test_the_loop_knows_what_a_method_holds_the_model_with():
    training = replace(TRAINING, epochs=1, max_grad_norm=0.0)
    plain, attacked = (
        weights_after(
            method=Holding(),
            retain=NoRetain(),
            training=training,
            axes=Axes(forget_weight=0.0, optimizer=Choice("sgd"), perturb=Choice(name, settings)),
        )
        for name, settings in (("none", {}), ("tamper", {"steps": 8, "learning_rates": (1e-2,)}))
    )
    assert (plain - flat(llama())).abs().max() > 1e-5
    assert (plain - attacked).abs().max() < 1e-6


@dataclass(frozen=True, kw_only=True)
class Vast(GradientAscent):
    """A forget term that is in no nats."""

    scale = math.inf

    def forget_term(self, views, state):
        """Ascent, a thousand times as large."""
        term = GradientAscent.forget_term(self, views, state)
        return replace(term, values=1000 * term.values)


def test_the_guard_knows_the_unit_of_the_attacked_term():
    axes = Axes(perturb=Choice("tamper", {"steps": 8, "learning_rates": (1e-5,)}))
    made = job(Vast(), training=replace(TRAINING, max_steps=1), axes=axes)
    assert train(made).steps == 1


def test_tampering_needs_another_batch_to_attack_with():
    made = job(
        GradientAscent(), training=replace(TRAINING, batch_size=32), axes=Axes(perturb=Choice("tamper", {"steps": 8}))
    )
    with pytest.raises(InputError, match="batch_size"):
        train(made)


def test_a_weak_attack_is_refused():
    with pytest.raises(InputError, match="at least 8"):
        Tamper(steps=4)


@pytest.mark.parametrize("name", ["sam", "tamper"])
def test_moved_weights_come_back_bit_for_bit_and_the_run_repeats(name):
    settings = {"steps": 8} if name == "tamper" else {}
    axes = Axes(perturb=Choice(name, settings))
    training = replace(TRAINING, epochs=1)
    assert torch.equal(weights_after(training=training, axes=axes), weights_after(training=training, axes=axes))
