"""What cannot be run is refused by every verb before a model is loaded and before anything is written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from expunge.api import AuditRequest, BenchRequest, audit, bench, plan, unlearn
from expunge.cli import main
from expunge.config import Choice, parse_overrides
from expunge.data.record import Record
from expunge.errors import InputError, UnknownNameError
from expunge.methods.recipe import resolve
from expunge.registry import benchmarks
from tests.evaluation.worlds import make_record
from tests.workflows.test_audit import unlearn_request


def run_audit(world, out: Path, **changes: Any) -> None:
    given = {"forget": world.forget, "retain": world.retain, "holdout": world.holdout, "original": world.model}
    target = Path(changes.pop("model", world.base))
    audit(AuditRequest(**{"target": target, **given, "out": out, **changes}))


def run_bench(world, out: Path, **changes: Any) -> None:
    suite = {"suite": changes.pop("suite")} if "suite" in changes else {}
    settings = {"npo": changes.pop("settings")} if "settings" in changes else {}
    own = unlearn_request(world, out, **changes)
    bench(BenchRequest(out=out, methods=("guardrail", "npo"), settings=settings, own=own, workers=1, **suite))


VERBS: dict[str, Callable[..., None]] = {
    "unlearn": lambda world, out, **changes: unlearn(unlearn_request(world, out, **changes)),
    "plan": lambda world, out, **changes: plan(unlearn_request(world, out, **changes)),
    "audit": run_audit,
    "bench": run_bench,
}
NO_FILE = Path("nowhere.jsonl")
FOR_ALL = [
    ({"suite": "quik"}, UnknownNameError, "Did you mean 'quick'"),
    ({"holdout": NO_FILE}, InputError, "The holdout file cannot be read"),
    ({"evaluation": {"world_facts": NO_FILE}}, InputError, "The world_facts file cannot be read"),
    ({"evaluation": {"forget": NO_FILE}}, InputError, "'forget' is not free .* --forget"),
    ({"evaluation": {"retain": NO_FILE}}, InputError, "'retain' is not free .* --retain"),
    ({"evaluation": {"holdout": NO_FILE}}, InputError, "'holdout' is not free .* --holdout"),
    ({"evaluation": {"train_retain": NO_FILE}}, InputError, "'train_retain' is not free .* --retain"),
    ({"model": "nowhere/at/all"}, InputError, "model folder"),
]
OF_TRAINING = [
    ({"settings": {"optimizer": {"name": "adamw", "settings": {"beta3": 1}}}}, UnknownNameError, "beta3"),
    ({"settings": {"stopper": "never"}}, UnknownNameError, "stopper"),
    ({"settings": {"relabel": "idkk"}}, UnknownNameError, "Did you mean 'idk'"),
    ({"settings": {"parameters": "lore"}}, UnknownNameError, "Did you mean 'lora'"),
    ({"settings": {"learning_rate": -1}}, InputError, "learning_rate"),
]
OF_COMPARISON = [({"retrained": ("nowhere/at/all",)}, InputError, "model folder")]
CASES = [
    *((verb, *case) for verb in VERBS for case in FOR_ALL),
    *((verb, *case) for verb in ("unlearn", "plan", "bench") for case in OF_TRAINING),
    *((verb, *case) for verb in ("unlearn", "audit", "bench") for case in OF_COMPARISON),
]


@pytest.mark.parametrize(("verb", "changes", "error", "says"), CASES)
def test_nothing_is_written(untrained, tmp_path, verb, changes, error, says):
    with pytest.raises(error, match=says):
        VERBS[verb](untrained, tmp_path / "out", **changes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", ["unlearn", "audit", "bench"])
def test_a_model_without_a_tokenizer_is_refused(untrained, tmp_path, verb):
    shutil.copytree(untrained.model, tmp_path / "model")
    (tmp_path / "model" / "tokenizer.json").unlink()
    with pytest.raises(InputError, match="tokenizer"):
        VERBS[verb](untrained, tmp_path / "out", model=str(tmp_path / "model"))
    assert not (tmp_path / "out").exists()


@dataclass(frozen=True, kw_only=True)
class Records:
    """A benchmark that has records and no models."""

    seed: int = 0

    def splits(self) -> dict[str, list[Record]]:
        return {split: [make_record(split, 0)] for split in ("forget", "retain")}


def test_a_bench_on_a_benchmark_without_models_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(benchmarks._objects, "records", Records)
    with pytest.raises(InputError, match="hand in a MODEL"):
        bench(BenchRequest(out=tmp_path / "out", methods=("npo",), benchmark=Choice("records")))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("learning_rate=true", "learning_rate needs a number, not true"),
        ("learning_rate=.inf", "learning_rate needs a finite number"),
        ("epochs=true", "epochs needs a number, not true"),
        ("beta=.nan", "beta needs a finite number"),
    ],
)
def test_a_truth_value_or_nan_as_a_number_is_refused_by_name(
    given: str, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "no-model", "--forget", "no-file", "--set", given]) == 2
    assert says in capfd.readouterr().err
    with pytest.raises(InputError, match=says):
        resolve("npo", parse_overrides([given]))


@pytest.mark.parametrize("value", ["0", "'0'"])
def test_a_layer_needs_no_quotes(untrained, tmp_path, capfd, value):
    line = ["plan", untrained.model, "--forget", str(untrained.forget), "--retain", str(untrained.retain)]
    line += ["--method", "rmu", "--layers", "0", "--set", f"layer={value}", "--retain-term", f"hidden:layers={value}"]
    assert main([*line, "--no-audit", "--max-length", "64", "--set", "max_steps=2"]) == 0
    assert "measured" in capfd.readouterr().out
    assert resolve("rmu", parse_overrides([f"layer={value}"])).method.layer == "0"
