"""Audits with a retrained model that is none, and of an original that was saved again: neither gets a clean verdict."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from expunge.api import AuditRequest, audit
from expunge.cli import main
from expunge.config import Choice
from expunge.data.reader import read_records
from expunge.data.tokenize import encode_all, pad_id
from expunge.errors import InputError
from expunge.exact.retrain import FitTask, Retrain
from expunge.methods.preset import Axes, Training
from expunge.metrics.membership import MiaLoss
from expunge.metrics.memorisation import ExtractionStrength, Probability
from expunge.models.load import load_model, save_model
from expunge.registry import suites
from tests.support.noise import moved
from tests.workflows.conftest import World


@pytest.fixture
def knowing_suite(monkeypatch) -> str:
    """What the reference is tested by."""
    metrics = (ExtractionStrength(), Probability(), Probability(split="holdout"), MiaLoss())
    monkeypatch.setitem(suites._objects, "knowing", lambda splits: metrics)
    return "knowing"


def fitted(world: World, place: Path, forget: int, epochs: int) -> str:
    """A model trained as the world's own, on the retain records and the first so many forget records."""
    loaded = load_model(world.base)
    given = (read_records(path, "train").records for path in (world.retain, world.forget))
    retain, forgotten = (list(records) for records in given)
    examples = encode_all([*retain, *forgotten[:forget]], loaded.tokenizer, max_length=64).examples
    Retrain().fit(
        FitTask(
            model=loaded.model,
            keep=examples,
            axes=Axes(optimizer=Choice("adamw", {"beta2": 0.95})),
            training=Training(learning_rate=5e-3, epochs=epochs, batch_size=12, micro_batch=12, checkpoint_every=0),
            pad_id=pad_id(loaded.tokenizer),
        )
    )
    save_model(loaded.model, loaded.tokenizer, place)
    return str(place)


def rounded(source: str, place: Path) -> str:
    """The same model in bfloat16."""
    loaded = load_model(source)
    save_model(loaded.model, loaded.tokenizer, place, dtype=torch.bfloat16)
    return str(place)


def noted(source: str, place: Path) -> str:
    """The same model with one more key in the metadata of its file."""
    shutil.copytree(source, place)
    file = place / "model.safetensors"
    save_file(load_file(file), file, metadata={"format": "pt", "note": "copy"})
    return str(place)


def verdict_of(world: World, out: Path, candidate: str, *retrained: str, **changes) -> dict:
    files = {"forget": world.forget, "retain": world.retain, "holdout": world.holdout}
    given = {"target": Path(candidate), "original": world.model, "out": out, "max_length": 64, "suite": "knowing"}
    _, record = audit(AuditRequest(**{**given, **files, "retrained": retrained, **changes}))
    return record["verdict"]


def test_the_original_in_another_dtype_is_no_reference(world, tmp_path, knowing_suite):
    saved = rounded(world.model, tmp_path / "rounded")
    verdict = verdict_of(world, tmp_path / "out", moved(world.model, tmp_path / "moved"), saved)
    assert verdict["word"] == "not verifiable"
    assert verdict["reference"] == [
        "The retrained model has the weights of the original, up to rounding, so it saw the records."
    ]
    assert "so it saw the records" in (tmp_path / "out" / "report.html").read_text()


def test_the_judged_model_is_no_reference(world, tmp_path, knowing_suite, capsys):
    """A model that never saw the records, passed twice, and then in another dtype."""
    files = {"--forget": world.forget, "--retain": world.retain, "--holdout": world.holdout}
    command = ["audit", world.base, "--original", world.model, "--suite", "knowing", "--max-length", "64"]
    command += [str(part) for pair in files.items() for part in pair]
    for number, place in enumerate((world.base, rounded(world.base, tmp_path / "rounded"))):
        out = tmp_path / f"out{number}"
        assert main([*command, "--retrained", place, "--out", str(out)]) == 0
        verdict = json.loads((out / "record.json").read_text())["verdict"]
        assert verdict["word"] == "not verifiable"
        assert "has the weights of the judged model" in " ".join(capsys.readouterr().err.split())


def test_a_reference_that_saw_the_records_is_named(world, tmp_path, knowing_suite):
    """Beside one that did not."""
    saw = moved(world.model, tmp_path / "saw", by=1e-3)
    verdict = verdict_of(world, tmp_path / "out", moved(world.model, tmp_path / "moved"), world.base, saw)
    assert verdict["word"] == "not verifiable"
    (said,) = verdict["reference"]
    assert said.startswith("The retrained 2 model saw forget records: it completes 12 forget answers of at least 8")
    assert "the original 12; the loss attack tells them from the holdout records (AUC 1.00" in said


@pytest.mark.slow
def test_references_that_were_trained_honestly_are_accused_of_nothing(world, tmp_path, knowing_suite):
    """By few and by many epochs. The holdout is of another kind, so that the loss attack alone would accuse them."""
    places = [fitted(world, tmp_path / str(epochs), 0, epochs) for epochs in (20, 60, 120)]
    assert verdict_of(world, tmp_path / "out", moved(world.model, tmp_path / "moved"), *places)["reference"] == []


@pytest.mark.slow
@pytest.mark.parametrize("forget", [3, 6])
def test_a_reference_that_saw_some_of_the_records_is_named(world, tmp_path, knowing_suite, forget):
    saw = fitted(world, tmp_path / "saw", forget, 60)
    verdict = verdict_of(world, tmp_path / "out", moved(world.model, tmp_path / "moved"), saw)
    assert verdict["word"] == "not verifiable"
    assert verdict["reference"][0].startswith("The retrained model saw forget records")


@pytest.mark.parametrize("copied", [rounded, noted])
@pytest.mark.parametrize("count", [1, 12])
def test_the_original_saved_again_is_not_removed(world, tmp_path, knowing_suite, copied, count):
    """At any number of records."""
    few = tmp_path / "few.jsonl"
    few.write_text("".join(world.forget.read_text().splitlines(keepends=True)[:count]))
    copy = copied(world.model, tmp_path / "copy")
    verdict = verdict_of(world, tmp_path / "out", copy, world.base, forget=few)
    assert verdict["word"] == "not removed"
    assert "up to rounding" in verdict["reasons"][0]
    assert [finding["name"] for finding in verdict["findings"]] == ["unchanged weights"]


def test_the_same_files_are_refused_before_anything_is_written(world, tmp_path, knowing_suite):
    with pytest.raises(InputError, match="the weights of the original model"):
        verdict_of(world, tmp_path / "out", world.base, world.model)
    assert not (tmp_path / "out").exists()
