"""The small model folder of the workflows' tests, and its records."""

from __future__ import annotations

import pytest

from expunge.data.reader import read_records
from expunge.data.record import Record
from tests.workflows.conftest import World, world  # noqa: F401  # a fixture


@pytest.fixture(scope="session")
def splits(world: World) -> dict[str, list[Record]]:  # noqa: F811
    """Records by split."""
    found = {"forget": world.forget, "retain": world.retain, "holdout": world.holdout}
    return {name: read_records(path, name).records for name, path in found.items()}
