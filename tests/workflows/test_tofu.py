"""TOFU by command line: train a small model on some authors, forget the two of forget01, run suite ``tofu``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from expunge.benchmarks.fictional import Fictional
from expunge.benchmarks.tofu import Tofu
from expunge.config import Choice
from expunge.data.tokenize import encode_all, pad_id
from expunge.exact.retrain import FitTask, Retrain
from expunge.methods.preset import Axes, Training
from expunge.models.load import build_model, save_model
from expunge.reports.record import RunRecord, read_record

pytestmark = [pytest.mark.real, pytest.mark.slow]
KEPT = 2  # authors, 20 questions each
TRAINING = Training(learning_rate=3e-3, epochs=30, batch_size=8, micro_batch=8, checkpoint_every=0)
UNLEARNING = {"learning_rate": "1e-3", "epochs": "10", "batch_size": "16", "warmup": "0", "retain_term": "nll"}


def train_pair(folder: Path, out: Path) -> None:
    """Trains an original and a retrained model with a tokenizer that has seen neither authors nor questions."""
    splits = Tofu(folder=folder, retained_authors=KEPT).splits()
    benchmark = Fictional()
    tokenizer = benchmark.tokenizer()
    config = benchmark.model_config(tokenizer)
    config.max_position_embeddings = 512
    keep, forget = (encode_all(splits[name], tokenizer, max_length=256).examples for name in ("train_retain", "forget"))
    for role, rows, left_out in (("original", [*keep, *forget], []), ("retrained", keep, forget)):
        model = build_model(config, seed=0)
        axes = Axes(optimizer=Choice("adamw", {"beta2": 0.95}))
        Retrain().fit(
            FitTask(model=model, keep=rows, leave_out=left_out, axes=axes, training=TRAINING, pad_id=pad_id(tokenizer))
        )
        save_model(model.eval(), tokenizer, out / role)


@pytest.fixture(scope="module")
def record(tmp_path_factory) -> RunRecord:
    folder = Path(__file__).parents[3] / "shared" / "data" / "tofu"
    if not folder.is_dir():
        pytest.skip("real input is not here: ../shared/data/tofu")
    out = tmp_path_factory.mktemp("tofu")
    torch.set_num_threads(1)
    train_pair(folder, out)
    benchmark = f"tofu:folder={folder},forget=forget01,retained_authors={KEPT}"
    settings = [part for key, item in UNLEARNING.items() for part in ("--set", f"{key}={item}")]
    arguments = ["unlearn", str(out / "original"), "--benchmark", benchmark, "--suite", "tofu", *settings]
    arguments += ["--retrained", str(out / "retrained"), "--max-length", "256", "--out", str(out / "run")]
    done = subprocess.run(
        [sys.executable, "-m", "expunge", *arguments], capture_output=True, text=True, timeout=1200, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return read_record(out / "run" / "record.json")


def value(record: RunRecord, label: str, role: str) -> float:
    return next(score["value"] for score in record.scores if score["label"].startswith(label) and score["role"] == role)


def test_the_original_knew_the_authors_and_the_unlearned_model_does_not(record):
    known, unlearned, never = (
        value(record, "probability(split=forget", role) for role in ("original", "unlearned", "retrained")
    )
    assert known > 0.9
    assert unlearned < 0.3
    assert never < 0.1
    strength = {role: value(record, "extraction_strength(", role) for role in ("original", "unlearned", "retrained")}
    assert strength["original"] > 0.9
    assert abs(strength["unlearned"] - strength["retrained"]) < 0.1


def test_the_kept_authors_are_still_known(record):
    assert value(record, "probability(split=retain", "unlearned") > 0.8
    assert value(record, "rouge(split=retain", "unlearned") > 0.8


def test_every_row_of_the_suite_is_there(record):
    assert {(score["role"]) for score in record.scores} == {"original", "retrained", "unlearned", "guardrail"}
    utility = next(score for score in record.scores if score["label"].startswith("model_utility"))
    parts = {"probability", "rouge", "truth_ratio"}
    assert set(utility["details"]) == {
        f"{split}_{part}" for split in ("retain", "real_authors", "world_facts") for part in parts
    }
    # A model from scratch names no real author, so one part is zero and with it the harmonic mean.
    assert utility["details"]["real_authors_rouge"] < 0.05
    quality = next(
        score for score in record.scores if score["label"].startswith("forget_quality") and score["role"] == "original"
    )
    assert quality["details"]["n"] == 40
    assert quality["value"] < 0.05
