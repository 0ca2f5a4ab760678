"""Methods that move hidden states, in real runs of the loop on tiny models."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from expunge.config import Choice
from expunge.data.batch import IGNORE, collate
from expunge.errors import InputError, InterruptedRunError
from expunge.functional.losses import token_vectors
from expunge.methods.base import Start, View
from expunge.methods.circuit_breaker import CircuitBreaker
from expunge.methods.lunar import LUNAR
from expunge.methods.preset import Axes, Training
from expunge.methods.random_mapping import RandomMapping
from expunge.methods.recipe import preset_of, resolve
from expunge.methods.retain import NoRetain, RetainHidden, RetainNLL
from expunge.methods.rmu import RMU, AdaptiveRMU
from expunge.models.modules import blocks, resolve_layers
from expunge.models.parameters import AllParameters, LoRA, MLPOut
from expunge.models.reading import mean_hidden, read
from expunge.registry import parameter_choices
from expunge.training.loop import Job, StepReport, train
from expunge.training.references import build_references
from expunge.training.step import view_specs
from tests.support.params import few
from tests.support.tiny import examples, llama

NAMES = ["rmu", "adaptive_rmu", "circuit_breaker", "lunar", "random_mapping"]
TRAINING = Training(
    learning_rate=3e-3, epochs=4, batch_size=4, micro_batch=4, warmup=0.0, schedule="constant", runaway=1e4
)
FORGET, RETAIN, STEER = examples(8, seed=1), examples(10, seed=2), examples(5, seed=3)


# Method, retain term and parameters of each run; layer 1 of 3, so that blocks below and above it exist.
RUNS = {
    "rmu": (RMU(layer="1", coefficient=4.0), RetainHidden(layers="1"), MLPOut(layers="0-1")),
    "adaptive_rmu": (AdaptiveRMU(layer="1", beta=3.0), RetainHidden(layers="1"), MLPOut(layers="0-1")),
    "circuit_breaker": (
        CircuitBreaker(layers="0,1"),
        RetainHidden(layers="0-1", norm="l2"),
        LoRA(rank=4, alpha=16.0, layers="0-1"),
    ),
    "lunar": (LUNAR(layer="1"), NoRetain(), MLPOut(layers="1")),
    "random_mapping": (RandomMapping(layers="0-1"), RetainNLL(), AllParameters()),
}


def loud():
    """Three blocks with weights ten times as large as fresh ones, whose feed-forward parts hardly say anything."""
    model = llama(layers=3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(10)
    return model


def job(name: str, *, parameters=None, training=TRAINING, retain=None, model=None, weight=1.0, **more) -> Job:
    method, usual, choice = RUNS[name]
    retain = retain or usual
    model = (parameters or choice).apply(model or loud())
    views = {"forget": FORGET, "retain": RETAIN, "steer": STEER}
    specs = view_specs(method, retain)
    chosen = {spec.name: views[spec.name] for spec in specs}
    return Job(
        model=model,
        method=method,
        retain_term=retain,
        axes=Axes(retain_weight=weight),
        training=training,
        examples=chosen,
        references=build_references(model, specs, chosen, kind="auto", pad_id=0, batch_size=4),
        **more,
    )


def flat(model) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def shake(model) -> None:
    """Moves the weights that may change, the same way each time."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)


def states(model, records, layer: int = 1) -> list[torch.Tensor]:
    """Output of one block, record by record, from transformers itself."""
    with torch.no_grad():
        return [
            model(torch.tensor([r.input_ids]), output_hidden_states=True).hidden_states[layer + 1][0] for r in records
        ]


def scored(example) -> list[bool]:
    return [place > 0 and label >= 0 for place, label in enumerate(example.labels)]


@pytest.mark.parametrize("name", NAMES)
def test_the_forget_term_falls(name):
    seen: list[StepReport] = []
    rate = {"circuit_breaker": 1e-2, "random_mapping": 1e-2}.get(name, TRAINING.learning_rate)
    weight = 0.0 if name == "circuit_breaker" else 1.0  # its combiner starts there
    train(job(name, listener=seen.append, training=replace(TRAINING, epochs=6, learning_rate=rate), weight=weight))
    assert seen[-1].terms["forget"] < 0.9 * seen[0].terms["forget"]
    assert all(math.isfinite(value) for report in seen for value in report.terms.values())


