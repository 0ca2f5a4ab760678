"""The loop: invariance to micro-batches, exact resume, guard, stoppers, left-out records."""

from __future__ import annotations

import copy
import itertools
import json
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from expunge.config import Choice
from expunge.errors import DivergedError, InputError, InterruptedRunError
from expunge.methods.base import LossMethod, Start, State, ViewSpec
from expunge.methods.dpo import IdkDPO
from expunge.methods.finetune import Finetune
from expunge.methods.gradient_ascent import GradientAscent
from expunge.methods.npo import NPO
from expunge.methods.preset import Axes, Training
from expunge.methods.retain import NoRetain, RetainKL, RetainNLL
from expunge.methods.terms import per_token
from expunge.models.parameters import Layers, LoRA
from expunge.training import checkpoint, distributed
from expunge.training.gradients import Gradients
from expunge.training.loop import StepReport, total_steps, train
from expunge.training.optimizers import learning_rate
from expunge.training.step import Step, view_specs
from expunge.training.streams import Streams
from tests.support.params import few
from tests.support.tiny import examples, llama
from tests.training.jobs import FORGET, TRAINING, job, weights_after

TOLERANCE = 2e-6  # float32 sums in another order


@pytest.mark.parametrize(
    ("method", "retain"),
    few(
        itertools.product([GradientAscent(), NPO(), IdkDPO(), Finetune()], [NoRetain(), RetainNLL(), RetainKL()]),
        0,
        5,
        7,
    ),
    ids=lambda part: type(part).__name__,
)
def test_micro_batches_change_nothing(method, retain):
    whole = weights_after(method=method, retain=retain)
    for size in (1, 3, 4):
        cut = weights_after(method=method, retain=retain, training=replace(TRAINING, micro_batch=size))
        # AdamW turns rounding of a tiny gradient into a visible step, hence the second bound on outliers.
        assert (cut - whole).abs().mean() < TOLERANCE, size
        assert (cut - whole).abs().max() < 2e-4, size
    start = torch.cat([parameter.detach().flatten() for parameter in llama().parameters()])
    assert (whole - start).abs().mean() > 100 * TOLERANCE


def test_first_gradient_is_that_of_the_whole_batch_by_hand():
    """Token mean over the effective batch, from transformers' own logits, record by record."""
    model = llama()
    by_hand = copy.deepcopy(model)
    made = job(GradientAscent(), RetainNLL(), model=model, training=replace(TRAINING, micro_batch=3, max_steps=1))
    rows = made.streams().rows(0)

    def token_sum(view: str, row: int) -> tuple[torch.Tensor, int]:
        example = made.examples[view][row]
        logits = by_hand(torch.tensor([example.input_ids])).logits[0, :-1]
        labels = torch.tensor(example.labels[1:])
        return F.cross_entropy(logits, labels, ignore_index=-100, reduction="sum"), int((labels >= 0).sum())

    def mean(view: str) -> torch.Tensor:
        sums, counts = zip(*(token_sum(view, row) for row in rows[view]), strict=True)
        return sum(sums) / sum(counts)

    (mean("retain") - mean("forget")).backward()
    seen: list[StepReport] = []
    train(replace(made, axes=Axes(optimizer=Choice("sgd")), listener=seen.append))
    norm = math.sqrt(sum(float(p.grad.square().sum()) for p in by_hand.parameters()))
    assert seen[0].grad_norm == pytest.approx(norm, rel=1e-5)
    assert seen[0].terms["forget"] == pytest.approx(-float(mean("forget")), rel=1e-5)
    assert seen[0].terms["retain"] == pytest.approx(float(mean("retain")), rel=1e-5)
    scale = min(1.0, 1.0 / norm)
    fresh = llama()
    for (name, after), (_, grad) in zip(model.named_parameters(), by_hand.named_parameters(), strict=True):
        before = dict(fresh.named_parameters())[name]
        expected = before * (1 - 1e-3 * 0.01) - 1e-3 * scale * grad.grad
        assert torch.allclose(after, expected, atol=1e-5), name


def test_gradients_of_single_terms_add_up():
    """What a combiner builds on: each term by itself, its weight a factor, the values of all terms always there."""
    made = job(NPO(beta=0.5), RetainKL())
    accelerator = distributed.accelerator(made.model)
    gradients = Gradients(accelerator, Step(made.model, made.method, made.retain_term, made.references))
    data = made.streams().step_data(0)

    def taken(forget: float, retain: float) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
        terms = gradients(data, {}, {"forget": forget, "retain": retain})
        return gradients.take(), terms

    # The retain term (KL to the reference) is flat at the start, so the model is moved first.
    with torch.no_grad():
        for parameter in made.model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3))
    whole, values = taken(2.0, 3.0)
    forget, _ = taken(1.0, 0.0)
    retain, same_values = taken(0.0, 1.0)
    nothing, _ = taken(0.0, 0.0)
    assert values == pytest.approx(same_values)
    assert set(values) == {"forget", "retain"}
    assert min(float(sum(g.abs().sum() for g in part.values())) for part in (forget, retain)) > 0.1
    for name, gradient in whole.items():
        assert torch.allclose(gradient, 2 * forget[name] + 3 * retain[name], atol=1e-5), name
        assert not nothing[name].any()


