"""What stoppers read, by other means; when they stop; and a run that a stopper ends."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from torch import nn

from expunge.config import Choice
from expunge.data.batch import IGNORE, Example
from expunge.errors import DivergedError, InputError, InterruptedRunError, MissingNeedError
from expunge.methods.base import LossMethod, State
from expunge.methods.finetune import Finetune
from expunge.methods.gradient_ascent import GradientAscent
from expunge.methods.preset import Axes, Training
from expunge.methods.recipe import resolve
from expunge.methods.retain import NoRetain
from expunge.methods.retain_finetune import RetainFinetune
from expunge.methods.terms import per_token
from expunge.models.generate import greedy
from expunge.registry import stoppers
from expunge.training.look import Ends, Look
from expunge.training.loop import Job, StepReport, train
from expunge.training.stoppers import Stopper
from expunge.training.stoppers.memorisation import Memorisation
from expunge.training.stoppers.perplexity_ratio import PerplexityRatio
from expunge.training.stoppers.utility_floor import UtilityFloor
from tests.support.tiny import VOCABULARY, examples, llama

ENDS = Ends(eos_token_id=2, pad_token_id=0)


def text(*ids: int, row: int = 0, weight: float = 1.0, prompt: int = 1) -> Example:
    return Example(ids, (*[IGNORE] * prompt, *ids[prompt:]), row, weight)


def look_at(model: nn.Module, step: int = 0, per_epoch: int = 2, **records: list[Example]) -> Look:
    return Look(step=step, steps_per_epoch=per_epoch, model=model, records=records, ends=ENDS)


def said(model: nn.Module, prefix: tuple[int, ...], count: int) -> list[int]:
    """The greedy continuation, one forward pass for each token, without an end."""
    ids = list(prefix)
    for _ in range(count):
        with torch.no_grad():
            new = int(model(torch.tensor([ids])).logits[0, -1].argmax())
        if new == 2:
            break
        ids.append(new)
    return ids[len(prefix) :]


def extraction_by_hand(model: nn.Module, ids: tuple[int, ...], n: int, stride: int) -> float:
    """The paper's definition, prefix by prefix."""
    values = []
    for place in range(1, len(ids) - n + 1, stride):
        rest, new = ids[place:], said(model, ids[:place], len(ids) - place)
        truth = [rest[at : at + n] for at in range(len(rest) - n + 1)]
        hits = sum(tuple(new[at : at + n]) in truth for at in range(len(new) - n + 1))
        values.append(hits / len(truth))
    return sum(values) / len(values)


def copied(model: nn.Module, start: int, count: int, row: int = 0) -> Example:
    """A text that the model says by itself from its first token on."""
    return text(start, *said(model, (start,), count), row=row)


def test_accuracy_of_one_pass_is_that_of_a_greedy_call_for_each_token():
    """The whole text: prompt tokens count, the end token and records of weight 0 do not."""
    model, records = llama(seed=3), examples(6, seed=5)
    records.append(copied(model, 7, 9, row=6))
    expected = []
    for example in records:
        ids = example.input_ids[:-1] if example.input_ids[-1] == 2 else example.input_ids
        calls = greedy(model, ENDS, [ids[:place] for place in range(1, len(ids))], max_new_tokens=1)
        hits = [new == [true] for new, true in zip(calls, ids[1:], strict=True)]
        expected.append(sum(hits) / len(hits))
    assert expected[-1] == 1.0
    left_out = replace(copied(model, 8, 9, row=7), weight=0.0)
    seen = look_at(model, forget=[*records, left_out]).memorisation_accuracy("forget")
    assert seen == pytest.approx(sum(expected) / len(expected), rel=1e-9)


@pytest.mark.parametrize("stride", [1, 3])
def test_extraction_likelihood_is_the_papers(stride):
    model = llama(seed=3)
    whole = copied(model, 7, 12)
    half = text(*whole.input_ids[:9], *range(40, 44), row=1)
    records = [whole, half, *examples(3, seed=5)]
    its = look_at(model, forget=records)
    texts = [ids[:-1] if ids[-1] == 2 else ids for ids in (example.input_ids for example in records)]
    values = [extraction_by_hand(model, ids, 3, stride) for ids in texts]
    assert values[0] == 1.0
    assert 0 < values[1] < 1
    assert its.extraction_likelihood("forget", 3, stride) == pytest.approx(sum(values) / len(values), rel=1e-9)