@pytest.mark.parametrize("name", ["rmu", "adaptive_rmu", "lunar"])
def test_only_the_chosen_matrices_change(name):
    made = job(name)
    train(made)
    before = loud().state_dict()
    changed = {key for key, value in made.model.state_dict().items() if not torch.equal(value, before[key])}
    layers = [1] if name == "lunar" else [0, 1]
    assert changed == {f"model.layers.{layer}.mlp.down_proj.weight" for layer in layers}


@pytest.mark.parametrize("name", few(NAMES))
def test_micro_batches_change_nothing(name):
    training = replace(TRAINING, epochs=2)
    whole, cut = job(name, training=training), job(name, training=replace(training, micro_batch=3))
    for made in (whole, cut):
        if name == "circuit_breaker":  # flat at the start: there the first step of AdamW follows rounding alone
            shake(made.model)
        train(made)
    assert (flat(whole.model) - flat(cut.model)).abs().mean() < 2e-6
    assert (flat(whole.model) - flat(cut.model)).abs().max() < 1e-3  # AdamW turns rounding of a tiny gradient into more


@pytest.mark.parametrize("name", few(NAMES))
def test_resumed_run_ends_in_the_same_bits(name, tmp_path: Path):
    training = replace(TRAINING, epochs=2, checkpoint_every=1)
    whole = job(name, training=training)
    train(whole)
    calls: list[int] = []
    halted = job(
        name,
        training=training,
        checkpoints=tmp_path,
        stop_requested=lambda: bool(calls.append(1)) or len(calls) == 2,
    )
    with pytest.raises(InterruptedRunError):
        train(halted)
    resumed = job(name, training=training, checkpoints=tmp_path)
    train(resumed)
    assert torch.equal(flat(resumed.model), flat(whole.model))


@pytest.mark.parametrize("name", ["rmu", "lunar", "random_mapping"])
def test_the_state_is_in_the_checkpoint_and_is_what_a_resumed_run_uses(name, tmp_path: Path):
    """A run resumed after its seed or data changed keeps the direction it started with."""
    train(job(name, training=replace(TRAINING, max_steps=1), checkpoints=tmp_path))
    stored = load_file(tmp_path / "step-000001" / "method.safetensors")
    if name == "rmu":
        assert float(stored["control"].norm()) == pytest.approx(4.0, rel=1e-6)
        assert (stored["control"] >= 0).all()
    if name == "lunar":
        means = [mean_hidden(loud(), records, "1", 0)[1] for records in (STEER, FORGET)]
        torch.testing.assert_close(stored["direction_1"], means[0] - means[1], rtol=0, atol=1e-6)
        assert means[0].sub(means[1]).norm() > 0.1
    if name == "random_mapping":
        assert stored["seed"].item() == TRAINING.seed
        assert sum(value.numel() for value in stored.values()) == 1  # no table


@pytest.mark.parametrize("name", ["rmu", "adaptive_rmu", "lunar"])
def test_lora_in_place_of_the_matrices(name):
    seen: list[StepReport] = []
    made = job(name, parameters=LoRA(rank=4, layers="0-1"), listener=seen.append)
    train(made)
    assert seen[-1].terms["forget"] < seen[0].terms["forget"]
    assert seen[0].terms["retain"] == 0
    assert seen[-1].terms["retain"] > 0  # the reference stays the model without its adapter


@pytest.mark.parametrize("name", ["rmu", "adaptive_rmu", "circuit_breaker", "lunar"])
def test_at_the_start_nothing_has_drifted_and_a_retain_weight_holds_it(name):
    free, held = [], []
    train(job(name, weight=0.0, listener=free.append))
    train(job(name, weight=100.0, listener=held.append))
    assert free[0].terms["retain"] == held[0].terms["retain"] == pytest.approx(0, abs=1e-12)
    assert 0 < held[-1].terms["retain"] < 0.5 * free[-1].terms["retain"]