@dataclass(frozen=True, kw_only=True)
class WithState(LossMethod):
    """Gradient ascent whose state is drawn from what the run says of itself."""

    spec = GradientAscent.spec

    def init(self, start: Start) -> State:
        generator = torch.Generator().manual_seed(start.seed)
        return {
            "direction": torch.rand(start.hidden_size, generator=generator),
            "n": torch.tensor(start.records["forget"]),
        }

    def forget_term(self, views, state):
        assert state["direction"].shape == (llama().config.hidden_size,)
        return per_token(views["forget"].policy.token_logps * state["direction"].mean() / state["n"])


def test_state_is_sized_by_the_run_and_kept_in_its_checkpoints(tmp_path):
    whole = weights_after(method=WithState())
    halted = job(method=WithState(), checkpoints=tmp_path / "c", stop_requested=lambda: True)
    with pytest.raises(InterruptedRunError):
        train(halted)
    resumed = weights_after(method=WithState(), checkpoints=tmp_path / "c")
    assert torch.equal(whole, resumed)


def test_npo_does_not_depend_on_the_kind_of_reference():
    frozen, cached = (weights_after(axes=Axes(reference=kind)) for kind in ("frozen", "cached"))
    start = torch.cat([parameter.detach().flatten() for parameter in llama().parameters()])
    assert (frozen - cached).abs().max() < 2e-4
    assert (frozen - start).abs().max() > 2e-3


def test_npo_starts_at_two_over_beta_ln_two_and_forgets():
    seen: list[StepReport] = []
    train(job(NPO(beta=0.5), NoRetain(), listener=seen.append, training=replace(TRAINING, epochs=6)))
    assert seen[0].terms["forget"] == pytest.approx(4 * math.log(2), rel=1e-5)
    assert seen[-1].terms["forget"] < seen[0].terms["forget"]


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_resumed_run_ends_in_the_same_bits(tmp_path: Path, dropout):
    calls: list[int] = []
    whole = weights_after(model=llama(dropout=dropout), checkpoints=tmp_path / "a")
    halted = job(
        model=llama(dropout=dropout),
        checkpoints=tmp_path / "b",
        stop_requested=lambda: bool(calls.append(1)) or len(calls) == 3,
    )
    with pytest.raises(InterruptedRunError):
        train(halted)
    assert torch.equal(weights_after(model=llama(dropout=dropout), checkpoints=tmp_path / "b"), whole)


def test_same_seed_same_bits_and_another_seed_others():
    assert torch.equal(weights_after(), weights_after())
    assert not torch.equal(weights_after(), weights_after(training=replace(TRAINING, seed=1)))


def test_guard_goes_back_to_the_last_good_checkpoint(tmp_path: Path):
    made = job(
        GradientAscent(), NoRetain(), checkpoints=tmp_path, training=replace(TRAINING, learning_rate=3.0, epochs=20)
    )
    start = {name: value.clone() for name, value in made.model.state_dict().items()}
    with pytest.raises(DivergedError, match="diverged at step") as trouble:
        train(replace(made, training=replace(made.training, runaway=20.0)))
    step = int(re.search(r"back at step (\d+)", str(trouble.value))[1])
    stored = load_file(tmp_path / f"step-{step:06d}" / "weights.safetensors")
    after = dict(made.model.named_parameters())
    assert stored.keys() == {f"model.{name}" for name in after}
    assert all(torch.equal(after[name], stored[f"model.{name}"]) for name in after)
    # The steps since then are taken back: they had moved every weight.
    diverged = checkpoint.list_checkpoints(tmp_path)[-1]
    assert step == 0 or any(not torch.equal(after[name], start[name]) for name in after)
    assert int(diverged.name.removeprefix("step-")) >= step


def test_guard_sees_a_poisoned_weight(tmp_path: Path):
    model = llama()
    made = job(model=model, checkpoints=tmp_path)
    with torch.no_grad():
        model.model.norm.weight[0] = float("nan")
    with pytest.raises(DivergedError, match="nan"):
        train(made)


def test_stopper_stops_and_says_why():
    stopper = Choice("term_threshold", {"term": "forget", "below": -4.5, "window": 1})
    made = job(GradientAscent(), NoRetain(), axes=Axes(stopper=stopper), training=replace(TRAINING, epochs=40))
    result = train(made)
    assert result.steps < total_steps(made.training, len(FORGET))
    assert "below -4.5" in result.reason


