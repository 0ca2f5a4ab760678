"""A model stops between two batches that it reads and between two tokens that it writes."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest

from expunge.errors import InterruptedRunError
from expunge.models.generate import greedy
from expunge.models.parameters import LoRA
from expunge.models.reading import example_logps
from expunge.models.stopping import stop_between_passes
from tests.support.tiny import examples, llama


@pytest.fixture(params=["plain", "adapter", "copy"])
def stopped(request):
    """A model and the list of passes that it may make before it stops."""
    model = llama()
    model = LoRA(rank=2).apply(model) if request.param == "adapter" else model
    left = [3]

    def stop_requested() -> bool:
        left[0] -= 1
        return left[0] < 0

    stop_between_passes(model, stop_requested)
    return (copy.deepcopy(model) if request.param == "copy" else model), left


def test_a_reading_stops_between_two_batches(stopped):
    model, left = stopped
    with pytest.raises(InterruptedRunError, match="the same command goes on"):
        example_logps(model, examples(8), 0, 1)
    assert left == [-1]


def test_a_generation_stops_between_two_tokens(stopped):
    model, left = stopped
    with pytest.raises(InterruptedRunError):
        greedy(model, SimpleNamespace(eos_token_id=None), [[1, 5], [1, 6]], max_new_tokens=20)
    assert left == [-1]