@pytest.mark.parametrize("name", ["rmu", "adaptive_rmu", "circuit_breaker", "lunar"])
def test_blocks_above_do_not_run_in_policy_and_reference(name):
    model = loud()
    calls = {"policy": [0, 0, 0], "reference": [0, 0, 0]}
    made = job(name, model=model, training=replace(TRAINING, max_steps=2))
    counted = [("policy", made.model)]
    frozen = made.references["forget" if name != "rmu" else "retain"].model
    if frozen is not made.model:
        counted.append(("reference", frozen))
    for which, inner in counted:
        for layer, block in enumerate(blocks(inner)):
            block.register_forward_pre_hook(
                lambda *_, which=which, layer=layer: calls[which].__setitem__(layer, calls[which][layer] + 1)
            )
    train(made)
    for which, _ in counted:
        assert calls[which][0] == calls[which][1] > 0, which
        assert calls[which][2] == 0, which
    # Two steps read forget and retain, two micro-batches of steering and of forget prompts come before LUNAR's first.
    assert calls["policy"][1] == {"lunar": 6, "circuit_breaker": 8}.get(name, 4)


def test_first_value_of_rmu_by_hand():
    """Mean over answer tokens and width of (h - control)^2, from transformers' own hidden states."""
    seen: list[StepReport] = []
    made = job("rmu", training=replace(TRAINING, max_steps=1), listener=seen.append)
    rows = made.streams().rows(0)["forget"]
    train(made)
    control = made.method.init(start()).get("control")
    records = [FORGET[row] for row in rows]
    kept = [state[scored(record)] for state, record in zip(states(loud(), records), records, strict=True)]
    expected = (torch.cat(kept) - control).square().mean()
    assert seen[0].terms["forget"] == pytest.approx(float(expected), rel=1e-5)


def test_first_value_of_adaptive_rmu_by_hand():
    """The same direction, three times as long as each token's own state."""
    seen: list[StepReport] = []
    made = job("adaptive_rmu", training=replace(TRAINING, max_steps=1), listener=seen.append)
    rows = made.streams().rows(0)["forget"]
    train(made)
    control = made.method.init(start())["control"]
    assert float(control.norm()) == pytest.approx(1, rel=1e-6)
    records = [FORGET[row] for row in rows]
    kept = [state[scored(record)] for state, record in zip(states(loud(), records), records, strict=True)]
    kept = torch.cat(kept)
    expected = (kept - 3.0 * kept.norm(dim=-1, keepdim=True) * control).square().mean()
    assert seen[0].terms["forget"] == pytest.approx(float(expected), rel=1e-5)


def test_rerouting_starts_at_one_and_ends_at_a_right_angle():
    seen: list[StepReport] = []
    made = job(
        "circuit_breaker", weight=0.0, training=replace(TRAINING, epochs=10, learning_rate=2e-2), listener=seen.append
    )
    train(made)
    assert seen[0].terms["forget"] == pytest.approx(1, abs=1e-5)  # the mean over layers, not their sum
    assert seen[-1].terms["forget"] < 0.2


def test_rerouting_counts_answer_tokens_only():
    """Equal states on the answer and opposite ones elsewhere: 1, where prompt or padding would pull it down."""
    batch = collate(FORGET[:3], 0)
    reference = torch.ones(*batch.input_ids_BT.shape, 2)
    policy = torch.where(batch.labels_scored_BT[..., None], reference, -reference)
    view = View(batch, SimpleNamespace(hidden_states={1: policy}), SimpleNamespace(hidden_states={1: reference}))
    values = CircuitBreaker(layers="1").forget_term({"forget": view}, {}).values
    torch.testing.assert_close(values, torch.ones(3))


