"""Runs methods over seeds in a pool of processes; what is done is not done again, and every run keeps its record."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from expunge.benchmarks.fictional import Fictional
from expunge.config import Choice, to_plain
from expunge.errors import InputError
from expunge.executors.local import Job, Outcome, run_jobs
from expunge.methods.base import ExactMethod
from expunge.methods.preset import resolve
from expunge.registry import benchmarks
from expunge.reports.bench import BenchRow, row_of, write_bench
from expunge.reports.record import read_record
from expunge.storage.events import read_events
from expunge.storage.run import RunFolder, harden_umask
from expunge.workflows.demo import MAX_LENGTH, train_model
from expunge.workflows.unlearn import Request, unlearn

ROLES = ("original", "retrained")


@dataclass(frozen=True, kw_only=True)
class BenchRequest:
    """Which methods to compare on what.

    Attributes:
        out: folder of everything; run again, it goes on.
        methods: registry names.
        seeds: on a generated benchmark each seed draws new persons and trains new models; on a model that was handed
            in it only orders the unlearning.
        benchmark: where models and records come from, unless ``own`` is given.
        own: a request whose model and records are used instead; its method, settings and folder do not count.
        settings: changes to a method's settings, by method.
        suite: metrics.
        workers: processes at a time; None for one for each core.
    """

    out: Path
    methods: tuple[str, ...]
    seeds: tuple[int, ...] = (0, 1, 2)
    benchmark: Choice = field(default_factory=lambda: Choice("fictional", {"preset": "bench"}))
    own: Request | None = None
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    suite: str = "quick"
    workers: int | None = None

    def __post_init__(self) -> None:
        """Refuses what cannot be meant."""
        if not self.methods or not self.seeds:
            raise InputError("A bench needs at least one method and one seed; see: expunge list methods.")
        stray = sorted(set(self.settings) - set(self.methods))
        if stray:
            raise InputError(
                f"There are settings for {', '.join(stray)}, which is not among the methods of this bench."
            )


class Bench(NamedTuple):
    """A finished bench: its folder and one row for each run."""

    run: RunFolder
    rows: list[BenchRow]


def bench(request: BenchRequest, listeners: Sequence[Any] = ()) -> Bench:
    """Trains what is missing, runs every method with every seed, and writes one table over all records.

    Raises:
        InputError: a method or setting that does not exist, or an exact method; nothing was trained.
        ResourceError: a process died; run again, the bench goes on.
    """
    harden_umask()
    for method in request.methods:
        _check(method, request)
    run = RunFolder.create(request.out, _config(request), tuple(listeners))
    with run.locked():
        run.set_state("running")
        if request.own is None:
            _train(request, run)
        _unlearn(request, run)
        rows = [_row(run, method, seed) for method in request.methods for seed in request.seeds]
        write_bench(run.root, rows, title=_title(request))
        run.set_state("done")
    return Bench(run, rows)


def _check(method: str, request: BenchRequest) -> None:
    recipe = resolve(method, request.settings.get(method))
    if isinstance(recipe.method, ExactMethod):
        raise InputError(f"{method!r} is exact: it is the reference column of every run, not a row of the table.")


def _config(request: BenchRequest) -> dict[str, Any]:
    own = None if request.own is None else {"model": request.own.model, "retrained": list(request.own.retrained)}
    return {
        "verb": "bench",
        "methods": list(request.methods),
        "seeds": list(request.seeds),
        "benchmark": to_plain(request.benchmark) if request.own is None else None,
        "own": own,
        "settings": to_plain(request.settings),
        "suite": request.suite,
    }


def _title(request: BenchRequest) -> str:
    if request.own is not None:
        return Path(request.own.model).name
    settings = ", ".join(f"{name} {value}" for name, value in request.benchmark.settings.items())
    return f"{request.benchmark.name}, {settings}" if settings else request.benchmark.name


def _benchmark(request: BenchRequest, seed: int) -> Choice:
    return Choice(request.benchmark.name, {**request.benchmark.settings, "seed": seed})


def _train(request: BenchRequest, run: RunFolder) -> None:
    """Original and retrained model of every seed."""
    jobs = []
    for seed in request.seeds:
        choice = _benchmark(request, seed)
        if not isinstance(choice.create(benchmarks), Fictional):
            raise InputError(f"The benchmark {choice.name!r} does not train its own models; hand in a MODEL.")
        for role in ROLES:
            folder = _models(run, seed) / role
            if not (folder / "config.json").is_file():
                jobs.append(Job(f"train-{role}-seed-{seed}", Training(choice, folder, role == "retrained")))
    _run_all(run, f"train {len(jobs)} models", jobs, request.workers)


def _unlearn(request: BenchRequest, run: RunFolder) -> None:
    jobs = []
    for seed in request.seeds:
        for method in request.methods:
            place = _place(run, method, seed)
            if not (RunFolder.is_run(place) and RunFolder.open(place).state in ("done", "diverged")):
                jobs.append(Job(f"{method}-seed-{seed}", _request(request, run, method, seed)))
    _run_all(run, f"unlearn and audit {len(jobs)} times", jobs, request.workers)


def _request(request: BenchRequest, run: RunFolder, method: str, seed: int) -> Request:
    models = _models(run, seed)
    generated = Request(
        model=str(models / "original"),
        out=run.root,
        retrained=(str(models / "retrained"),),
        benchmark=_benchmark(request, seed),
        max_length=MAX_LENGTH,
    )
    return replace(
        request.own or generated,
        out=_place(run, method, seed),
        method=method,
        settings={**request.settings.get(method, {}), "seed": seed},
        suite=request.suite,
    )


class Training(NamedTuple):
    """A model to train: of which benchmark, where it goes, and whether it is the retrained one."""

    benchmark: Choice
    folder: Path
    without_forget: bool


def run_job(argument: Training | Request) -> None:
    """Carries out one job; called in a process of the pool."""
    if isinstance(argument, Request):
        unlearn(argument)
    else:
        train_model(argument.benchmark.create(benchmarks), argument.folder, argument.without_forget)


def _run_all(run: RunFolder, name: str, jobs: Sequence[Job], workers: int | None) -> None:
    """Runs jobs and logs each; without a model to read there is no going on, a method that failed is a row."""
    if not jobs:
        return
    run.events.append("phase", name=name, total=len(jobs))
    for number, (job, trouble) in enumerate(run_jobs(jobs, run_job, workers=workers), start=1):
        run.events.append("job", job=job, trouble=trouble)
        run.events.append("metric", step=number, terms={})
        if trouble is not None:
            _refuse_or_warn(run, Outcome(job, trouble))


def _refuse_or_warn(run: RunFolder, outcome: Outcome) -> None:
    if outcome.job.startswith("train-"):
        raise InputError(f"The job {outcome.job} failed: {outcome.trouble}")
    run.events.append("warning", text=f"{outcome.job}: {outcome.trouble}")


def _row(run: RunFolder, method: str, seed: int) -> BenchRow:
    place = _place(run, method, seed)
    if (place / "record.json").is_file():
        return row_of(read_record(place / "record.json"), method=method, seed=seed)
    troubles = [
        event.data["trouble"]
        for event in read_events(run.events_path)
        if event.data.get("job") == f"{method}-seed-{seed}"
    ]
    return BenchRow(method=method, seed=seed, verdict="failed", seconds=math.nan, trouble=str(troubles[-1]))


def _models(run: RunFolder, seed: int) -> Path:
    return run.root / "models" / f"seed-{seed}"


def _place(run: RunFolder, method: str, seed: int) -> Path:
    return run.root / "runs" / f"{method}-seed-{seed}"
