"""Shadow models of a run for U-LiRA: the same records and recipe with other seeds, trained here and audited with it.

Each shadow is a pair with one start and one order of records: a model trained with the forget records and unlearned as
the run was, and one trained without them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from expunge.config import Choice, build, to_plain
from expunge.errors import DivergedError, InputError
from expunge.evaluation.verdict.policy import VerdictPolicy
from expunge.executors.local import Hear, Job, Outcome, run_jobs
from expunge.functional.shadow import MIN_MODELS
from expunge.registry import suites
from expunge.storage.events import Listener
from expunge.storage.run import RunFolder, harden_umask
from expunge.workflows.audit import AuditRequest, audit, last_audit
from expunge.workflows.demo import ToTrain, check_outcome, train_model, training_steps
from expunge.workflows.finished import Finished
from expunge.workflows.hearing import run_logged
from expunge.workflows.places import models_of, refuse_model_folder
from expunge.workflows.repeat import Repeatable, read_run
from expunge.workflows.request import Request
from expunge.workflows.signals import stop_on_signal, stopped_by_request
from expunge.workflows.states import logged_states
from expunge.workflows.unlearn import unlearn

STOPPED = "The training of shadow models was stopped; what is finished is kept, and the same command goes on."
_OTHER_START = 20_000  # added to the benchmark's seed: no run and no pool of models has these


@dataclass(frozen=True, kw_only=True)
class ShadowsRequest:
    """Which run to make shadow models of.

    Attributes:
        target: run folder of ``expunge unlearn`` on a benchmark that trains its own models.
        out: folder of the shadow models; run again after a stop, it goes on.
        count: pairs of models, at least two; from three on the attack is tried on the shadows themselves. A larger one
            adds pairs to those that were kept; of those deleted, the models that saw the forget records are made again.
        benchmark: the one whose files the run was made on, if it was made on files.
        suite: metrics of the audit at the end, U-LiRA beside them; None for those of the run's last audit.
        workers: processes at a time; None for one for each core.
        allow_overlap: go on although records are in two sets; the report says how many.
        keep_shadows: keep the models that were trained with the forget records; else they are deleted at the end.
    """

    target: Path
    out: Path
    count: int = 8
    benchmark: Choice | None = None
    suite: str | None = None
    workers: int | None = None
    allow_overlap: bool = False
    keep_shadows: bool = False

    def __post_init__(self) -> None:
        """Refuses what cannot be meant."""
        if self.count < MIN_MODELS:
            raise InputError(f"{self.count} shadow models show no spread; take at least {MIN_MODELS}.")


class ToShadow(NamedTuple):
    """A model to train and, unless it never saw the forget records, to unlearn."""

    train: ToTrain
    request: Request | None
    keep: bool  # the model before unlearning

    @property
    def done(self) -> bool:
        """Whether nothing is left to do: a method that diverged does so again."""
        if self.request is None:
            return _is_trained(self.train)
        return RunFolder.is_run(self.request.out) and RunFolder.open(self.request.out).state in ("done", "diverged")


def shadows(request: ShadowsRequest, listeners: Sequence[Any] = ()) -> Finished:
    """Trains the shadow models that are missing and audits the run with them; the run's record then has U-LiRA.

    The models that were trained with the forget records hold them: unless kept they are deleted after the audit, or
    where too few of them can be used. While the work is unfinished they stay, for the same call to go on.

    Raises:
        InputError: a run whose models cannot be trained here; the message says how to hand in others.
        DivergedError: fewer than two shadow models were unlearned.
        InterruptedRunError: stopped on request; run again, it goes on.
        ResourceError: a process died; run again, it goes on.
    """
    harden_umask()
    refuse_model_folder(request.out, models_of(request.target))
    source = read_run(request.target, request.benchmark)
    suite = request.suite or str(last_audit(source.run).get("suite", "quick"))
    suites.get(suite)
    run = RunFolder.create(request.out, _config(source), tuple(listeners))
    with (
        run.locked(),
        stop_on_signal() as stop_requested,
        logged_states(run),
        stopped_by_request(stop_requested, STOPPED),
    ):
        wanted = [shadow for number in range(1, request.count + 1) for shadow in _pair(source, run, number, request)]
        _make(run, source, wanted, request.workers, stop_requested)
        usable = _usable(run, wanted, keep_shadows=request.keep_shadows)
        finished = audit(_audit_request(request, source, suite, usable), listeners)
        if not request.keep_shadows:
            remove_shadows(run)
    return finished


def remove_shadows(run: RunFolder) -> None:
    """Deletes the shadow models that were trained with the forget records; those that never saw them stay."""
    for folder in (*run.root.glob("shadows/*/original"), *run.root.glob("shadows/*/unlearned")):
        shutil.rmtree(folder)


def make_shadow(wanted: ToShadow, listener: Listener) -> None:
    """Carries out one job; called in a process of the pool. What an earlier process finished is not done again."""
    if not _is_trained(wanted.train):
        train_model(wanted.train, listener)
    if wanted.request is not None:
        try:
            unlearn(wanted.request, (listener,))
        except DivergedError:  # for good, unlike a stop
            _drop_original(wanted)
            raise
        _drop_original(wanted)


def _drop_original(wanted: ToShadow) -> None:
    if not wanted.keep:
        shutil.rmtree(wanted.train.folder)


def _is_trained(wanted: ToTrain) -> bool:
    return (wanted.folder / "config.json").is_file()


def _config(source: Repeatable) -> dict[str, Any]:
    """Everything that decides the weights; more pairs may be asked for later."""
    settings = source.run.config
    shared = ("method", "settings", "axes", "training", "max_length", "retain")
    optional = ("before", "dtype")  # where the run has them
    return {
        "verb": "shadows",
        "run": str(source.run.root.resolve()),
        "benchmark": to_plain(source.choice),
        **{name: settings.get(name) for name in shared},
        **{name: settings[name] for name in optional if name in settings},
    }


def _pair(source: Repeatable, run: RunFolder, number: int, request: ShadowsRequest) -> list[ToShadow]:
    """What takes longer comes first."""
    place = run.root / "shadows" / str(number)
    model_seed = source.benchmark.seed + _OTHER_START + number
    original = ToTrain(source.benchmark, place / "original", False, model_seed=model_seed)
    retrained = ToTrain(source.benchmark, place / "retrained", True, model_seed=model_seed)
    again = source.request(str(original.folder), place / "unlearned", number, allow_overlap=request.allow_overlap)
    return [ToShadow(original, again, request.keep_shadows), ToShadow(retrained, None, keep=True)]


def _make(
    run: RunFolder,
    source: Repeatable,
    wanted: Sequence[ToShadow],
    workers: int | None,
    stop_requested: Callable[[], bool],
) -> None:
    """Runs what is missing; a shadow whose unlearning diverged is left out, any other failure ends the work."""
    every = [Job(f"shadow-{one.train.folder.parent.name}-{one.train.folder.name}", one) for one in wanted]
    jobs = [job for job in every if not job.argument.done]
    if not jobs:
        return
    training, unlearning = training_steps(jobs[0].argument.train), source.steps
    sizes = {job.name: training + (unlearning if job.argument.request is not None else 0) for job in every}
    unlearned = sum(job.argument.request is not None for job in jobs)
    cost = source.cost(len(jobs), unlearned, workers)
    name = f"train {len(jobs)} models and unlearn {unlearned} of them{cost}"

    def start(hear: Hear) -> Iterator[Outcome]:
        return run_jobs(jobs, make_shadow, workers=workers, hear=hear)

    for outcome in run_logged(run, name, jobs, sizes, start, stop_requested):
        if outcome.exit_code == DivergedError.exit_code:
            run.events.append("warning", text=f"{outcome.job} is left out: {outcome.trouble}")
        else:
            check_outcome(outcome)


def _usable(run: RunFolder, wanted: Sequence[ToShadow], *, keep_shadows: bool) -> list[ToShadow]:
    """All that were trained, and unlearned if they were to be; where these are too few, none stays that need not."""
    usable = [one for one in wanted if one.request is None or RunFolder.open(one.request.out).state == "done"]
    count = sum(one.request is not None for one in usable)
    if count >= MIN_MODELS:
        return usable
    fate = "are kept, and their weights hold them"
    if not keep_shadows:
        remove_shadows(run)
        fate = "were deleted, since their weights hold them"
    raise DivergedError(
        f"{count} shadow models were unlearned, and the attack takes {MIN_MODELS}: the method diverged on the others "
        f"in {run.root}. The models trained with the forget records {fate}. Take a larger --count, or a run whose "
        "method is steadier."
    )


def _audit_request(request: ShadowsRequest, source: Repeatable, suite: str, made: Sequence[ToShadow]) -> AuditRequest:
    """The run's last audit again, with shadow models; the audit itself knows the models of that one."""
    last = last_audit(source.run)
    policy = last.get("policy")
    return AuditRequest(
        target=request.target,
        benchmark=source.choice,
        suite=suite,
        forms=str(last.get("forms", "auto")),
        allow_overlap=request.allow_overlap,
        policy=build(VerdictPolicy, policy, where="the policy of the last audit") if policy else None,
        shadow_unlearned=tuple(str(one.request.out / "model") for one in made if one.request is not None),
        shadow_retrained=tuple(str(one.train.folder) for one in made if one.request is None),
    )
