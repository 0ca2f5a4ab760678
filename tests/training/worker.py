"""One of several processes of a training run; started by test_distributed.py, writes what it ended with."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from expunge.config import Choice
from expunge.methods.npo import NPO
from expunge.methods.preset import Axes, Training
from expunge.methods.rmu import RMU
from expunge.registry import retain_terms
from expunge.training import checkpoint
from expunge.training.distributed import accelerator
from expunge.training.loop import Job, train
from expunge.training.references import build_references
from expunge.training.step import view_specs
from tests.support.tiny import examples, llama

LAYER = Choice("hidden", {"layers": "0"})
LOSSES = {
    "npo": (NPO(), Axes(retain_term=Choice("kl"))),
    "rmu": (RMU(layer="0", coefficient=2.0), Axes(retain_term=LAYER)),  # no gradient above the first block
    "rmu_sam": (RMU(layer="0", coefficient=2.0), Axes(retain_term=Choice("nll"), perturb=Choice("sam"))),
    "projection": (NPO(), Axes(retain_term=Choice("kl"), combiner=Choice("projection"))),
    "primal_dual": (NPO(), Axes(retain_term=Choice("nll"), combiner=Choice("primal_dual", {"initial": 1.0}))),
    "sam": (NPO(), Axes(retain_term=Choice("kl"), perturb=Choice("sam", {"rho": 0.05}))),
    "latent": (NPO(), Axes(retain_term=Choice("kl"), perturb=Choice("latent", {"layer": "0", "steps": 2}))),
}


def run(folder: Path, strategy: str, optimizer: str, kind: str, halt_after: int = 0, loss: str = "npo") -> None:
    """Trains three steps on a tied Llama; ``halt_after`` stops earlier with a checkpoint."""
    torch.set_num_threads(1)
    model = llama(tied=True).requires_grad_(True)
    views = {"forget": examples(10, seed=1), "retain": examples(14, seed=2)}
    method, axes = LOSSES[loss]
    retain = axes.retain_term.create(retain_terms)
    specs = view_specs(method, retain)
    references = build_references(model, specs, views, kind=kind, pad_id=0, batch_size=4)
    reports: list[dict[str, float]] = []
    job = Job(
        model=model,
        method=method,
        retain_term=retain,
        axes=replace(axes, optimizer=Choice(optimizer)),
        training=Training(
            learning_rate=0.05 if optimizer == "sgd" else 1e-3,
            epochs=2,
            max_steps=3,
            batch_size=7,
            micro_batch=2,
            warmup=0.0,
            checkpoint_every=1,
        ),
        examples=views,
        references=references,
        checkpoints=folder / "checkpoints",
        listener=lambda report: reports.append({**report.terms, "grad_norm": report.grad_norm}),
        stop_requested=lambda: bool(halt_after) and len(reports) >= halt_after,
    )
    helper = accelerator(model, strategy, partial=job.partial)
    try:
        train(job, helper)
    except Exception as error:
        if type(error).__name__ != "InterruptedRunError":
            raise
    weights = {name: checkpoint.whole(parameter) for name, parameter in model.named_parameters()}
    if helper.is_main_process:
        save_file(weights, folder / "weights.safetensors")
        (folder / "reports.json").write_text(json.dumps(reports))
    helper.end_training()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def come_late(seconds: float) -> None:
    """Makes this process look for checkpoints after the others have had time to write one."""
    look = checkpoint.list_checkpoints

    def slowly(folder: Path) -> list[Path]:
        time.sleep(seconds)
        return look(folder)

    checkpoint.list_checkpoints = slowly


if __name__ == "__main__":
    if os.environ.get("LATE_RANK") == os.environ.get("RANK", "0"):
        come_late(3.0)
    run(Path(sys.argv[1]), *sys.argv[2:5], *map(int, sys.argv[5:6]), *sys.argv[6:7])
