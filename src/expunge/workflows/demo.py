"""The demonstration: train an original and an exact retrain on invented persons, unlearn, audit, report."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

from expunge.benchmarks.fictional import Fictional
from expunge.config import Choice
from expunge.data.record import Record
from expunge.data.tokenize import encode_all, pad_id
from expunge.exact.retrain import FitTask, Retrain
from expunge.methods.preset import Axes, Training
from expunge.models.load import build_model, save_model
from expunge.storage.run import harden_umask
from expunge.workflows.unlearn import Finished, Request, unlearn

MAX_LENGTH = 128  # tokens; every record of the benchmark is shorter
# Tuned on seed 1 of the smoke preset; see docs/log.md.
SETTINGS = {"learning_rate": 1e-3, "epochs": 10.0, "batch_size": 16, "warmup": 0.0, "retain_weight": 1.0}


def demo(
    out: Path, *, preset: str = "smoke", seed: int = 0, method: str = "npo", listeners: Sequence[Any] = ()
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
    benchmark = Fictional(preset=preset, seed=seed)  # type: ignore[arg-type]
    data = out / "data"
    if not (data / "manifest.json").is_file():
        benchmark.write(data)
    train_pair(benchmark, out)
    return unlearn(
        Request(
            model=str(out / "original"),
            forget=data / "forget.jsonl",
            retain=data / "retain.jsonl",
            holdout=data / "holdout.jsonl",
            retrained=(str(out / "retrained"),),
            evaluation={"world_facts": data / "world_facts.jsonl"},
            method=method,
            settings=SETTINGS if method == "npo" else {},
            max_length=MAX_LENGTH,
            out=out / "run",
        ),
        listeners,
    )


def train_pair(benchmark: Fictional, out: Path) -> None:
    """Trains the original and the retrained model side by side, each in a process with one thread."""
    missing = [role for role in ("original", "retrained") if not (out / role / "config.json").is_file()]
    if not missing:
        return
    # A fresh interpreter for each: forking a process that has used torch's threads can hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=min(len(missing), os.cpu_count() or 1), mp_context=context) as pool:
        jobs = [pool.submit(train_model, benchmark, out / role, role == "retrained") for role in missing]
        for job in jobs:
            job.result()


def train_model(benchmark: Fictional, folder: Path, without_forget: bool) -> None:
    """Trains one model of the benchmark from scratch and saves it.

    The retrained model has the same start, order and steps; the forget rows are left out of their batches.
    """
    harden_umask()
    torch.set_num_threads(1)
    splits = benchmark.splits()
    tokenizer = benchmark.tokenizer()
    model = build_model(benchmark.model_config(tokenizer), benchmark.seed)
    kept: list[Record] = [row for name in benchmark.training_splits if name != "forget" for row in splits[name]]
    keep, forget = (encode_all(rows, tokenizer, max_length=MAX_LENGTH).examples for rows in (kept, splits["forget"]))
    recipe = benchmark.recipe
    Retrain().fit(
        FitTask(
            model=model,
            # The order of rows is the same for both models: kept records first, forget records after them.
            keep=keep if without_forget else [*keep, *forget],
            leave_out=forget if without_forget else (),
            axes=Axes(optimizer=Choice("adamw", {"beta2": 0.95})),
            training=Training(
                learning_rate=recipe.learning_rate,
                epochs=recipe.epochs,
                batch_size=recipe.batch_size,
                micro_batch=recipe.batch_size,
                warmup=recipe.warmup_share,
                weight_decay=recipe.weight_decay,
                max_grad_norm=recipe.max_grad_norm,
                checkpoint_every=0,
                seed=benchmark.seed,
            ),
            pad_id=pad_id(tokenizer),
        )
    )
    save_model(model.eval(), tokenizer, folder, replace=True)