def test_likelihood_is_1_for_a_model_that_copies_and_0_for_one_that_shares_nothing():
    model = llama(seed=3, tied=False)
    its = look_at(model, forget=[copied(model, 7, 14), copied(model, 9, 12, row=1)])
    assert its.extraction_likelihood("forget", 10) == 1.0
    assert its.memorisation_accuracy("forget") == 1.0
    with torch.no_grad():
        model.lm_head.weight.zero_()  # says token 0 for ever
    assert its.extraction_likelihood("forget", 1) == 0.0
    assert its.memorisation_accuracy("forget") == 0.0


def test_texts_of_at_most_n_tokens_are_left_out_and_counted():
    model = llama(seed=3)
    long, short = copied(model, 7, 10), text(1, 5, 6, row=1)
    its = look_at(model, forget=[long, short])
    assert len(long.input_ids) == 11
    assert its.extraction_likelihood("forget", 10) == 1.0
    assert [its.too_short("forget", n) for n in (2, 3, 10, 11)] == [0, 1, 1, 2]
    with pytest.raises(InputError, match=r"All 2 texts of 'forget' have at most n=11 tokens"):
        its.extraction_likelihood("forget", 11)
    with pytest.raises(InputError, match="does not have"):
        its.memorisation_accuracy("holdout")
    with pytest.raises(InputError, match="none has a weight"):
        look_at(model, forget=[replace(long, weight=0.0)]).memorisation_accuracy("forget")


def test_numbers_of_scored_tokens_by_hand():
    model, records = llama(seed=3), examples(4, seed=5)
    logps, hits = [], []
    for example in records[:3]:
        logits = model(torch.tensor([example.input_ids])).logits[0].detach()
        for place, label in enumerate(example.labels):
            if label != IGNORE:
                logps.append(float(logits[place - 1].log_softmax(-1)[label]))
                hits.append(int(logits[place - 1].argmax()) == label)
    its = look_at(model, retain=records)
    assert its.nll("retain", 3) == pytest.approx(-sum(logps) / len(logps), rel=1e-6)
    assert its.perplexity("retain", 3) == pytest.approx(math.exp(-sum(logps) / len(logps)), rel=1e-6)
    assert its.token_accuracy("retain", 3) == pytest.approx(sum(hits) / len(hits))
    assert its.nll("retain") != its.nll("retain", 3)


def test_looking_changes_nothing():
    model = llama(seed=3, dropout=0.5).train()
    model.model.layers[0].eval()
    modes, random = [module.training for module in model.modules()], torch.get_rng_state()
    its = look_at(model, forget=[copied(llama(seed=3), 7, 10)], retain=examples(4, seed=5))
    first = its.extraction_likelihood("forget", 3), its.memorisation_accuracy("forget"), its.nll("retain")
    assert first == (its.extraction_likelihood("forget", 3), its.memorisation_accuracy("forget"), its.nll("retain"))
    assert first[:2] == (1.0, 1.0)  # in evaluation mode
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random)
    assert all(parameter.grad is None for parameter in model.parameters())
    model(torch.tensor([[1, 5, 6]])).logits.sum().backward()  # nothing of a pass without gradients stays behind


def test_ends_of_epochs_and_dues():
    ends = [step for step in range(9) if look_at(nn.Module(), step, 4).epoch_ends]
    assert ends == [4, 8]
    assert [step for step in range(9) if look_at(nn.Module(), step, 4).due(None)] == ends
    assert [step for step in range(9) if look_at(nn.Module(), step, 4).due(3)] == [3, 6]


@dataclass(frozen=True, kw_only=True)
class Scripted(Look):
    """Says what it is told."""

    model: object = None
    steps_per_epoch: int = 2
    records: dict = field(default_factory=lambda: {"forget": [text(1, 5)], "holdout": [text(1, 5)]})
    ends: Ends = ENDS
    values: dict = field(default_factory=dict)

    def too_short(self, view, n):
        return 0

    def extraction_likelihood(self, view, n, stride=1):
        return self.values["el", view]

    def memorisation_accuracy(self, view):
        return self.values["ma", view]

    def token_accuracy(self, view, records=None):
        return self.values["accuracy", view, records]

    def perplexity(self, view, records=None):
        return self.values["perplexity", view, records]