def test_lunar_moves_forget_prompts_by_twice_the_direction_and_retain_prompts_less():
    """The first value is the squared length of the move over the width; afterwards the prompts have gone that way."""
    seen: list[StepReport] = []
    made = job("lunar", training=replace(TRAINING, epochs=20, learning_rate=1e-2), listener=seen.append)
    train(made)
    original = loud()
    means = [mean_hidden(original, records, "1", 0)[1] for records in (STEER, FORGET)]
    direction = means[0] - means[1]
    assert seen[0].terms["forget"] == pytest.approx(float((2 * direction).square().mean()), rel=1e-4)

    def moved(records) -> float:
        """Share of the full move that the mean prompt has made along the direction."""
        shift = mean_hidden(made.model, records, "1", 0)[1] - mean_hidden(original, records, "1", 0)[1]
        return float(shift @ direction / (2 * direction @ direction))

    # A random model hardly tells the two sets' prompts apart, so that the sets pull against each other.
    assert moved(FORGET) > 0.15
    assert moved(FORGET) > moved(RETAIN) + 0.05


def test_lunar_counts_the_prompts_of_both_sides_and_nothing_else():
    """Prompts stand where they are wanted; answers, padding and what a template writes behind them are far off."""
    batch = collate([replace(one, labels=(*one.labels[:-1], IGNORE)) for one in FORGET[:3]], 0)
    first = batch.labels_scored_BT.float().argmax(-1)
    prompt_BT = torch.arange(batch.input_ids_BT.shape[1]) < first[:, None]
    assert prompt_BT.sum() > 3
    zero = torch.zeros(*batch.input_ids_BT.shape, 2)
    held = torch.where(prompt_BT[..., None], zero, zero + 9)
    views = {
        "forget": View(batch, SimpleNamespace(hidden_states={1: held + 2}), SimpleNamespace(hidden_states={1: zero})),
        "retain": View(batch, SimpleNamespace(hidden_states={1: held}), SimpleNamespace(hidden_states={1: zero})),
    }
    terms = LUNAR(layer="1").terms(views, {"direction_1": torch.ones(2)})
    assert terms["forget"].values.tolist() == terms["retain"].values.tolist() == [0, 0, 0]
    views = {name: replace(view, policy=SimpleNamespace(hidden_states={1: zero + 5})) for name, view in views.items()}
    terms = LUNAR(layer="1").terms(views, {"direction_1": torch.ones(2)})
    assert (terms["forget"].values.tolist(), terms["retain"].values.tolist()) == ([9] * 3, [25] * 3)


def test_lunar_reads_block_outputs_for_what_the_paper_says_of_feed_forward_outputs():
    """With one matrix changed, both differ from the original's by the same."""
    made = job("lunar")
    train(made)
    outputs = {}
    for which, model in (("now", made.model), ("then", loud())):
        model.model.layers[1].mlp.register_forward_hook(lambda _, __, out, which=which: outputs.update({which: out}))
        outputs[which + " block"] = read(model, collate(FORGET, 0), hidden_layers=(1,), logits=False).hidden(1)
    change = outputs["now"] - outputs["then"]
    assert change.abs().max() > 0.01
    torch.testing.assert_close(outputs["now block"] - outputs["then block"], change, rtol=0, atol=1e-5)


def test_random_mapping_points_every_layer_along_the_vector_of_its_token():
    seen: list[StepReport] = []
    made = job("random_mapping", training=replace(TRAINING, max_steps=1), listener=seen.append)
    rows = made.streams().rows(0)["forget"]
    train(made)
    values = []
    for record in (FORGET[row] for row in rows):
        vectors = token_vectors(torch.tensor([record.input_ids]), 32, seed=0)[0]
        layers = [states(loud(), [record], layer)[0] for layer in (0, 1)]
        cosines = [torch.cosine_similarity(state, vectors, dim=-1).abs() for state in layers]
        values.append((1 - torch.stack(cosines)).mean(0)[scored(record)])
    assert seen[0].terms["forget"] == pytest.approx(float(torch.cat(values).mean()), rel=1e-5)


def test_random_mapping_does_not_read_the_logits_of_the_forget_records():
    (spec,) = RandomMapping().views()
    assert not spec.logits
    assert resolve_layers(loud(), spec.hidden) == [0, 1, 2]


