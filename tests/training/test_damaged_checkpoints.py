"""Damaged checkpoints are found and left out; the run ends in the same weights as without the damage."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from expunge.errors import InterruptedRunError
from expunge.training import checkpoint
from expunge.training.loop import train
from tests.support.params import few
from tests.training.jobs import job, weights_after


@pytest.fixture(scope="module")
def whole():
    return weights_after()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The checkpoints of steps 2 and 3 of a run that was stopped after three steps."""
    calls: list[int] = []
    with pytest.raises(InterruptedRunError):
        train(job(checkpoints=tmp_path, stop_requested=lambda: bool(calls.append(1)) or len(calls) == 3))
    assert [path.name for path in checkpoint.list_checkpoints(tmp_path)] == ["step-000002", "step-000003"]
    return tmp_path


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def damages():
    names = (*checkpoint.FILES, checkpoint.DIGESTS)
    return [(act, name) for act in (truncate, empty, flip, Path.unlink) for name in names][:-1]


@pytest.mark.parametrize(("act", "name"), few(damages(), 0, 6, 12, 18, 10, 4))
def test_a_damaged_checkpoint_is_left_out(folder, whole, act, name):
    act(checkpoint.list_checkpoints(folder)[-1] / name)
    told: list[str] = []
    assert torch.equal(weights_after(checkpoints=folder, warn=told.append), whole)
    assert told == ["The checkpoint step-000003 is damaged. The training goes on from the checkpoint of step 2."]


def test_without_an_intact_checkpoint_the_training_starts_again(folder, whole):
    for path in checkpoint.list_checkpoints(folder):
        flip(path / "weights.safetensors")
    told: list[str] = []
    assert torch.equal(weights_after(checkpoints=folder, warn=told.append), whole)
    assert len(told) == 1
    assert "step-000003, step-000002 are damaged" in told[0]
    assert "starts again at step 0" in told[0]


@pytest.mark.parametrize("act", [None, truncate, empty])
def test_a_checkpoint_of_an_older_version_has_no_digests(folder, whole, act):
    last = checkpoint.list_checkpoints(folder)[-1]
    (last / checkpoint.DIGESTS).unlink()
    if act:
        act(last / "optimizer.safetensors")
    told: list[str] = []
    assert torch.equal(weights_after(checkpoints=folder, warn=told.append), whole)
    assert len(told) == (act is not None)


def test_going_back_leaves_out_damaged_checkpoints_too(folder):
    made = job()
    flip(folder / "step-000003" / "weights.safetensors")
    parameters = {f"model.{name}": parameter for name, parameter in made.model.named_parameters()}
    assert checkpoint.load_newest_weights(folder, parameters, before=9) == 2
    assert checkpoint.load_newest_weights(folder, parameters, before=2) is None
