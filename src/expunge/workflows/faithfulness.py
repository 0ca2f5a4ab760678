"""Trains pools of very small models that know or never saw the forget set, and asks every metric which is which."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from expunge.benchmarks.base import FORGET
from expunge.benchmarks.fictional import MAX_LENGTH, Fictional
from expunge.evaluation.runner import evaluate
from expunge.evaluation.store import Store
from expunge.evaluation.subjects import Subject
from expunge.executors.local import Job, run_jobs
from expunge.functional.statistics import auc, auc_interval
from expunge.metrics.base import Metric
from expunge.metrics.faithfulness import Separation, oriented
from expunge.models.load import load_model
from expunge.registry import suites
from expunge.workflows.demo import ToTrain, check_outcome, train_model
from expunge.workflows.identity import code_digest, hash_plain, model_digest

PRESET: Literal["pool"] = "pool"
KNOWS, LACKS, REFERENCE = "knows", "lacks", "reference"
_OTHER_START = 10_000  # added to the seed of the reference, which never saw the records either


class World(NamedTuple):
    """One benchmark and its three models: two that never saw the forget set differ in their start and order."""

    benchmark: Fictional
    folder: Path

    def jobs(self) -> list[Job]:
        """Models that are still to be trained."""
        seed = self.benchmark.seed
        wanted = {
            KNOWS: ToTrain(self.benchmark, self.folder / KNOWS, False),
            LACKS: ToTrain(self.benchmark, self.folder / LACKS, True),
            REFERENCE: ToTrain(self.benchmark, self.folder / REFERENCE, True, model_seed=seed + _OTHER_START),
        }
        return [
            Job(f"{role} of seed {seed}", one)
            for role, one in wanted.items()
            if not (one.folder / "config.json").is_file()
        ]

    def values(self, suite: str) -> dict[Metric, tuple[float, float]]:
        """Values of the model that knows and of the one that does not, for every metric that tells of knowledge."""
        splits = self.benchmark.splits()
        roles = {"original": KNOWS, "retrained": REFERENCE, "unlearned": LACKS}
        metrics = [metric for metric in suites.get(suite)(tuple(splits)) if _tells(metric)]
        bound = dict.fromkeys(splits, hash_plain(self.benchmark.manifest()))
        store = Store(self.folder / "scores", bound, MAX_LENGTH, code_digest())
        subjects = [_subject(role, self.folder / name) for role, name in roles.items()]
        found = evaluate(subjects, splits, metrics, store, resamples=2)
        values = {}
        for metric in metrics:
            pair = [found.get(metric.label, role) for role in ("original", "unlearned")]
            knows, lacks = (math.nan if score is None else score.value for score in pair)
            values[metric] = (knows, lacks)
        return values


def pools(folder: Path, count: int = 20, workers: int | None = None) -> list[World]:
    """Returns ``count`` worlds below a folder, training what is missing: three models each.

    Args:
        folder: kept between calls; made for one version of the benchmark.
        count: models in each pool.
        workers: processes at a time; None for one for each core.
    """
    worlds = [World(Fictional(preset=PRESET, seed=seed), folder / f"seed-{seed}") for seed in range(count)]
    for outcome in run_jobs([job for world in worlds for job in world.jobs()], train_model, workers=workers):
        check_outcome(outcome)
    return worlds


def separations(worlds: Sequence[World], suite: str) -> list[Separation]:
    """Returns how well each metric of a suite tells the pools apart, in the order of the suite."""
    found: dict[Metric, list[tuple[float, float]]] = {}
    for world in worlds:
        for metric, pair in world.values(suite).items():
            found.setdefault(metric, []).append(pair)
    separated = [_separation(metric, pairs) for metric, pairs in found.items()]
    return [one for one in separated if one is not None]


def as_plain(found: Sequence[Separation], worlds: int) -> Mapping[str, object]:
    """Returns what ``expunge.metrics.faithfulness`` reads."""
    return {
        "preset": PRESET,
        "models": worlds,
        "metrics": {
            one.label: {"area": round(one.area, 4), "low": round(one.low, 4), "knows": one.knows, "lacks": one.lacks}
            for one in found
        },
    }


def _separation(metric: Metric, pairs: Sequence[tuple[float, float]]) -> Separation | None:
    knows, lacks = (
        [oriented(value, metric.knows) for value in values if not math.isnan(value)]
        for values in zip(*pairs, strict=True)
    )
    if not knows or not lacks:
        return None
    area = auc(knows, lacks)
    return Separation(metric.label, area, auc_interval(area, len(knows), len(lacks)).low, len(knows), len(lacks))


def _tells(metric: Metric) -> bool:
    return bool(metric.knows) and metric.needs()[0].split == FORGET


def _subject(role: str, folder: Path) -> Subject:
    identity = {"weights": model_digest(folder), "adapter": "none", "policy": "none", "attack": "none"}
    return Subject(role=role, identity=identity, load=partial(load_model, str(folder)))