UNSEEN = {("el", "holdout"): 0.05, ("ma", "holdout"): 0.3}


@pytest.mark.parametrize(
    ("el", "ma", "stops"),
    [(0.04, 0.29, True), (0.05, 0.29, False), (0.04, 0.3, False), (0.06, 0.1, False), (0.01, 0.31, False)],
)
def test_memorisation_wants_both_strictly_below_at_the_end_of_an_epoch(el, ma, stops):
    stopper = Memorisation()
    state = stopper.start(Scripted(step=0, values=UNSEEN))
    assert state["thresholds"] == [0.05, 0.3]
    now = {("el", "forget"): el, ("ma", "forget"): ma}
    middle = stopper.update(state, {}, Scripted(step=3))  # reads nothing
    assert middle == (state, None)
    end = stopper.update(state, {}, Scripted(step=4, values=now))
    assert (end.reason is not None) == stops
    json.dumps(end.state, allow_nan=False)


def test_thresholds_by_number_and_of_unseen_text_that_is_never_said():
    given = Memorisation(el=0.0499, ma=0.2994)
    assert given.sources == ("forget",)
    assert given.start(Scripted(step=0))["thresholds"] == [0.0499, 0.2994]
    half = Memorisation(ma=0.5, unseen="general")
    assert half.sources == ("forget", "general")
    assert half.start(Scripted(step=0, values={("el", "general"): 0.0}))["thresholds"] == [0.0, 0.5]
    state = {"thresholds": [0.0, 0.5], "too_short": [0.0]}
    for el, stops in ((0.0, True), (0.001, False)):
        values = {("el", "forget"): el, ("ma", "forget"): 0.4}
        assert (half.update(state, {}, Scripted(step=2, values=values)).reason is not None) == stops


def test_memorisation_refuses_a_forget_set_that_has_no_likelihood():
    its = look_at(llama(), forget=[text(1, 5, 6)], holdout=[copied(llama(), 7, 12)])
    with pytest.raises(InputError, match=r"All 1 forget records have at most n=10"):
        Memorisation().start(its)
    with pytest.raises(InputError, match="'holdout'"):
        Memorisation(n=2).start(replace(its, records={**its.records, "holdout": [text(1, 5)]}))


def test_utility_floor_is_a_share_of_the_start():
    stopper = UtilityFloor(floor=0.8, records=9)
    key = ("accuracy", "retain", 9)
    state = stopper.start(Scripted(step=0, values={key: 0.5}))
    for value, stops in ((0.41, False), (0.39, True)):
        assert (stopper.update(state, {}, Scripted(step=2, values={key: value})).reason is not None) == stops
    assert stopper.update(state, {}, Scripted(step=1)).reason is None
    every = UtilityFloor(floor=0.8, records=9, every=3)
    assert every.update(state, {}, Scripted(step=2)).reason is None
    assert every.update(state, {}, Scripted(step=3, values={key: 0.1})).reason
    with pytest.raises(InputError, match="no token"):
        stopper.start(Scripted(step=0, values={key: 0.0}))


def test_perplexity_ratio():
    stopper, key = PerplexityRatio(records=9), ("perplexity", "retain", 9)
    state = stopper.start(Scripted(step=0, values={key: 10.0}))
    for value, stops in ((10.29, False), (10.31, True)):
        assert (stopper.update(state, {}, Scripted(step=2, values={key: value})).reason is not None) == stops


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("memorisation", {"n": 0}),
        ("memorisation", {"stride": 0}),
        ("memorisation", {"el": 0.0}),
        ("memorisation", {"ma": 1.1}),
        ("utility_floor", {"floor": 0.0}),
        ("utility_floor", {"every": 0}),
        ("perplexity_ratio", {"ratio": 0.9}),
        ("perplexity_ratio", {"records": 0}),
    ],
)
def test_rules_that_cannot_be_meant_are_refused(name, settings):
    with pytest.raises(InputError):
        Choice(name, settings).create(stoppers)


