"""Time of evaluating all metrics together against each by itself: TOFU's forget10 on a small untrained model.

Run: python perf/evaluation_time.py TOFU_FOLDER [RECORDS]. The six membership attacks of OpenUnlearning, extraction
strength, exact memorisation, truth ratio and probability. By itself means one evaluation for each metric with nothing
stored before, once with the loaded model handed in and once loading it from its folder each time. The sides take turns,
so that a machine that changes speed slows all. Prints a table and, last, one line of JSON.

A pass is one sequence through the model; a backward pass is counted as two forward passes in ``arithmetic``.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from expunge.benchmarks.fictional import Fictional
from expunge.benchmarks.tofu import Tofu
from expunge.data.record import Record
from expunge.evaluation.runner import evaluate
from expunge.evaluation.store import Store
from expunge.evaluation.subjects import Subject
from expunge.metrics.base import Metric
from expunge.metrics.membership import MiaLoss, MiaMinK, MiaMinKPlusPlus, MiaZlib
from expunge.metrics.membership_reference import MiaReference
from expunge.metrics.membership_texts import MiaGradNorm
from expunge.metrics.memorisation import ExactMemorisation, ExtractionStrength, Probability, TruthRatio
from expunge.models.load import LoadedModel, build_model, load_model, save_model
from expunge.registry import metrics as registry

METRICS: tuple[Metric, ...] = (
    *(MiaLoss(), MiaZlib(), MiaMinK(), MiaMinKPlusPlus(), MiaGradNorm(), MiaReference()),
    *(ExtractionStrength(), ExactMemorisation(), TruthRatio(), Probability()),
)
ROLES = ("unlearned", "reference")
BACKWARD = 2  # forward passes that a backward pass costs, in operations
AIM = 1 / 3
MAX_LENGTH = 512


class Cost(NamedTuple):
    """Seconds on the clock, seconds of computing, and passes by sequence."""

    wall: float = 0.0
    cpu: float = 0.0
    forward: float = 0
    backward: float = 0

    def plus(self, other: Cost) -> Cost:
        """Sum of both."""
        return Cost(*(mine + its for mine, its in zip(self, other, strict=True)))

    @property
    def arithmetic(self) -> float:
        """Passes, counted in forward passes."""
        return self.forward + BACKWARD * self.backward


@dataclass
class Tally:
    """Counts the sequences that go through models; what is read with gradients goes back through them too."""

    forward: int = 0
    backward: int = 0

    def watch(self, loaded: LoadedModel) -> LoadedModel:
        """Counts what this model reads from now on."""
        loaded.model.register_forward_pre_hook(self._count, with_kwargs=True)
        return loaded

    def _count(self, model: Any, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
        rows = len(positional[0] if positional else named["input_ids"])
        self.forward += rows
        self.backward += rows if torch.is_grad_enabled() else 0


@dataclass
class Bench:
    """Two models on disk and in memory, and the records."""

    folder: Path
    splits: dict[str, list[Record]]
    tally: Tally = field(default_factory=Tally)
    loaded: dict[str, LoadedModel] = field(default_factory=dict)

    def prepare(self) -> None:
        """Builds, saves and loads both models."""
        benchmark = Fictional()
        tokenizer = benchmark.tokenizer()
        config = benchmark.model_config(tokenizer)
        config.max_position_embeddings = MAX_LENGTH
        for seed, role in enumerate(ROLES):
            save_model(build_model(config, seed=seed), tokenizer, self.folder / role)
            self.loaded[role] = self.load(role)

    def load(self, role: str) -> LoadedModel:
        """Loads a model from its folder."""
        return self.tally.watch(load_model(self.folder / role))

    def cost(self, metrics: Sequence[Metric], load: Callable[[str], LoadedModel]) -> Cost:
        """One evaluation with nothing stored."""
        subjects = [
            Subject(role=role, identity={"weights": role}, load=partial(load, role), scored=role == ROLES[0])
            for role in ROLES
        ]
        self.tally.forward = self.tally.backward = 0
        with tempfile.TemporaryDirectory() as place:
            store = Store(Path(place), dict.fromkeys(self.splits, "the same"), MAX_LENGTH)
            wall, cpu = time.perf_counter(), time.process_time()
            found = evaluate(subjects, self.splits, metrics, store)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        if len(found.scores) != len(metrics):
            raise RuntimeError(f"{len(metrics) - len(found.scores)} metrics have no number")
        return Cost(wall, cpu, self.tally.forward, self.tally.backward)


def records(folder: Path, count: int) -> dict[str, list[Record]]:
    """The authors of forget10, and as many others for the membership attacks; no model was trained here."""
    found = Tofu(folder=folder, forget="forget10", holdout_authors=20).splits()
    return {split: found[split][:count] for split in ("forget", "holdout")}


def measure(bench: Bench) -> dict[str, Any]:
    """All sides by turns; each metric's own share too."""
    bench.cost(METRICS[:1], bench.loaded.__getitem__)  # what is slow only once
    together = [bench.cost(METRICS, bench.loaded.__getitem__)]
    alone: dict[str, Cost] = {}
    handed_in, from_folder = Cost(), Cost()
    for metric in METRICS:
        name = registry.name_of(metric)
        alone[name] = bench.cost((metric,), bench.loaded.__getitem__)
        handed_in = handed_in.plus(alone[name])
        from_folder = from_folder.plus(bench.cost((metric,), bench.load))
    together += [bench.cost(METRICS, bench.loaded.__getitem__), bench.cost(METRICS, bench.load)]
    both = Cost(*(sum(pair) / 2 for pair in zip(*together[:2], strict=True)))
    sides = {"loaded": (both, handed_in), "from_folder": (together[2], from_folder)}
    return {
        "records": {split: len(found) for split, found in bench.splits.items()},
        "each": {name: cost._asdict() for name, cost in alone.items()},
        **{
            name: {
                "together": one._asdict(),
                "apart": other._asdict(),
                "ratio": {kind: getattr(one, kind) / getattr(other, kind) for kind in ("wall", "cpu", "arithmetic")},
            }
            for name, (one, other) in sides.items()
        },
    }


def hardware() -> dict[str, Any]:
    """What it was measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "torch": torch.__version__,
    }


def main(folder: Path, count: int) -> None:
    """Measures and prints."""
    torch.set_num_threads(1)
    before = hardware()
    with tempfile.TemporaryDirectory() as place:
        bench = Bench(Path(place), records(folder, count))
        bench.prepare()
        found = measure(bench)
    for name, cost in found["each"].items():
        print(f"{name:24} {cost['cpu']:7.1f} s, {cost['forward']:5} forward, {cost['backward']:4} backward")
    for name in ("loaded", "from_folder"):
        one, other, ratio = (found[name][key] for key in ("together", "apart", "ratio"))
        print(
            f"{name}: together {one['cpu']:.1f} s computing, each by itself {other['cpu']:.1f} s: "
            f"ratio {ratio['cpu']:.2f} (clock {ratio['wall']:.2f}); "
            f"passes {one['forward']:.0f} + {one['backward']:.0f} against {other['forward']} + {other['backward']}: "
            f"{ratio['arithmetic']:.2f}; the aim is at most {AIM:.2f}"
        )
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    print(json.dumps({"date": today, "hardware": before, **found}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 400)
