"""A full disk: what the system and safetensors say of it becomes advice, and nothing is left half written."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from expunge.errors import ResourceError
from expunge.models import tensors as module
from expunge.models.tensors import tensor_errors, write_tensors
from expunge.storage import atomic
from expunge.training import checkpoint
from tests.models.conftest import build

WEIGHTS = {"weight": torch.arange(6.0).reshape(2, 3)}
SAID = [
    OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    OSError(errno.EFBIG, os.strerror(errno.EFBIG)),
    SafetensorError("Error while serializing: I/O error: File too large (os error 27)"),
    OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
    SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    SafetensorError("Error while serializing: I/O error: Disk quota exceeded (os error 122)"),
]


@pytest.fixture
def full(monkeypatch):
    """Makes safetensors write half a file and then fail as on a full disk."""

    def plant(error: Exception) -> None:
        def save_file(tensors, path):
            Path(path).write_bytes(b"half")
            raise error

        monkeypatch.setattr(module, "save_file", save_file)

    return plant


def test_what_is_written_is_read_back(tmp_path):
    write_tensors(tmp_path / "weights.safetensors", WEIGHTS)
    assert torch.equal(load_file(tmp_path / "weights.safetensors")["weight"], WEIGHTS["weight"])


@pytest.mark.parametrize("error", SAID, ids=str)
def test_a_full_disk_is_said_in_words(tmp_path, full, error):
    full(error)
    with pytest.raises(ResourceError, match="was full|is full|largest size") as caught:
        write_tensors(tmp_path / "weights.safetensors", WEIGHTS)
    assert caught.value.exit_code == 5
    assert "again" in str(caught.value)


def test_other_errors_stay_what_they_are(tmp_path):
    for error in (SafetensorError("header too large"), OSError(errno.EIO, "broken")):
        with pytest.raises(type(error)) as caught, tensor_errors(tmp_path):
            raise error
        assert caught.value is error


SCRIPT = """
import sys
from pathlib import Path
from expunge.errors import ResourceError
from expunge.models.load import save_model
from expunge.models.tensors import write_tensors
from tests.evaluation.worlds import make_tokenizer
from tests.support.tiny import llama

place = Path(sys.argv[1])
save_model(llama(), make_tokenizer(), place / "model")
for write in (
    lambda: save_model(llama(seed=1), make_tokenizer(), place / "model", replace=True),
    lambda: write_tensors(place / "weights.safetensors", dict(llama(hidden=64).named_parameters())),
):
    before = {path.name: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    try:
        write()
    except ResourceError as error:
        print(error)
    assert before == {path.name: path.read_bytes() for path in place.rglob("*") if path.is_file()}
"""
SMALL = 'mount -t tmpfs -o size=160k none "$1" && exec "$2" -c "$3" "$1"'


@pytest.mark.slow
def test_on_a_disk_that_is_really_full(tmp_path):
    """On a file system of 160 kB that only the process itself sees: a model of 90 kB fits once."""
    if subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", tmp_path], check=False).returncode:
        pytest.skip("this system lets nobody mount a file system of their own")
    command = ["unshare", "-rm", "sh", "-c", SMALL, "sh", str(tmp_path), sys.executable, SCRIPT]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert all("full" in line and "same command again" in line for line in lines)


def test_a_folder_of_tensors_is_whole_or_not_there(tmp_path, full):
    target = tmp_path / "helper"
    with atomic.folder(target) as temporary:
        write_tensors(temporary / "weights.safetensors", WEIGHTS)
    before = (target / "weights.safetensors").read_bytes()
    full(SAID[2])
    for place in (target, tmp_path / "other"):
        with pytest.raises(ResourceError), atomic.folder(place, replace=True) as temporary:
            write_tensors(temporary / "weights.safetensors", WEIGHTS)
    assert [path.name for path in tmp_path.iterdir()] == ["helper"]
    assert (target / "weights.safetensors").read_bytes() == before


def test_the_checkpoint_before_is_kept(tmp_path, full):
    def save(step: int) -> None:
        parameters = dict(build("llama").named_parameters())
        progress = checkpoint.Progress(step, {}, {})
        checkpoint.save(tmp_path / "checkpoints", progress, parameters, torch.optim.AdamW(parameters.values()))

    save(1)
    full(SAID[2])
    with pytest.raises(ResourceError):
        save(2)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000001"]