def test_what_a_stopper_reads_is_a_need():
    assert resolve("jang").needs() == ("forget", "holdout")
    with pytest.raises(MissingNeedError, match="--holdout"):
        resolve("jang").check(frozenset({"forget"}))
    given = {"stopper": {"name": "memorisation", "settings": {"el": 0.05, "ma": 0.3}}}
    assert resolve("jang", given).needs() == ("forget",)
    assert resolve("gradient_ascent", {"stopper": "utility_floor"}).needs() == ("forget", "retain")


def test_jang_is_the_papers():
    recipe = resolve("jang", {"batch_size": 100})
    assert (recipe.axes.tokens.name, recipe.axes.retain_term.name, recipe.axes.stopper.name) == (
        "all",
        "none",
        "memorisation",
    )
    training = recipe.training
    optimizer = recipe.axes.optimizer.settings
    assert (optimizer["beta1"], optimizer["beta2"], training.weight_decay, training.warmup) == (0.9, 0.98, 0.0, 0.0)
    assert (training.learning_rate, training.schedule, training.epochs, training.dropout) == (5e-5, "constant", 20, 0.0)


SIZE = 16
N = 3


@pytest.fixture(scope="module")
def knowing() -> dict:
    """Weights of a Llama that knows four texts by heart, those texts, and four that it never saw."""
    generator = torch.Generator().manual_seed(0)

    ids = torch.randint(3, VOCABULARY, (8, SIZE - 1), generator=generator).tolist()
    # Begun by tokens that tell them apart, so that all of a text can be known.
    forget = [text(10 + row, *ids[row], row=row) for row in range(4)]
    # Of the same kind: each begins like a text that is known.
    holdout = [text(10 + row, *ids[row][:9], *ids[4 + row][9:], row=row) for row in range(4)]
    model = llama()
    training = Training(learning_rate=1e-2, epochs=60, batch_size=4, warmup=0.0, schedule="constant", weight_decay=0.0)
    train(
        Job(
            model=model.requires_grad_(True),
            method=Finetune(),
            retain_term=NoRetain(),
            axes=Axes(),
            training=training,
            examples={"train": forget},
        )
    )
    return {"weights": model.state_dict(), "forget": forget, "holdout": holdout}


def jang(knowing: dict, **more) -> Job:
    model = llama().requires_grad_(True)
    model.load_state_dict(knowing["weights"])
    recipe = resolve("jang", {"stopper": {"name": "memorisation", "settings": {"n": N}}, "batch_size": 2})
    return Job(
        model=model,
        method=recipe.method,
        retain_term=NoRetain(),
        axes=recipe.axes,
        training=replace(recipe.training, learning_rate=1e-3, runaway=1e3, checkpoint_every=3),
        examples={"forget": knowing["forget"]},
        probes={"forget": knowing["forget"], "holdout": knowing["holdout"]},
        end_id=2,
        **more,
    )


def memory(model: nn.Module, records: list[Example]) -> tuple[float, float]:
    """EL_n and MA."""
    its = look_at(model, read=records)
    return its.extraction_likelihood("read", N), its.memorisation_accuracy("read")


@pytest.mark.slow
def test_a_run_of_jang_stops_by_the_rule_and_not_before(knowing, tmp_path: Path):
    course: list[tuple[int, float, float]] = []
    made = jang(knowing, checkpoints=tmp_path)

    def follow(report: StepReport) -> None:
        if report.step % 2 == 0:  # two steps are an epoch
            course.append((report.step, *memory(made.model, knowing["forget"])))

    made = replace(made, listener=follow)
    assert memory(made.model, knowing["forget"]) == (1.0, 1.0)
    most_el, most_ma = memory(made.model, knowing["holdout"])
    result = train(made)
    assert 0 < most_el < 1
    assert 0 < most_ma < 1
    good = [step for step, el, ma in course if el < most_el and ma < most_ma]
    assert result.steps == min(good)
    assert 4 <= result.steps < 40
    assert "fell below those of unseen text" in result.reason
    state = json.loads((tmp_path / f"step-{result.steps:06d}" / "state.json").read_text())["stopper"]
    assert state["thresholds"] == pytest.approx([most_el, most_ma])
    assert (state["el"] + state["ma"]) == pytest.approx(course[-1][1:])


