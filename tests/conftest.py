"""Shared fixtures: one thread, no network, real data where it lies."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import hypothesis  # noqa: E402
import pytest  # noqa: E402

# A busy machine is no fault of the code: an example may take its time, and no database is written.
hypothesis.settings.register_profile("expunge", deadline=None, database=None)
hypothesis.settings.load_profile("expunge")

SHARED = Path(__file__).parents[2] / "shared"


def _folder(name: str) -> Path:
    path = SHARED / name
    if not path.is_dir():
        pytest.skip(f"real input is not here: ../shared/{name}")
    return path


@pytest.fixture
def shared_data() -> Path:
    """Real data sets."""
    return _folder("data")


@pytest.fixture
def shared_models() -> Path:
    """Real pretrained models."""
    return _folder("models")
