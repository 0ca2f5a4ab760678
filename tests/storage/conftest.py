"""Fixtures of the storage tests."""

from __future__ import annotations

import itertools
import os

import pytest


@pytest.fixture
def lax_umask():
    """The laxest umask there is, put back afterwards."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def places(tmp_path):
    """Makes a new empty folder at each call."""
    numbers = itertools.count()

    def make():
        path = tmp_path / f"place-{next(numbers)}"
        path.mkdir()
        return path

    return make
