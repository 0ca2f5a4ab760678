"""``expunge doctor``: whether this machine can do the work, and what to do where it cannot."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import typer

from expunge.cli.environment import UMASK
from expunge.cli.output import RESOURCES, document, say, table

Status = Literal["ok", "warn", "fail"]
GIB = 2**30
PYTHON = (3, 11)
TORCH = (2, 10)  # the first version without the known ways around weights_only
LIBRARIES = ("transformers", "accelerate", "peft", "safetensors")
MEMORY = 4 * GIB  # a 0.5 B model in float32, with gradients and optimizer, does not fit below this
DISK = 2 * GIB


class Check(NamedTuple):
    """What was found about one thing.

    Attributes:
        name: what was looked at.
        status: ``fail`` when nothing works without it.
        value: what was found.
        fix: what to do, unless all is well.
    """

    name: str
    status: Status
    value: str
    fix: str = ""


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="One document on stdout.")] = False,
) -> None:
    """Check whether this machine can do the work."""
    found = examine()
    passed = all(check.status != "fail" for check in found)
    if as_json:
        document({"ok": passed, "checks": [check._asdict() for check in found]})
    else:
        table((f"{check.status:<5} {check.name}", _line(check)) for check in found)
        say("\nReady." if passed else "\nThis machine cannot run Expunge yet; see the lines marked fail.")
    if not passed:
        raise typer.Exit(RESOURCES)


def examine() -> list[Check]:
    """Runs all checks; one that breaks is itself a finding."""
    checks: list[Callable[[], list[Check]]] = [_python, _torch, _libraries, _processor, _disk, _settings]
    return [found for check in checks for found in _run(check)]


def cache_home() -> Path:
    """The folder for everything that can be rebuilt: ``EXPUNGE_HOME``, or ``expunge`` in the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "expunge"
    return Path(os.environ.get("EXPUNGE_HOME") or default)


def _run(check: Callable[[], list[Check]]) -> list[Check]:
    name = check.__name__.removeprefix("_")
    try:
        return check()
    except Exception as error:
        fix = "Reinstall Expunge and its libraries in a fresh virtual environment."
        return [Check(name, "fail", f"the check stopped with {type(error).__name__}", fix)]


def _python() -> list[Check]:
    fix = f"Install Python {PYTHON[0]}.{PYTHON[1]} or later."
    return [_judge("python", sys.version_info[:2] >= PYTHON, platform.python_version(), fix, "fail")]


def _torch() -> list[Check]:
    import torch

    version = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    build = (
        f"CUDA {torch.version.cuda}"
        if torch.version.cuda
        else f"ROCm {torch.version.hip}"
        if torch.version.hip
        else "CPU"
    )
    fix = f"Install torch {TORCH[0]}.{TORCH[1]} or later: pip install -U torch"
    return [_judge("torch", version >= TORCH, f"{torch.__version__} ({build})", fix, "fail"), *_devices(), _bf16()]


def _devices() -> list[Check]:
    import torch

    if torch.cuda.is_available():
        return [_gpu(index) for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        return [Check("device", "ok", "CPU; Expunge does not use the Apple GPU (mps) yet")]
    if torch.version.cuda or torch.version.hip:
        return [
            Check("device", "warn", "CPU; no GPU is visible to torch", "Check the driver and CUDA_VISIBLE_DEVICES.")
        ]
    return [Check("device", "ok", "CPU")]


def _gpu(index: int) -> Check:
    import torch

    found = torch.cuda.get_device_properties(index)
    return Check(f"device {index}", "ok", f"{found.name}, {found.total_memory / GIB:.0f} GiB")


def _bf16() -> Check:
    import torch

    if torch.cuda.is_available():
        supported = torch.cuda.is_bf16_supported(including_emulation=False)
        fix = "This GPU is older than bfloat16; train in float32."
        return _judge("bf16", supported, "in hardware" if supported else "not in hardware", fix, "warn")
    capabilities: dict[str, object] = getattr(
        torch.cpu, "get_capabilities", dict
    )()  # newer than the oldest torch that works
    native = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return Check("bf16", "ok", "in hardware" if native else "not in hardware; float32 is faster on this CPU")


def _libraries() -> list[Check]:
    return [_library(name) for name in LIBRARIES]


def _library(name: str) -> Check:
    """Checks that a library is installed and can be imported; a broken install often fails only then."""
    try:
        importlib.import_module(name)
        return Check(name, "ok", importlib.metadata.version(name))
    except Exception as error:
        return Check(name, "fail", f"cannot be imported ({type(error).__name__})", f"pip install -U {name}")


def _processor() -> list[Check]:
    import psutil

    memory = psutil.virtual_memory()
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    value = f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB free"
    fix = "Close other programs, or use a small model, --lora and small batches."
    return [Check("cores", "ok", str(cores)), _judge("memory", memory.available >= MEMORY, value, fix, "warn")]


def _disk() -> list[Check]:
    return [_folder("current folder", Path.cwd(), "warn"), _folder("EXPUNGE_HOME", cache_home(), "fail")]


def _folder(name: str, folder: Path, severity: Status) -> Check:
    """Checks room and write access of a folder, or of the nearest folder above it that exists."""
    place = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(place).free
    if not _is_writable(place):
        return Check(name, severity, "cannot be written to", f"Choose a folder of your own{_how(name)}.")
    return _judge(name, free >= DISK, f"{free / GIB:.1f} GiB free, writable", "Free some disk space.", "warn")


def _how(name: str) -> str:
    return ": export EXPUNGE_HOME=FOLDER" if name == "EXPUNGE_HOME" else " for --out"


def _is_writable(folder: Path) -> bool:
    """Tries it, since permission bits say little on network disks and for root."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _settings() -> list[Check]:
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
    umask = os.umask(UMASK)
    os.umask(umask)
    return [
        Check("offline mode", "ok", "on: only models on this disk" if offline else "off"),
        _judge("umask", umask & UMASK == UMASK, f"{umask:03o}", "Run Expunge through its own command.", "warn"),
    ]


def _judge(name: str, passed: bool, value: str, fix: str, otherwise: Status) -> Check:
    return Check(name, "ok", value) if passed else Check(name, otherwise, value, fix)


def _line(check: Check) -> str:
    return f"{check.value}. {check.fix}" if check.fix else check.value
