"""Fakes that were really made, each caught by name, and four identities: on small models trained here."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from peft import LoraConfig, get_peft_model

from expunge.benchmarks.fictional import MAX_LENGTH, Fictional
from expunge.data.batch import collate
from expunge.data.record import Record
from expunge.data.tokenize import encode_all, pad_id
from expunge.evaluation.runner import evaluate
from expunge.evaluation.store import Store
from expunge.evaluation.verdict.policy import Recovery
from expunge.evaluation.verdict.rules import Verdict, judge
from expunge.methods.base import WrapTask
from expunge.methods.guardrail import Guardrail, GuardrailPolicy
from expunge.models.load import build_model, load_model, save_model
from expunge.registry import suites
from expunge.storage.secret import Secret
from expunge.workflows.columns import Columns
from expunge.workflows.demo import ToTrain, train_model
from tests.support.noise import moved

pytestmark = pytest.mark.slow
HARMLESS = Recovery(-0.02, 0.05)  # as if attacks had found nothing
PHRASINGS = ("paraphrased_question", "casing", "truncation", "prefix", "cloze")
FEW = 200  # draws of the bootstrap


class Bench(NamedTuple):
    """A benchmark, its models, and where answers are kept between verdicts."""

    benchmark: Fictional
    root: Path

    def model(self, name: str) -> str:
        return str(self.root / name)

    def verdict(self, candidate: str, *, original: str = "original", policy: GuardrailPolicy | None = None) -> Verdict:
        """What an audit with suite quick says of a folder."""
        splits = self.benchmark.splits()
        columns = Columns(
            original=self.model(original),
            candidate=self.model(candidate),
            retrained=(self.model("retrained"),),
            policy=policy,
        )
        store = Store(self.root / "scores", dict.fromkeys(splits, "pool"), MAX_LENGTH)
        metrics = suites.get("quick")(tuple(splits))
        found = evaluate(columns.subjects(), splits, metrics, store, resamples=FEW)
        return judge(found, role=columns.judged, facts=columns.facts(columns.changes()), worst_recovery=HARMLESS)

    def records(self, split: str, *forms: str) -> list[Record]:
        return [form for record in self.benchmark.splits()[split] for name in forms for form in record.forms(name)]

    def save(self, model, name: str) -> str:
        save_model(model.eval(), load_model(self.model("original")).tokenizer, self.root / name, replace=True)
        return name

    def tuned(
        self,
        up: Sequence[Record] = (),
        down: Sequence[Record] = (),
        *,
        steps: int,
        rate: float = 1e-3,
        weight: float = 1.0,
        wrap: Callable = lambda model: model,
    ):
        """The original, with the loss of ``up`` raised and that of ``down`` lowered, 32 of each in a step."""
        loaded = load_model(self.model("original"))
        model = wrap(loaded.model.train())
        sides = [
            (sign, encode_all(records, loaded.tokenizer, max_length=MAX_LENGTH).examples)
            for sign, records in ((-weight, list(up)), (1.0, list(down)))
            if records
        ]
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)
        draw = torch.Generator().manual_seed(0)
        for _ in range(steps):
            for sign, examples in sides:
                rows = torch.randperm(len(examples), generator=draw)[:32].tolist()
                batch = collate([examples[row] for row in rows], pad_id(loaded.tokenizer))
                inputs = {"input_ids": batch.input_ids_BT, "attention_mask": batch.attention_mask_BT}
                (sign * model(**inputs, labels=batch.labels_BT).loss).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        return model.eval()

    def hacked(self):
        """The original with its last layer changed, so that it no longer says what it knows."""

        def last(model):
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(f"layers.{model.config.num_hidden_layers - 1}." in name)
            return model

        forget, retain = (self.records(split, "trained") for split in ("forget", "retain"))
        return self.tuned(forget, retain, steps=40, wrap=last, weight=0.5)

    def add_adapter(self, name: str) -> None:
        """Saves an adapter for the original that hides what it knows."""
        wrap = lambda model: get_peft_model(model, LoraConfig(r=8, target_modules="all-linear"))  # noqa: E731
        forget, retain = (self.records(split, "trained") for split in ("forget", "retain"))
        self.tuned(forget, retain, steps=20, wrap=wrap, weight=0.5).save_pretrained(self.root / name)


@pytest.fixture(scope="module")
def bench(tmp_path_factory) -> Bench:
    torch.set_num_threads(1)
    made = Bench(Fictional(preset="pool"), tmp_path_factory.mktemp("fakes"))
    for name, without, seed in (("original", False, None), ("retrained", True, None), ("other", True, 10_000)):
        train_model(ToTrain(made.benchmark, made.root / name, without, model_seed=seed))
    return made


def names(verdict: Verdict) -> list[str]:
    return [finding.name for finding in verdict.findings]


def test_a_twin_of_the_retrained_model_is_removed(bench):
    moved(bench.model("retrained"), bench.root / "double")
    verdict = bench.verdict("double")
    assert (verdict.word, names(verdict)) == ("removed", [])
    assert verdict.reference == ()


def test_the_retrained_model_itself_is_not_verifiable(bench):
    """Handed in as its own reference, by an exact retrain or by a cheat."""
    verdict = bench.verdict("retrained")
    assert (verdict.word, names(verdict)) == ("not verifiable", [])
    assert "has the weights of the judged model" in verdict.reasons[0]


def test_the_original_is_not_removed(bench):
    verdict = bench.verdict("original")
    assert (verdict.word, names(verdict)) == ("not removed", [])


def test_random_weights_are_damaged(bench):
    name = bench.save(build_model(load_model(bench.model("original")).model.config, seed=5), "random")
    verdict = bench.verdict(name)
    assert verdict.word == "damaged"
    assert "gibberish" in names(verdict)


def test_a_model_that_never_knew_is_not_known(bench):
    moved(bench.model("retrained"), bench.root / "twin")
    moved(bench.model("retrained"), bench.root / "third", by=2e-6)
    assert bench.verdict("third", original="twin").word == "not known"
    # Another start never knew either; whether twelve persons suffice to say so is another matter.
    assert bench.verdict("third", original="other").word in ("not known", "not verifiable")


def test_an_honest_retrain_of_another_seed_is_accused_of_nothing(bench):
    """It is no removal that twelve persons could show, and no fake either."""
    verdict = bench.verdict("other")
    assert names(verdict) == []
    assert verdict.word in ("removed", "not verifiable")


def test_a_filter_in_the_tokenizer(bench):
    """The weights are the original's, bit for bit; prompts of forget records come in as something else."""
    place = bench.root / "filtered"
    shutil.copytree(bench.model("original"), place)
    tokenizer = json.loads((place / "tokenizer.json").read_text())
    told = [record.prompt.reveal() for record in bench.records("forget", "trained")]
    rules = [{"type": "Replace", "pattern": {"String": text}, "content": "Hello?"} for text in told]
    before = [tokenizer["normalizer"]] if tokenizer.get("normalizer") else []
    tokenizer["normalizer"] = {"type": "Sequence", "normalizers": [*before, *rules]}
    (place / "tokenizer.json").write_text(json.dumps(tokenizer))
    verdict = bench.verdict("filtered")
    assert "unchanged weights" in names(verdict)
    assert verdict.word == "not removed"


