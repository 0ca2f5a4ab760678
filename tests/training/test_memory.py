"""A training step that runs out of memory is repeated with smaller micro-batches, and gives what those give."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from expunge.cli.output import failure
from expunge.config import Choice
from expunge.errors import InterruptedRunError, ResourceError
from expunge.methods.preset import Axes
from expunge.training.loop import train
from expunge.training.memory import largest_piece
from expunge.training.step import Step
from tests.support.params import few
from tests.training.jobs import TRAINING, flat, job, weights_after

ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory."),
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
]


@pytest.fixture
def limited(monkeypatch):
    """Makes a forward pass fail above a number of records, and returns the sizes that were tried."""
    tried: list[int] = []

    def plant(most: int, error: Exception, spared: int = 0):
        forward = Step.forward

        def limited_forward(self, batches, *arguments, **keywords):
            size = len(batches["forget"].input_ids_BT)
            tried.append(size)
            if size > most and len(tried) > spared:
                raise error
            return forward(self, batches, *arguments, **keywords)

        monkeypatch.setattr(Step, "forward", limited_forward)
        return tried

    return plant


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_the_result_is_that_of_the_smaller_micro_batch(limited, error):
    small = weights_after(training=replace(TRAINING, micro_batch=2))
    tried = limited(2, error)
    told: list[str] = []
    changed: list[tuple[int, int]] = []
    found = weights_after(warn=told.append, micro_batch_changed=lambda *change: changed.append(change))
    assert torch.equal(found, small)
    assert changed == [(1, 4), (1, 2)]
    assert "step 1. The step is repeated with micro-batches of 2 records in place of 4" in told[1]
    assert sum(size > 2 for size in tried) == 2  # later steps begin with what fits


@pytest.mark.parametrize("name", few(["none", "sam"], 0, 1))
def test_a_step_that_failed_halfway_leaves_nothing_behind(limited, name):
    """The second pass of a step fails: the gradient of the first must not count twice, nor a moved weight stay."""
    axes = Axes(perturb=Choice(name))
    size = {"none": 2, "sam": 4}[name]
    expected = weights_after(axes=axes, training=replace(TRAINING, micro_batch=size // 2))
    limited(size // 2, ERRORS[0], spared=2)
    found = weights_after(axes=axes, training=replace(TRAINING, micro_batch=size))
    assert torch.equal(found, expected)


def test_a_single_record_that_does_not_fit_ends_with_exit_code_5(limited):
    limited(0, ERRORS[2])
    with pytest.raises(RuntimeError) as caught:
        train(job())
    assert failure(caught.value).exit_code == 5


def test_a_launch_names_the_flag_to_lower(limited, monkeypatch):
    """Its other processes wait inside the step, so nothing is repeated."""
    tried = limited(2, ERRORS[0])
    monkeypatch.setattr("accelerate.Accelerator.num_processes", 2)
    with pytest.raises(ResourceError, match=r"step 1 with micro-batches of 4 .* --set micro_batch=2 and another --out"):
        train(job())
    assert max(tried) == 4
    assert len([size for size in tried if size > 2]) == 1


@pytest.mark.parametrize(
    ("batch", "micro_batch", "ranks", "size"), [(8, 8, 1, 8), (8, 8, 2, 4), (8, 3, 1, 3), (7, 2, 2, 2), (3, 8, 4, 1)]
)
def test_the_largest_pass_of_a_batch(batch, micro_batch, ranks, size):
    assert largest_piece(batch, micro_batch, ranks) == size
    streams = job(training=replace(TRAINING, batch_size=batch, micro_batch=micro_batch)).streams()
    data = [streams.step_data(0, rank=rank, ranks=ranks).micro_batches for rank in range(ranks)]
    assert max(len(piece["forget"].input_ids_BT) for pieces in data for piece in pieces) == size


def test_other_errors_are_not_repeated(limited):
    tried = limited(2, RuntimeError("another"))
    with pytest.raises(RuntimeError, match="another"):
        train(job())
    assert len(tried) == 1


def test_a_resumed_run_keeps_the_smaller_micro_batch(limited, tmp_path, monkeypatch):
    small = weights_after(training=replace(TRAINING, micro_batch=2))
    with monkeypatch.context():
        limited(2, ERRORS[0])
        with pytest.raises(InterruptedRunError):
            train(job(checkpoints=tmp_path, stop_requested=lambda: True))
    monkeypatch.undo()  # there is memory enough now
    resumed = job(checkpoints=tmp_path)
    train(resumed)
    assert torch.equal(flat(resumed.model), small)
