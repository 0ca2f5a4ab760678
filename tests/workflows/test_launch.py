"""The same command in several processes: ``accelerate launch`` with DDP, ``torchrun`` with FSDP2."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from expunge.errors import InputError
from expunge.models.load import load_model
from expunge.reports.record import read_record
from expunge.storage.events import read_events
from expunge.training.distributed import launched_strategy
from tests.workflows.test_unlearn import arguments

TOLERANCE = 1e-4  # AdamW turns rounding of a tiny gradient into a visible step
DDP = ["accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no"]
FSDP = ["torch.distributed.run", "--nproc_per_node", "2"]


def launch(launcher: list[str], *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    flag = "--main_process_port" if launcher[0].startswith("accelerate") else "--master_port"
    return subprocess.run(
        [sys.executable, "-m", launcher[0], *launcher[1:], flag, str(port), "-m", "expunge", *command],
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "GLOO_SOCKET_IFNAME": "lo",
            "ACCELERATE_USE_CPU": "true",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def weights(run: Path) -> dict[str, torch.Tensor]:
    return dict(load_model(run / "model").model.requires_grad_(False).named_parameters())


@pytest.fixture(scope="module")
def alone(world, tmp_path_factory) -> dict[str, torch.Tensor]:
    """What one process ends with."""
    out = tmp_path_factory.mktemp("alone") / "run"
    done = subprocess.run(
        [sys.executable, "-m", "expunge", *arguments(world, out, "--no-audit")], check=False, timeout=300
    )
    assert done.returncode == 0
    return weights(out)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "environment"), [(DDP, {}), (FSDP, {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"})]
)
def test_two_processes_unlearn_what_one_does(world, alone, tmp_path, launcher, environment):
    done = launch(launcher, *arguments(world, tmp_path / "run"), **environment)
    assert done.returncode == 0, done.stderr[-3000:]
    together = weights(tmp_path / "run")
    assert together.keys() == alone.keys()
    assert max(float((together[name] - alone[name]).abs().max()) for name in alone) < TOLERANCE
    events = read_events(tmp_path / "run" / "events.jsonl")
    assert [event.data["step"] for event in events if event.kind == "metric"] == list(range(1, 17))
    assert read_record(tmp_path / "run" / "record.json").verdict["word"] in ("not verifiable", "damaged")
    assert done.stdout.count("report ") == 1  # one process speaks


@pytest.mark.slow
def test_lora_and_a_diverged_run_are_gathered_from_shards(world, tmp_path):
    shards = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
    done = launch(FSDP, *arguments(world, tmp_path / "lora", "--no-audit", "--lora", "4"), **shards)
    assert done.returncode == 0, done.stderr[-3000:]
    before = dict(load_model(world.model).model.named_parameters())
    after = weights(tmp_path / "lora")
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert changed
    assert all("proj" in name for name in changed)
    launch(FSDP, *arguments(world, tmp_path / "diverged", "--set", "runaway=1e-9"), **shards)
    kept = weights(tmp_path / "diverged")
    assert all(torch.equal(before[name], kept[name]) for name in before)


@pytest.mark.parametrize(
    ("environment", "says"),
    [({"ACCELERATE_USE_DEEPSPEED": "true"}, "DeepSpeed"), ({"ACCELERATE_USE_FSDP": "true"}, "fsdp_version 2")],
)
def test_launches_that_the_loop_does_not_know_are_refused(monkeypatch, environment, says):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=says):
        launched_strategy()
