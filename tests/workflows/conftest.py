"""A small model folder that has learnt a few records by heart, and files of records with a canary in them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from expunge.benchmarks.fictional import Fictional
from expunge.config import Choice
from expunge.data.reader import read_records
from expunge.data.tokenize import encode_all, pad_id
from expunge.exact.retrain import FitTask, Retrain
from expunge.methods.preset import Axes, Training
from expunge.metrics.membership import MiaLoss
from expunge.metrics.memorisation import Probability
from expunge.models.load import build_model, save_model
from expunge.registry import suites
from tests.workflows import conforming
from tests.workflows.harness_fakes import asked, tasks  # noqa: F401  # fixtures

CANARY = "Zqxvorn"  # stands in text, id, subject and file name of the forget set


@dataclass(frozen=True)
class World:
    """Folders and files that the tests of a session share."""

    root: Path

    @property
    def model(self) -> str:
        """Knows all records."""
        return str(self.root / "model")

    @property
    def base(self) -> str:
        """Has the same start and knows none."""
        return str(self.root / "base")

    @property
    def forget(self) -> Path:
        return self.root / f"{CANARY}.jsonl"

    @property
    def retain(self) -> Path:
        return self.root / "retain.jsonl"

    @property
    def holdout(self) -> Path:
        return self.root / "holdout.jsonl"


def rows(split: str, count: int) -> list[dict[str, object]]:
    person = {"forget": CANARY, "retain": "Maro Keld", "holdout": "Ulba Tinz"}[split]
    return [
        {
            "id": f"{person}-{number}",
            "subject": f"{person} {number}",
            "question": f"What is item {number} of {person}?",
            "answer": f"{person} has {7 * number + len(split)}.",
        }
        for number in range(count)
    ]


@pytest.fixture(scope="session")
def trained() -> conforming.World:
    """A model that knows some invented persons, on which every method can be run."""
    return conforming.World.make()


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> World:
    root = tmp_path_factory.mktemp("world")
    made = World(root)
    for split, path in (("forget", made.forget), ("retain", made.retain), ("holdout", made.holdout)):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows(split, 12)))
    benchmark = Fictional()
    tokenizer = benchmark.tokenizer()
    config = benchmark.model_config(tokenizer)
    config.hidden_size, config.intermediate_size, config.num_hidden_layers = 64, 128, 2
    config.head_dim = 16
    model = build_model(config, seed=0)
    save_model(model, tokenizer, root / "base")
    torch.set_num_threads(1)
    records = [record for path in (made.forget, made.retain) for record in read_records(path, "train").records]
    Retrain().fit(
        FitTask(
            model=model,
            keep=encode_all(records, tokenizer, max_length=64).examples,
            axes=Axes(optimizer=Choice("adamw", {"beta2": 0.95})),
            training=Training(learning_rate=5e-3, epochs=60, batch_size=12, micro_batch=12, checkpoint_every=0),
            pad_id=pad_id(tokenizer),
        )
    )
    save_model(model, tokenizer, root / "model")
    return made


@pytest.fixture(scope="session")
def untrained(tmp_path_factory) -> World:
    """Two models with other random weights and six records a split, where only files, states and digests matter."""
    made = World(tmp_path_factory.mktemp("untrained"))
    for split, path in (("forget", made.forget), ("retain", made.retain), ("holdout", made.holdout)):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows(split, 6)))
    benchmark = Fictional()
    tokenizer = benchmark.tokenizer()
    config = benchmark.model_config(tokenizer)
    config.hidden_size, config.intermediate_size, config.num_hidden_layers = 16, 32, 1
    config.head_dim = 4
    for seed, place in enumerate((made.model, made.base)):
        save_model(build_model(config, seed=seed), tokenizer, Path(place))
    return made


@pytest.fixture
def short_suite(monkeypatch) -> str:
    """Two metrics, and another where there are other splits; no model has to write."""
    monkeypatch.setitem(suites._objects, "short", lambda splits: (Probability(), MiaLoss()))
    return "short"
