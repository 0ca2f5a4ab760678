"""Two real processes on gloo train what one process trains."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TOLERANCE = {"sgd": 1e-5, "adamw": 2e-4}  # AdamW turns rounding of a tiny gradient into a visible step


def launch(folder: Path, processes: int, *arguments: str) -> None:
    folder.mkdir(exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
        "GLOO_SOCKET_IFNAME": "lo",
    }
    started = []
    for rank in range(processes):
        environment = dict(shared)
        if processes > 1:
            environment |= {
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "WORLD_SIZE": str(processes),
                "LOCAL_WORLD_SIZE": str(processes),
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
            }
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "tests.training.worker", str(folder), *arguments],
                env=environment,
                cwd=ROOT,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        errors = [process.communicate(timeout=300)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    assert all(process.returncode == 0 for process in started), "\n".join(error[-1500:] for error in errors)


def assert_same(left: Path, right: Path, tolerance: float) -> None:
    reports = [json.loads((folder / "reports.json").read_text()) for folder in (left, right)]
    assert len(reports[0]) == len(reports[1])
    for one, other in zip(*reports, strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-6)
    assert_same_weights(left, right, tolerance)


def assert_same_weights(left: Path, right: Path, tolerance: float) -> None:
    weights = [load_file(folder / "weights.safetensors") for folder in (left, right)]
    assert weights[0].keys() == weights[1].keys()
    for name, value in weights[0].items():
        assert torch.allclose(value, weights[1][name], atol=tolerance), name


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Callable[..., Path]:
    """What one process trains, once for each set of arguments."""

    @cache
    def train(*arguments: str) -> Path:
        folder = tmp_path_factory.mktemp("one")
        launch(folder, 1, "ddp", *arguments)
        assert len(json.loads((folder / "reports.json").read_text())) == 3
        return folder

    return train


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])  # on a CPU accelerate runs DDP for both: only the launch differs
def test_two_processes_train_what_one_does(alone, tmp_path, strategy):
    launch(tmp_path / "two", 2, strategy, "sgd", "frozen")
    assert_same(alone("sgd", "frozen"), tmp_path / "two", TOLERANCE["sgd"])


def test_a_process_that_comes_late_does_not_take_the_first_checkpoint_for_a_stopped_run(tmp_path, monkeypatch):
    """It would go on from there without the others, which wait for it to write: for ever."""
    monkeypatch.setenv("LATE_RANK", "1")
    launch(tmp_path / "late", 2, "ddp", "sgd", "frozen")
    assert len(json.loads((tmp_path / "late" / "reports.json").read_text())) == 3


@pytest.mark.parametrize("kind", ["frozen", "cached"])
def test_adamw_and_both_references(alone, tmp_path, kind):
    launch(tmp_path / "two", 2, "ddp", "adamw", kind)
    assert_same(alone("adamw", "frozen"), tmp_path / "two", TOLERANCE["adamw"])


@pytest.mark.parametrize("processes", [1, 2])
def test_halted_run_goes_on_with_the_same_or_fewer_processes(alone, tmp_path, processes):
    launch(tmp_path / "two", 2, "ddp", "adamw", "frozen", "2")
    launch(tmp_path / "two", processes, "ddp", "adamw", "frozen")  # reports the steps after the halt
    assert_same_weights(alone("adamw", "frozen"), tmp_path / "two", TOLERANCE["adamw"])


@pytest.mark.parametrize("loss", ["rmu", "rmu_sam", "projection", "primal_dual", "sam", "latent"])
def test_two_processes_find_the_same_direction(alone, tmp_path, loss):
    """Weights without a gradient, two gradients a step, and what an adversary moved: all as one process has it."""
    launch(tmp_path / "two", 2, "ddp", "sgd", "frozen", "0", loss)
    assert_same(alone("sgd", "frozen", "0", loss), tmp_path / "two", TOLERANCE["sgd"])
