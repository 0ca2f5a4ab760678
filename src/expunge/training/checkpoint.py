"""Checkpoints: safetensors and JSON only, one folder each, complete or absent.

``step-000050/`` holds ``weights.safetensors`` (trainable parameters), ``optimizer.safetensors``,
``method.safetensors`` and ``combiner.safetensors`` (their states) and ``state.json``. No random state: the loop seeds
every step anew.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from expunge.errors import InputError
from expunge.models.tensors import write_tensors
from expunge.storage import atomic

KEEP = 2
VERSION = 2  # of the layout


@dataclass
class Progress:
    """Everything but weights that a run needs to go on: a value, saved with every checkpoint.

    Attributes:
        step: optimizer steps done.
        method: the method's state.
        combiner: the combiner's state.
        stopper: the stopper's state.
        reason: why the run ended before its last step; None while it goes on.
    """

    step: int
    method: dict[str, Tensor]
    stopper: dict[str, list[float]]
    combiner: dict[str, Tensor] = field(default_factory=dict)
    reason: str | None = None


def save(
    folder: Path,
    progress: Progress,
    parameters: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    *,
    write: bool = True,
) -> None:
    """Writes a checkpoint and removes all but the newest ``KEEP``.

    Every rank must call it, since sharded tensors are gathered; only the one with ``write`` touches the disk.
    """
    weights = {name: whole(parameter.detach()) for name, parameter in parameters.items()}
    state = _optimizer_tensors(parameters, optimizer)
    if not write:
        return
    target = folder / f"step-{progress.step:06d}"
    with atomic.folder(target, replace=True) as temporary:
        write_tensors(temporary / "weights.safetensors", weights)
        write_tensors(temporary / "optimizer.safetensors", state)
        write_tensors(temporary / "method.safetensors", progress.method)
        write_tensors(temporary / "combiner.safetensors", progress.combiner)
        state_of_run = {"step": progress.step, "stopper": progress.stopper, "reason": progress.reason}
        atomic.write_json(temporary / "state.json", {"version": VERSION, **state_of_run})
    for old in list_checkpoints(folder)[:-KEEP]:
        shutil.rmtree(old)


def list_checkpoints(folder: Path) -> list[Path]:
    """Returns complete checkpoints, oldest first."""
    return sorted(path for path in folder.glob("step-*") if path.is_dir())


def load(path: Path, parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> Progress:
    """Restores parameters and optimizer in place.

    Raises:
        InputError: a checkpoint of another version.
    """
    state: dict[str, Any] = atomic.read_json(path / "state.json")
    if state.get("version") != VERSION:
        raise InputError(
            f"The checkpoint {path.name} is of version {state.get('version')} and this is version {VERSION}; remove "
            "the run's checkpoints to begin anew."
        )
    load_weights(path, parameters)
    stored = load_file(path / "optimizer.safetensors")
    for name, parameter in parameters.items():
        entries = {key.split("|", 1)[1]: value for key, value in stored.items() if key.split("|", 1)[0] == name}
        optimizer.state[parameter] = {
            # torch keeps its step counter as a plain tensor on the CPU
            key: value if key == "step" else like(value, parameter)
            for key, value in entries.items()
        }
    method = load_file(path / "method.safetensors")
    return Progress(
        step=int(state["step"]),
        method=method,
        combiner=load_file(path / "combiner.safetensors"),
        stopper=state["stopper"],
        reason=state["reason"],
    )


@torch.no_grad()
def load_weights(path: Path, parameters: Mapping[str, nn.Parameter]) -> None:
    """Restores the parameters alone."""
    stored = load_file(path / "weights.safetensors")
    for name, parameter in parameters.items():
        parameter.copy_(like(stored[name], parameter))


def whole(tensor: Tensor) -> Tensor:
    """Returns the full tensor on the CPU, gathered from all ranks if it is sharded."""
    if isinstance(tensor, DTensor):
        tensor = tensor.full_tensor()
    return tensor.detach().cpu().contiguous().clone()


def like(tensor: Tensor, target: Tensor) -> Tensor:
    """Returns a full tensor placed (and sharded) as ``target`` is."""
    tensor = tensor.to(target.device)
    if isinstance(target, DTensor):
        return distribute_tensor(tensor, target.device_mesh, target.placements)
    return tensor


def _optimizer_tensors(parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{name}|{key}": whole(torch.as_tensor(value))
        for name, parameter in parameters.items()
        for key, value in optimizer.state.get(parameter, {}).items()
        if value is not None
    }
