"""The demonstration: train an original and an exact retrain on invented persons, unlearn, audit, report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from expunge.benchmarks.base import FORGET
from expunge.benchmarks.fictional import MAX_LENGTH, Fictional
from expunge.config import Choice
from expunge.data.tokenize import encode_all, pad_id
from expunge.errors import (
    DivergedError,
    ExpungeError,
    InputError,
    InterruptedRunError,
    ResourceError,
    VerificationError,
)
from expunge.exact.retrain import FitTask, Retrain
from expunge.executors.local import Job, Outcome, run_jobs
from expunge.methods.preset import Axes, Training
from expunge.models.load import build_model, save_model
from expunge.registry import benchmarks
from expunge.storage import atomic
from expunge.storage.events import Event, Listener, showing
from expunge.storage.plain import from_json, to_json
from expunge.storage.progress import SILENT, Phases
from expunge.storage.run import harden_umask
from expunge.training.loop import total_steps
from expunge.workflows.finished import Finished
from expunge.workflows.hearing import Heard
from expunge.workflows.request import Request
from expunge.workflows.unlearn import unlearn

ROLES = ("original", "retrained")
# Splits of the benchmark that the audit reads beside forget, retain and holdout.
MEASURED = ("world_facts", "neighbours_1", "neighbours_2", "neighbours_far", "classification")
# Tuned on seed 1 of the smoke preset; see docs/log.md.
SETTINGS = {"learning_rate": 1e-3, "batch_size": 16, "warmup": 0.0, "retain_weight": 1.0}
EPOCHS = {"smoke": 10.0, "demo": 8.0}  # 20 and 24 steps
MORE_EPOCHS = 4.0  # of all other presets


def demo(
    out: Path, *, preset: str = "demo", seed: int = 0, method: str = "npo", listeners: Sequence[Any] = ()
) -> Finished:
    """Runs everything below ``out``; a finished part is not done again.

    Args:
        out: folder for data, models and the run.
        preset: of the benchmark ``fictional``.
        seed: of benchmark and training.
        method: unlearning method.
        listeners: called with each event of the run.
    """
    harden_umask()
    benchmark: Fictional = Choice("fictional", {"preset": preset, "seed": seed}).create(benchmarks)
    data = out / "data"
    _write_data(benchmark, data)
    train_pair(benchmark, out, showing(listeners))
    return unlearn(
        Request(
            model=str(out / "original"),
            forget=data / "forget.jsonl",
            retain=data / "retain.jsonl",
            holdout=data / "holdout.jsonl",
            retrained=(str(out / "retrained"),),
            evaluation={split: data / f"{split}.jsonl" for split in MEASURED if benchmark.splits().get(split)},
            method=method,
            settings=unlearning_settings(preset) if method == "npo" else {},
            max_length=MAX_LENGTH,
            out=out / "run",
        ),
        listeners,
    )


def unlearning_settings(preset: str) -> dict[str, float]:
    """Returns NPO's settings in the demonstration; larger presets see their forget records less often."""
    return {**SETTINGS, "epochs": EPOCHS.get(preset, MORE_EPOCHS)}


def train_pair(benchmark: Fictional, out: Path, phases: Phases = SILENT) -> None:
    """Trains the original and the retrained model side by side, each in a process with one thread."""
    missing = [role for role in ROLES if not (out / role / "config.json").is_file()]
    jobs = [Job(f"train the {role} model", ToTrain(benchmark, out / role, role == "retrained")) for role in missing]
    if not jobs:
        return
    sizes = {job.name: training_steps(job.argument) for job in jobs}
    name = "train the original and the retrained model" if len(jobs) > 1 else jobs[0].name
    with phases.phase(name, sum(sizes.values())) as steps:
        heard = Heard(steps, sizes)
        for outcome in run_jobs(jobs, train_model, hear=heard.hear):
            check_outcome(outcome)
            heard.ended(outcome.job)


def check_outcome(outcome: Outcome) -> None:
    """Raises what a job met, under its own exit code: without its model there is no going on."""
    if outcome.trouble is not None:
        kept = "What is finished is kept; the same command goes on."
        raise error_of(outcome.exit_code)(f"{outcome.job} failed: {outcome.trouble.removesuffix('.')}. {kept}")


def error_of(exit_code: int) -> type[ExpungeError]:
    """The kind of error that an exit code stands for; the base of all where it stands for a bug."""
    known = (InputError, DivergedError, VerificationError, ResourceError, InterruptedRunError)
    return next((error for error in known if error.exit_code == exit_code), ExpungeError)


def _write_data(benchmark: Fictional, folder: Path) -> None:
    """Writes the records, or refuses a folder with those of another seed or preset."""
    path = folder / "manifest.json"
    if not path.is_file():
        benchmark.write(folder)
    elif atomic.read_json(path) != from_json(to_json(benchmark.manifest())):
        raise InputError(
            f"{folder.parent} holds the demonstration of another preset, seed or version; choose another --out."
        )


class ToTrain(NamedTuple):
    """A model to train: of which benchmark, where it goes, and whether the forget rows are left out.

    ``left_out`` names the training splits that the retrained model lacks. It is the same for both models of a pair,
    since the order of rows depends on it. ``model_seed`` draws first weights and order; None for the benchmark's.
    """

    benchmark: Fictional
    folder: Path
    without_forget: bool
    left_out: tuple[str, ...] = (FORGET,)
    model_seed: int | None = None


def training_steps(wanted: ToTrain) -> int:
    """Returns the optimizer steps of a training; left out rows keep their place, so that all models take as many."""
    return total_steps(_training(wanted), len(wanted.benchmark.training()))


def _training(wanted: ToTrain) -> Training:
    """Numbers of the loop."""
    recipe = wanted.benchmark.recipe
    return Training(
        learning_rate=recipe.learning_rate,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        micro_batch=recipe.batch_size,
        warmup=recipe.warmup_share,
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        checkpoint_every=0,
        seed=wanted.benchmark.seed if wanted.model_seed is None else wanted.model_seed,
    )


def train_model(wanted: ToTrain, listener: Listener = lambda event: None) -> None:
    """Trains one model of the benchmark from scratch and saves it.

    The retrained model has the same start, order and steps; the forget rows are left out of their batches.

    Args:
        wanted: which model.
        listener: called with an event after each step.
    """
    harden_umask()
    torch.set_num_threads(1)
    benchmark, folder, without_forget, left_out, _ = wanted
    training = _training(wanted)
    splits = benchmark.splits()
    tokenizer = benchmark.tokenizer()
    model = build_model(benchmark.model_config(tokenizer), training.seed)
    kept, forgotten = (
        [row for name in benchmark.training_splits if (name in left_out) is gone for row in splits.get(name, ())]
        for gone in (False, True)
    )
    keep, forget = (encode_all(rows, tokenizer, max_length=MAX_LENGTH).examples for rows in (kept, forgotten))
    phases = showing((listener,))
    phases.begin("train", training_steps(wanted))
    Retrain().fit(
        FitTask(
            model=model,
            # The order of rows is the same for both models: kept records first, forget records after them.
            keep=keep if without_forget else [*keep, *forget],
            leave_out=forget if without_forget else (),
            axes=Axes(optimizer=Choice("adamw", {"beta2": 0.95})),
            training=training,
            pad_id=pad_id(tokenizer),
            listener=lambda report: listener(Event(0, "", "metric", {"step": report.step})),
        )
    )
    save_model(model.eval(), tokenizer, folder, replace=True)