def test_a_stopped_run_stays_stopped(tmp_path: Path):
    stopper = Choice("term_threshold", {"term": "forget", "below": -4.5, "window": 1})
    made = job(
        GradientAscent(),
        NoRetain(),
        axes=Axes(stopper=stopper),
        training=replace(TRAINING, epochs=40),
        checkpoints=tmp_path,
    )
    first = train(made)
    weights = torch.cat([parameter.detach().flatten() for parameter in made.model.parameters()]).clone()
    again = train(replace(made, model=llama()))
    assert again == first
    third = weights_after(
        method=GradientAscent(), retain=NoRetain(), axes=made.axes, training=made.training, checkpoints=tmp_path
    )
    assert torch.equal(third, weights)


def test_a_small_beta_does_not_trip_the_guard():
    """NPO starts at (2/beta) ln 2 whatever the model: 138.6 for the beta of 0.01 that its paper tries."""
    seen: list[StepReport] = []
    train(job(NPO(beta=0.01), NoRetain(), listener=seen.append))
    assert seen[0].terms["forget"] == pytest.approx(138.63, rel=1e-3)


def test_partners_of_weight_0_are_never_drawn():
    weights = [float(row % 2) for row in range(14)]
    made = job(NPO(), RetainNLL(), training=replace(TRAINING, batch_size=2))
    made = replace(made, examples={**made.examples, "retain": examples(14, seed=2, weights=weights)})
    drawn = [row for step in range(7) for row in made.streams().rows(step)["retain"]]
    assert len(set(drawn[:7])) == 7
    assert all(weights[row] for row in drawn)
    train(made)
    with pytest.raises(InputError, match="weight above 0"):
        replace(made, examples={**made.examples, "retain": examples(14, seed=2, weights=[0.0] * 14)}).streams()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("micro_batch", -1),
        ("micro_batch", 0),
        ("max_steps", -3),
        ("epochs", math.inf),
        ("learning_rate", math.inf),
        ("learning_rate", math.nan),
        ("weight_decay", -1.0),
        ("max_grad_norm", -1.0),
        ("warmup", 1.5),
    ],
)
def test_numbers_that_cannot_be_meant_are_refused(name, value):
    with pytest.raises(InputError, match=name):
        Training(**{name: value})


def test_steps_and_warm_up_do_not_count_the_rounding_of_binary_fractions():
    assert total_steps(Training(epochs=0.07, batch_size=1), 100) == 7
    rising = Training(learning_rate=1.0, warmup=0.07, schedule="constant")
    assert learning_rate(rising, 6, 100) == 1.0 > learning_rate(rising, 5, 100)


def test_stopper_on_an_unknown_term_is_refused():
    stopper = Choice("term_threshold", {"term": "retian", "below": 0.0})
    with pytest.raises(InputError, match="retian"):
        train(job(GradientAscent(), NoRetain(), axes=Axes(stopper=stopper)))


def test_left_out_records_do_not_move_the_others():
    """A run with weight 0 on some records sees the others in the same steps as the run with all of them."""
    weights = [0.0 if row % 3 == 0 else 1.0 for row in range(10)]
    with_all = job(Finetune(), NoRetain())
    without = replace(with_all, examples={"train": examples(10, seed=1, weights=weights)})
    for step in range(4):
        rows = with_all.streams().rows(step)["train"]
        assert without.streams().rows(step)["train"] == [row for row in rows if weights[row]]


def test_partner_records_are_all_seen_before_any_twice():
    streams = job(NPO(), RetainNLL()).streams()
    drawn = [row for step in range(3) for row in streams.rows(step)["retain"]]
    assert sorted(drawn[:14]) == list(range(14))


def test_paired_views_read_the_same_records_in_the_same_order():
    streams = job(IdkDPO(), RetainNLL(), training=replace(TRAINING, micro_batch=3)).streams()
    for step in range(4):
        for batches in streams.step_data(step).micro_batches:
            assert torch.equal(batches["forget"].rows_B, batches["alternate"].rows_B)


def weighted(count: int, seed: int, *zero: int) -> list:
    """Records of which those in ``zero`` do not count."""
    return examples(count, seed=seed, weights=[0.0 if row in zero else 1.0 for row in range(count)])


def streams_of(**changes) -> Streams:
    """Two views of the retain source beside the forget view, with texts of other lengths."""
    specs = (
        ViewSpec(name="forget"),
        ViewSpec(name="retain", source="retain"),
        ViewSpec(name="refused", source="retain", relabel=True),
    )
    views = {"forget": FORGET, "retain": weighted(14, 2, 3, 8), "refused": weighted(14, 7)}
    given = {"specs": specs, "examples": {**views, **changes}, "batch_size": 8, "micro_batch": 3, "seed": 0}
    return Streams(**given, pad_id=0)