def start(seed: int = 0) -> Start:
    return Start(hidden_size=32, records={}, seed=seed, mean_hidden=lambda view, layers: {})


def test_another_seed_draws_another_control_vector():
    drawn = [RMU().init(start(seed))["control"] for seed in (0, 1, 0)]
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])


def test_a_target_is_averaged_over_the_layers_that_are_named():
    batch = collate(FORGET[:2], 0)
    hidden = {layer: torch.full((*batch.input_ids_BT.shape, 2), float(layer)) for layer in (1, 3)}
    view = View(batch, SimpleNamespace(hidden_states=hidden))
    values = RMU(layer="1,3").forget_term({"forget": view}, {"control": torch.zeros(2)}).values
    assert values.tolist() == [5, 5]  # (1 + 9) / 2


def test_adaptive_targets_come_from_the_reference_at_the_same_layer():
    """Lengths 5 and 10 of the reference, not those of the model that has moved."""
    batch = collate(FORGET[:2], 0)
    shape = (*batch.input_ids_BT.shape, 2)
    reference = {1: torch.tensor([3.0, 4.0]).expand(shape), 3: torch.tensor([6.0, 8.0]).expand(shape)}
    view = View(
        batch,
        SimpleNamespace(hidden_states=dict.fromkeys((1, 3), torch.ones(shape))),
        SimpleNamespace(hidden_states=reference),
    )
    method = AdaptiveRMU(beta=2.0)
    for layer, length in ((1, 10.0), (3, 20.0)):
        target = method.target(view, layer, torch.tensor([1.0, 0.0]))
        assert torch.equal(target, torch.tensor([length, 0.0]).expand(shape))


@pytest.mark.parametrize(("name", "setting"), [("rmu", "coefficient"), ("adaptive_rmu", "beta")])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_lengths_without_meaning_are_refused(name, setting, value):
    with pytest.raises(InputError, match=setting):
        resolve(name, {setting: value})


@pytest.mark.parametrize(("depth", "layer", "trained"), [(32, [7], [5, 6, 7]), (16, [3], [2, 3]), (2, [0], [0])])
def test_layers_of_the_presets_fit_any_depth(depth, layer, trained):
    model = llama(layers=depth, hidden=8)
    for name in ("rmu", "adaptive_rmu"):
        preset = preset_of(name)
        (spec,) = (spec for spec in resolve(name).method.views() if spec.name == "forget")
        assert resolve_layers(model, spec.hidden) == layer
        assert resolve_layers(model, preset.axes.retain_term.settings["layers"]) == layer
        assert resolve_layers(model, preset.axes.parameters.settings["layers"]) == trained
    lunar = preset_of("lunar").axes.parameters.settings["layers"]
    assert resolve_layers(model, lunar) == resolve_layers(model, LUNAR().layer)
    assert depth != 32 or resolve_layers(model, lunar) == [22]
    breaker = preset_of("circuit_breaker").axes
    assert depth != 32 or resolve_layers(model, CircuitBreaker().layers) == [9, 19]
    assert depth != 32 or resolve_layers(model, breaker.parameters.settings["layers"]) == list(range(21))
    assert breaker.parameters.create(parameter_choices) == LoRA(
        rank=16, alpha=16.0, dropout=0.05, layers=breaker.retain_term.settings["layers"]
    )


def test_presets_take_the_papers_numbers():
    for name in ("rmu", "adaptive_rmu"):
        recipe = resolve(name)
        assert (recipe.axes.retain_weight, recipe.training.max_steps, recipe.training.batch_size) == (1200, 150, 4)
        assert recipe.axes.retain_term == Choice("hidden", {"layers": "0.2258", "norm": "mse"})
        assert (recipe.training.learning_rate, recipe.training.schedule) == (5e-5, "constant")
    breaker = resolve("circuit_breaker").axes
    course = {"forget_from": 1.0, "forget_to": 0.5, "retain_from": 0.0, "retain_to": 0.5}
    assert (breaker.combiner, breaker.forget_weight, breaker.retain_weight) == (Choice("sum", course), 10, 10)
    assert resolve("lunar").needs() == ("forget", "retain", "steer")
