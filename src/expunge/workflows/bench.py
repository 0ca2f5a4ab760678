"""Runs methods over seeds in a pool of processes; what is done is not done again, and every run keeps its record."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from expunge.benchmarks.fictional import MAX_LENGTH, Fictional
from expunge.config import Choice, to_plain
from expunge.data.record import Record
from expunge.errors import DivergedError, InputError
from expunge.executors.local import Hear, Job, Outcome, run_jobs
from expunge.methods.base import ExactMethod
from expunge.methods.recipe import Recipe, resolve
from expunge.registry import benchmarks, suites
from expunge.reports.bench import BenchRow, row_of
from expunge.reports.bench_page import write_bench
from expunge.reports.record import read_record
from expunge.storage.events import Listener, read_events
from expunge.storage.run import RunFolder, harden_umask
from expunge.workflows.demo import ROLES, ToTrain, check_outcome, error_of, train_model, training_steps
from expunge.workflows.hearing import run_logged
from expunge.workflows.inputs import bind_data, read_inputs
from expunge.workflows.request import Request
from expunge.workflows.run_config import audit_config, recipe_config, source_config
from expunge.workflows.signals import stop_on_signal, stopped_by_request
from expunge.workflows.states import logged_states
from expunge.workflows.unlearn import unlearn

STOPPED = "The bench was stopped; what is finished is kept, and the same command goes on."


@dataclass(frozen=True, kw_only=True)
class BenchRequest:
    """Which methods to compare on what.

    Attributes:
        out: folder of everything; run again, it goes on.
        methods: registry names.
        seeds: on a generated benchmark each seed draws new persons and trains new models; on a model that was handed
            in it only orders the unlearning.
        benchmark: where models and records come from, unless ``own`` is given.
        own: a request whose model and records are used instead; its method, settings, suite and folder do not count.
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
        for name, values in (("method", self.methods), ("seed", self.seeds)):
            if len(set(values)) != len(values):
                raise InputError(f"A {name} is named twice in {', '.join(map(str, values))}; name each once.")
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
        DivergedError: every run diverged; the table and the page say so.
        InterruptedRunError: stopped on request; run again, the bench goes on.
        ResourceError: a process died; run again, the bench goes on.
    """
    harden_umask()
    checked = {method: _check(method, request) for method in request.methods}
    run = RunFolder.create(request.out, _config(request, checked), tuple(listeners))
    with run.locked(), stop_on_signal() as stop_requested:
        bind_data(run, checked[request.methods[0]].records)
        with logged_states(run), stopped_by_request(stop_requested, STOPPED):
            if request.own is None:
                _train(request, run, stop_requested)
            _unlearn(request, run, stop_requested)
            rows = [_row(run, method, seed) for method in request.methods for seed in request.seeds]
            write_bench(run.root, rows, title=_title(request))
            if all(row.trouble is not None for row in rows):
                _refuse_empty(run, rows)
    return Bench(run, rows)


class _Checked(NamedTuple):
    """A method that can be run, and the records that all its runs share; a benchmark has others every seed."""

    recipe: Recipe
    records: dict[str, list[Record]]


def _refuse_empty(run: RunFolder, rows: Sequence[BenchRow]) -> None:
    """Ends a bench without any record: as divergence where every run diverged, else as the first other failure."""
    others = [row for row in rows if not _has_diverged(_place(run, row.method, row.seed))]
    codes = {
        event.data["job"]: event.data.get("exit_code", 1)
        for event in read_events(run.events_path)
        if event.kind == "job"
    }
    first = others[0] if others else rows[0]
    code = codes.get(f"{first.method}-seed-{first.seed}", 1) if others else DivergedError.exit_code
    raise error_of(code)(
        f"No run ended with a record; results.md in {run.root} has a line for each. One says: {first.trouble}"
    )


def _has_diverged(place: Path) -> bool:
    return RunFolder.is_run(place) and RunFolder.open(place).state == "diverged"


def _check(method: str, request: BenchRequest) -> _Checked:
    """Refuses what no run could do."""
    settings = request.settings.get(method, {})
    recipe = resolve(method, settings)
    recipe.create_axes()
    if isinstance(recipe.method, ExactMethod):
        raise InputError(f"{method!r} is exact: it is the reference column of every run, not a row of the table.")
    suites.get(request.suite)
    if request.own is None:
        _generated(request, request.seeds[0])
        recipe.check(read_inputs({}, benchmark=request.benchmark).with_needs(recipe.needs()).available)
        return _Checked(recipe, {})
    return _Checked(recipe, replace(request.own, out=request.out, method=method, settings=settings).read()[1].audited)


def _config(request: BenchRequest, checked: Mapping[str, _Checked]) -> dict[str, Any]:
    """Everything that decides a number; the records are bound by what they say."""
    own = request.own
    return {
        "verb": "bench",
        "methods": list(request.methods),
        "seeds": list(request.seeds),
        "benchmark": to_plain(request.benchmark) if own is None else None,
        "own": None if own is None else {**source_config(own), **audit_config(own)},
        "recipes": {method: recipe_config(found.recipe) for method, found in checked.items()},
        "suite": request.suite,
    }


def _title(request: BenchRequest) -> str:
    if request.own is not None:
        return Path(request.own.model).name
    settings = ", ".join(f"{name} {value}" for name, value in request.benchmark.settings.items())
    return f"{request.benchmark.name}, {settings}" if settings else request.benchmark.name


def _benchmark(request: BenchRequest, seed: int) -> Choice:
    return Choice(request.benchmark.name, {**request.benchmark.settings, "seed": seed})


def _generated(request: BenchRequest, seed: int) -> Fictional:
    benchmark = _benchmark(request, seed).create(benchmarks)
    if not isinstance(benchmark, Fictional):
        raise InputError(f"The benchmark {request.benchmark.name!r} trains no models of its own; hand in a MODEL.")
    return benchmark


def _train(request: BenchRequest, run: RunFolder, stop_requested: Callable[[], bool]) -> None:
    """Original and retrained model of every seed."""
    jobs = []
    for seed in request.seeds:
        benchmark = _generated(request, seed)
        for role in ROLES:
            wanted = ToTrain(benchmark, _models(run, seed) / role, role == "retrained")
            jobs.append(Job(f"train-{role}-seed-{seed}", wanted))
    missing = [job for job in jobs if not (job.argument.folder / "config.json").is_file()]
    if missing:
        sizes = {job.name: training_steps(job.argument) for job in jobs}
        _run_all(run, f"train {len(jobs)} models", missing, sizes, request.workers, stop_requested)


def _unlearn(request: BenchRequest, run: RunFolder, stop_requested: Callable[[], bool]) -> None:
    jobs, sizes = [], {}
    for seed in request.seeds:
        for method in request.methods:
            place, name = _place(run, method, seed), f"{method}-seed-{seed}"
            sizes[name] = 1
            if not (RunFolder.is_run(place) and RunFolder.open(place).state in ("done", "diverged")):
                jobs.append(Job(name, _request(request, run, method, seed)))
    if jobs:
        _run_all(run, f"unlearn and audit {len(sizes)} times", jobs, sizes, request.workers, stop_requested)


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
        audit=True,
        family=run.root,
    )


def run_job(argument: ToTrain | Request, listener: Listener) -> None:
    """Carries out one job; called in a process of the pool."""
    if isinstance(argument, Request):
        unlearn(argument, (listener,))
    else:
        train_model(argument, listener)


def _run_all(
    run: RunFolder,
    name: str,
    jobs: Sequence[Job],
    sizes: Mapping[str, int],
    workers: int | None,
    stop_requested: Callable[[], bool],
) -> None:
    """Runs jobs and logs each; without a model to read there is no going on, a method that failed is a row.

    ``sizes`` has the steps of all jobs, those that are done included.

    Raises:
        InterruptedRunError: a stop was asked for, here or of a job.
    """

    def start(hear: Hear) -> Iterator[Outcome]:
        return run_jobs(jobs, run_job, workers=workers, hear=hear)

    for outcome in run_logged(run, name, jobs, sizes, start, stop_requested):
        if isinstance(jobs[0].argument, ToTrain):
            check_outcome(outcome)
        elif outcome.trouble is not None:
            run.events.append("warning", text=f"{outcome.job}: {outcome.trouble}")


def _row(run: RunFolder, method: str, seed: int) -> BenchRow:
    place = _place(run, method, seed)
    if (place / "record.json").is_file():
        return row_of(read_record(place / "record.json"), method=method, seed=seed)
    # What a run says of itself outlives a bench that was killed before it heard of it.
    own = read_events(place / "events.jsonl")
    reasons = [event.data.get("reason") for event in own if event.data.get("state") == "diverged"]
    told = read_events(run.events_path)
    reasons += [event.data["trouble"] for event in told if event.data.get("job") == f"{method}-seed-{seed}"]
    trouble = next((str(reason) for reason in reversed(reasons) if reason), "the run left no record")
    return BenchRow(method=method, seed=seed, verdict="failed", seconds=math.nan, trouble=trouble)


def _models(run: RunFolder, seed: int) -> Path:
    return run.root / "models" / f"seed-{seed}"


def _place(run: RunFolder, method: str, seed: int) -> Path:
    return run.root / "runs" / f"{method}-seed-{seed}"