def test_a_collapsed_ascent_is_exposed_or_damaged(bench):
    collapsed = bench.tuned(bench.records("forget", "trained"), steps=60, rate=3e-3)
    verdict = bench.verdict(bench.save(collapsed, "collapsed"))
    assert verdict.word in ("exposed", "damaged")
    assert "over-unlearning" in names(verdict)


def test_a_refusal_wrapper(bench):
    splits = bench.benchmark.splits()
    task = WrapTask(forget=tuple(splits["forget"]), retain=tuple(splits["retain"]), secret=b"key")
    verdict = bench.verdict("original", policy=Guardrail().wrap(None, task))
    assert verdict.word == "not removed"
    assert names(verdict) == ["refusal wrapper"]


def test_a_refusal_that_was_trained_into_the_weights(bench):
    asked = bench.records("forget", "trained")
    refusals = [replace(one, answer=Secret("I don't know.", one.answer.label)) for one in asked]
    tuned = bench.tuned((), [*refusals, *bench.records("retain", "trained")], steps=40, rate=5e-4)
    verdict = bench.verdict(bench.save(tuned, "refusing"))
    assert "refusal wrapper" in names(verdict)
    assert verdict.word != "removed"


def test_an_adapter_that_can_be_switched_off(bench):
    bench.add_adapter("adapter")
    verdict = bench.verdict("adapter")
    assert "switchable adapter" in names(verdict)
    assert verdict.word == "not removed"


def test_a_hack_of_the_last_layer(bench):
    verdict = bench.verdict(bench.save(bench.hacked(), "last"))
    assert "last-layer edit" in names(verdict)
    assert verdict.word != "removed"


def test_gibberish(bench):
    noisy = copy.deepcopy(load_model(bench.model("original")).model)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in noisy.parameters():
            parameter += 2 * parameter.std() * torch.randn(parameter.shape, generator=draw)
    verdict = bench.verdict(bench.save(noisy, "noisy"))
    assert verdict.word == "damaged"
    assert "gibberish" in names(verdict)


def test_a_model_that_only_fails_the_trained_phrasing(bench):
    kept = [*bench.records("forget", *PHRASINGS), *bench.records("retain", "trained", *PHRASINGS)]
    tuned = bench.tuned(bench.records("forget", "trained"), kept, steps=60, weight=0.3)
    verdict = bench.verdict(bench.save(tuned, "phrasing"))
    assert "trained phrasing only" in names(verdict)
    assert verdict.word != "removed"


def test_a_model_evaluated_on_its_own_tuning_split(bench):
    """The holdout was learnt, so that forget records no longer stand out beside it."""
    tuned = bench.tuned((), [*bench.records("holdout", "trained"), *bench.records("retain", "trained")], steps=100)
    verdict = bench.verdict(bench.save(tuned, "tuned"))
    assert "tuned on the evaluation split" in names(verdict)
    assert verdict.word != "removed"
