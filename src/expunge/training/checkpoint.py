"""Checkpoints: safetensors and JSON only, one folder each, complete or absent.

``step-000050/`` holds ``weights.safetensors`` (trainable parameters), ``optimizer.safetensors``,
``method.safetensors`` and ``combiner.safetensors`` (their states), ``state.json``, and ``digests.json``, written last:
the SHA-256 of each of these files. No random state: the loop seeds every step anew.

A run resumes from the newest checkpoint whose files are intact. Checkpoints of older versions have no ``digests.json``;
they are accepted if they can be read.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from expunge.errors import InputError, VerificationError
from expunge.models.tensors import write_tensors
from expunge.storage import atomic
from expunge.storage.digests import file_digest

KEEP = 2
VERSION = 2  # of the layout
DIGESTS = "digests.json"
DIGESTS_VERSION = 1
TENSORS = ("weights", "optimizer", "method", "combiner")
FILES = (*(f"{name}.safetensors" for name in TENSORS), "state.json")


@dataclass
class Progress:
    """Everything but weights that a run needs to go on: a value, saved with every checkpoint.

    Attributes:
        step: optimizer steps done.
        method: the method's state.
        combiner: the combiner's state.
        stopper: the stopper's state.
        reason: why the run ended before its last step; None while it goes on.
        micro_batch: what memory made of the micro-batch; None for that of the settings.
    """

    step: int
    method: dict[str, Tensor]
    stopper: dict[str, list[float]]
    combiner: dict[str, Tensor] = field(default_factory=dict)
    reason: str | None = None
    micro_batch: int | None = None


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
        for name, tensors in zip(TENSORS, (weights, state, progress.method, progress.combiner), strict=True):
            write_tensors(temporary / f"{name}.safetensors", tensors)
        state_of_run: dict[str, Any] = {"step": progress.step, "stopper": progress.stopper, "reason": progress.reason}
        if progress.micro_batch is not None:
            state_of_run["micro_batch"] = progress.micro_batch
        atomic.write_json(temporary / "state.json", {"version": VERSION, **state_of_run})
        digests = {name: file_digest(temporary / name) for name in FILES}
        atomic.write_json(temporary / DIGESTS, {"version": DIGESTS_VERSION, "files": digests})
    for old in list_checkpoints(folder)[:-KEEP]:
        shutil.rmtree(old)


def list_checkpoints(folder: Path) -> list[Path]:
    """Returns complete checkpoints, oldest first."""
    return sorted(path for path in folder.glob("step-*") if path.is_dir())


class Search(NamedTuple):
    """Damaged checkpoints, newest first, and where the run goes on: None if no checkpoint is intact."""

    progress: Progress | None
    damaged: list[Path]


def load_newest(folder: Path, parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> Search:
    """Restores parameters and optimizer in place from the newest intact checkpoint; without one, nothing changes.

    Raises:
        InputError: a checkpoint of another version.
    """
    damaged: list[Path] = []
    for path in reversed(list_checkpoints(folder)):
        try:
            return Search(load(path, parameters, optimizer), damaged)
        except VerificationError:
            damaged.append(path)
    return Search(None, damaged)


def describe_damage(search: Search) -> str:
    """Returns the warning about damaged checkpoints."""
    names = ", ".join(path.name for path in search.damaged)
    subject = f"The checkpoint {names} is" if len(search.damaged) == 1 else f"The checkpoints {names} are"
    if search.progress is None:
        return f"{subject} damaged and no other checkpoint is left. The training starts again at step 0."
    return f"{subject} damaged. The training goes on from the checkpoint of step {search.progress.step}."


def load(path: Path, parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> Progress:
    """Restores parameters and optimizer in place.

    Raises:
        InputError: a checkpoint of another version.
        VerificationError: the checkpoint is damaged; nothing was changed.
    """
    stored = _read(path, parameters)
    _restore(stored.weights, parameters)
    for name, parameter in parameters.items():
        entries = {key.split("|", 1)[1]: value for key, value in stored.optimizer.items() if key.split("|")[0] == name}
        optimizer.state[parameter] = {
            # torch keeps its step counter as a plain tensor on the CPU
            key: value if key == "step" else like(value, parameter)
            for key, value in entries.items()
        }
    return stored.progress


def load_newest_weights(folder: Path, parameters: Mapping[str, nn.Parameter], *, before: int) -> int | None:
    """Restores the parameters alone, from the newest intact checkpoint of fewer than ``before`` steps.

    Returns:
        The number of its steps, or None if there is no such checkpoint; then nothing was changed.
    """
    for path in reversed(list_checkpoints(folder)):
        if _steps_of(path) < before:
            try:
                stored = _read(path, parameters)
            except VerificationError:
                continue
            _restore(stored.weights, parameters)
            return stored.progress.step
    return None


class _Stored(NamedTuple):
    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    progress: Progress


def _read(path: Path, parameters: Mapping[str, nn.Parameter]) -> _Stored:
    _verify(path)
    try:
        state: dict[str, Any] = atomic.read_json(path / "state.json")
        version = state["version"]
        if version == VERSION:
            tensors = {name: load_file(path / f"{name}.safetensors") for name in TENSORS}
            progress = Progress(
                step=int(state["step"]),
                method=tensors["method"],
                combiner=tensors["combiner"],
                stopper=state["stopper"],
                reason=state["reason"],
                micro_batch=state.get("micro_batch"),
            )
            fits = all(tensors["weights"][name].shape == parameter.shape for name, parameter in parameters.items())
    except (SafetensorError, OSError, InputError, LookupError, TypeError, ValueError) as error:
        raise _damaged(path) from error
    if version != VERSION:
        raise InputError(
            f"The checkpoint {path.name} is of version {version} and this is version {VERSION}; remove "
            "the run's checkpoints to begin anew."
        )
    if not fits or progress.step != _steps_of(path):
        raise _damaged(path)
    return _Stored(tensors["weights"], tensors["optimizer"], progress)


def _verify(path: Path) -> None:
    """Compares the files with their digests, if the checkpoint has any."""
    if not (path / DIGESTS).exists():
        return
    try:
        files = dict(atomic.read_json(path / DIGESTS)["files"])
        intact = files == {name: file_digest(path / name) for name in FILES}
    except (InputError, LookupError, TypeError, ValueError) as error:
        raise _damaged(path) from error
    if not intact:
        raise _damaged(path)


def _damaged(path: Path) -> VerificationError:
    return VerificationError(f"The checkpoint {path.name} is damaged. Remove it; the same command then goes on.")


@torch.no_grad()
def _restore(weights: Mapping[str, Tensor], parameters: Mapping[str, nn.Parameter]) -> None:
    for name, parameter in parameters.items():
        parameter.copy_(like(weights[name], parameter))


def _steps_of(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


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
