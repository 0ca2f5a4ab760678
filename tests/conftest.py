"""Shared fixtures: one thread, no network, real data where it lies."""

from __future__ import annotations

import gc
import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import hypothesis  # noqa: E402
import pytest  # noqa: E402

# A busy machine is not a fault of the code: an example may take its time. Every run tries the same examples, so that a
# failure belongs to the change that was tested; HYPOTHESIS_EXPLORE=1 draws new ones.
hypothesis.settings.register_profile(
    "expunge", max_examples=50, deadline=None, database=None, derandomize=not os.environ.get("HYPOTHESIS_EXPLORE")
)
hypothesis.settings.load_profile("expunge")

SHARED = Path(__file__).parents[2] / "shared"


def pytest_collection_finish() -> None:
    """What is loaded by now stays: the garbage collector need not look through torch and transformers again."""
    gc.collect()
    gc.freeze()


def _folder(name: str) -> Path:
    path = SHARED / name
    if not path.is_dir():
        pytest.skip(f"real input is not here: ../shared/{name}")
    return path


@pytest.fixture(autouse=True)
def _same_process_afterwards() -> Iterator[None]:
    """The command line changes its process for good (environment, umask, hooks); all of that is put back."""
    variables = dict(os.environ)
    umask = os.umask(0o022)
    hooks = threading.excepthook, sys.unraisablehook, logging.raiseExceptions
    with warnings.catch_warnings():
        yield
    threading.excepthook, sys.unraisablehook, logging.raiseExceptions = hooks
    os.umask(umask)
    os.environ.clear()
    os.environ.update(variables)


@pytest.fixture
def shared_data() -> Path:
    """Real data sets."""
    return _folder("data")


@pytest.fixture
def shared_models() -> Path:
    """Real pretrained models."""
    return _folder("models")