def test_views_of_one_source_that_is_not_the_first_share_their_rows_too():
    streams = streams_of()
    seen = set()
    for step in range(6):
        rows = streams.rows(step)
        assert rows["retain"] == rows["refused"]
        for batches in streams.step_data(step).micro_batches:
            assert torch.equal(batches["retain"].rows_B, batches["refused"].rows_B)
            seen |= set(batches["refused"].rows_B.tolist())
    assert seen == set(range(14)) - {3, 8}  # the first view of a source says which of its records count


def test_views_of_one_source_have_one_length():
    with pytest.raises(InputError, match="'refused' must have one record for each record of 'retain'"):
        streams_of(refused=examples(13, seed=7))


class Anchored(NPO):
    """Reads the retain records itself, as KL terms inside a method do."""

    retain = ViewSpec(name="retain", source="retain", reference=frozenset({"token_logps"}))

    def views(self):
        return (*super().views(), self.retain)


class Elsewhere(Anchored):
    retain = ViewSpec(name="retain", source="forget")


class Relabelled(Anchored):
    retain = ViewSpec(name="retain", source="retain", relabel=True)


def test_a_view_that_method_and_retain_term_name_is_read_once_for_both():
    specs = view_specs(Anchored(), RetainKL())
    assert [spec.name for spec in specs] == ["forget", "retain"]
    assert specs[1] == ViewSpec(name="retain", source="retain", reference=frozenset({"token_logps", "logits"}))
    assert view_specs(Anchored(), NoRetain())[1].reference == {"token_logps"}
    assert [spec.name for spec in view_specs(NPO(), RetainKL())] == ["forget", "retain"]


@pytest.mark.parametrize("method", [Elsewhere(), Relabelled()])
def test_one_name_for_two_streams_is_refused(method):
    with pytest.raises(InputError, match="different records by the view 'retain'"):
        view_specs(method, RetainNLL())


def test_ranks_share_one_effective_batch():
    streams = job(NPO(), RetainNLL(), training=replace(TRAINING, micro_batch=3)).streams()
    alone = streams.step_data(0)
    halves = [streams.step_data(0, rank=rank, ranks=2) for rank in (0, 1)]
    assert halves[0].totals == halves[1].totals == alone.totals
    assert len(halves[0].micro_batches) == len(halves[1].micro_batches)

    def rows(data) -> list[int]:
        return sorted(
            int(row)
            for batches in data.micro_batches
            for row, weight in zip(batches["forget"].rows_B, batches["forget"].weights_B, strict=True)
            if weight
        )

    assert sorted(rows(halves[0]) + rows(halves[1])) == rows(alone)


def test_only_chosen_layers_change():
    model = llama()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    made = job(model=Layers(layers="1", modules="mlp").apply(model))
    train(made)
    changed = {name for name, value in made.model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith("model.layers.1.mlp.") for name in changed)


def test_lora_trains_against_its_own_base_and_merges():
    choice = LoRA(rank=4, alpha=8)
    seen: list[StepReport] = []
    training = replace(TRAINING, learning_rate=1e-2)
    made = job(NPO(), NoRetain(), model=choice.apply(llama()), training=training, listener=seen.append)
    train(made)
    # What makes NPO's first value (2/beta) ln 2 is that policy and reference agree; with the adapter left on they
    # would agree in every step.
    assert seen[0].terms["forget"] == pytest.approx(20 * math.log(2), rel=1e-5)
    assert seen[-1].terms["forget"] < 0.99 * seen[0].terms["forget"]
    merged = choice.export(made.model)
    assert type(merged).__name__ == "LlamaForCausalLM"
    assert not torch.equal(merged.model.layers[0].mlp.up_proj.weight, llama().model.layers[0].mlp.up_proj.weight)
    assert torch.equal(merged.model.norm.weight, llama().model.norm.weight)


def test_learning_rate_course_by_hand():
    training = Training(learning_rate=1.0, warmup=0.25, schedule="linear")
    assert [learning_rate(training, step, 8) for step in range(8)] == pytest.approx(
        [0.5, 1.0, 1.0, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]
    )
    cosine = replace(training, warmup=0.0, schedule="cosine")
    assert learning_rate(cosine, 4, 8) == pytest.approx(0.5)


def test_a_checkpoint_of_another_version_is_refused(tmp_path):
    made = job(checkpoints=tmp_path)
    train(made)
    last = checkpoint.list_checkpoints(tmp_path)[-1] / "state.json"
    last.with_name(checkpoint.DIGESTS).unlink()
    last.write_text(json.dumps({**json.loads(last.read_text()), "version": 1}))
    with pytest.raises(InputError, match="version 1"):
        train(job(checkpoints=tmp_path))