@pytest.mark.slow
def test_a_run_that_was_halted_ends_like_one_that_was_not(knowing, tmp_path: Path):
    """Thresholds are those of the original: measured again on a resumed model they would be others."""

    def ended(job: Job) -> tuple[int, str, torch.Tensor]:
        result = train(job)
        return *result, torch.cat([parameter.detach().flatten() for parameter in job.model.parameters()])

    whole = ended(jang(knowing))
    asked: list[int] = []

    def halt() -> bool:
        asked.append(1)
        return len(asked) == whole[0] - 1

    with pytest.raises(InterruptedRunError):
        train(jang(knowing, checkpoints=tmp_path, stop_requested=halt))
    resumed = ended(jang(knowing, checkpoints=tmp_path))
    assert resumed[:2] == whole[:2]
    assert torch.equal(resumed[2], whole[2])


@pytest.mark.parametrize("name", ["utility_floor", "perplexity_ratio"])
def test_a_run_stops_where_its_retain_set_suffers(knowing, name):
    made = jang(knowing)
    made = replace(
        made, axes=Axes(stopper=Choice(name, {"every": 1})), probes={"retain": knowing["forget"]}, end_id=None
    )
    result = train(made)
    assert result.steps < 40
    assert "retain set" in result.reason


def test_a_stopper_without_its_records_is_refused_before_the_first_step(knowing):
    seen: list[StepReport] = []
    made = replace(jang(knowing), probes={}, listener=seen.append)
    with pytest.raises(InputError, match="holdout"):
        train(made)
    assert not seen


class Breaking(GradientAscent):
    """Sane terms, and weights that are none after the step."""

    def forget_term(self, views, state: State):
        return per_token(views["forget"].policy.token_logps * 1e-3)


def test_a_model_that_cannot_be_read_goes_back_to_the_last_good_checkpoint(knowing, tmp_path: Path):
    made = replace(jang(knowing, checkpoints=tmp_path), method=Breaking())
    made = replace(
        made,
        training=replace(made.training, checkpoint_every=1),
        listener=lambda report: _break(made.model) if report.step == 4 else None,
    )
    with pytest.raises(DivergedError, match="not numbers for 4 of 4 sequences.*back at step 2"):
        train(made)
    assert all(bool(torch.isfinite(parameter).all()) for parameter in made.model.parameters())


@pytest.mark.parametrize("read", ["memorisation_accuracy", "nll", "token_accuracy", "extraction_likelihood"])
def test_a_broken_model_is_not_one_that_has_forgotten(read):
    model = llama(seed=3)
    its = look_at(model, forget=[text(1, *range(5, 12))])
    _break(model)
    with pytest.raises(DivergedError, match="not numbers"):
        getattr(its, read)("forget", *([2] if read == "extraction_likelihood" else []))


def _break(model: nn.Module) -> None:
    with torch.no_grad():
        next(model.parameters()).fill_(math.nan)


def test_retain_finetune_has_one_term_and_lowers_it(knowing):
    seen: list[StepReport] = []
    model = llama().requires_grad_(True)
    method: LossMethod = RetainFinetune()
    assert resolve("retain_finetune").axes.retain_term.name == "none"
    assert resolve("retain_finetune").needs() == ("forget", "retain")
    job = Job(
        model=model,
        method=method,
        retain_term=NoRetain(),
        axes=Axes(retain_weight=2.0),
        training=Training(learning_rate=1e-2, epochs=6, batch_size=2, dropout=0.1),
        examples={"retain": knowing["forget"]},
        listener=seen.append,
    )
    train(job)
    assert {tuple(report.terms) for report in seen} == {("retain",)}
    assert seen[-1].terms["retain"] < seen[0].terms["retain"]
    assert seen[0].steps == 12
    assert {layer.self_attn.attention_dropout for layer in model.model.layers} == {0.0}
    with pytest.raises(InputError, match="makes no use of 'retain_term'"):
        resolve("retain_finetune", {"retain_term": "kl"})
    for penalty in ("l1", "l2_sp", "ewc"):
        assert resolve("retain_finetune", {"penalty": penalty, "dropout": 0.1}).axes.penalty.name == penalty


def test_every_stopper_is_one():
    assert {"none", "term_threshold", "memorisation", "utility_floor", "perplexity_ratio"} <= set(stoppers.names())
    for name in set(stoppers.names()) - {"term_threshold"}:
        assert isinstance(Choice(name).create(stoppers), Stopper)
