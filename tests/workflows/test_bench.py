"""Methods over seeds on a model that was handed in: every run once, failures as rows, no trace of the records."""

from __future__ import annotations

import json

import pytest

from expunge.api import BenchRequest, Request, bench
from expunge.cli.bench import parse_seeds
from expunge.errors import InputError, UnknownNameError
from expunge.storage.events import read_events
from tests.support.canary import find_canary
from tests.workflows.conftest import CANARY
from tests.workflows.test_unlearn import SETTINGS


def request(world, out, **changes) -> BenchRequest:
    own = Request(
        model=world.model, out=out, forget=world.forget, retain=world.retain, holdout=world.holdout, max_length=64
    )
    given = {
        "methods": ("npo", "gradient_ascent", "guardrail"),
        "seeds": (0, 1),
        "settings": {"npo": SETTINGS, "gradient_ascent": {**SETTINGS, "runaway": 1e-9}},
        "own": own,
        "workers": 1,
    }
    return BenchRequest(**{**given, "out": out, **changes})


def test_every_run_once_failures_as_rows_and_no_trace(world, tmp_path):
    out = tmp_path / "bench"
    finished = bench(request(world, out))
    verdicts = {(row.method, row.seed): row.verdict for row in finished.rows}
    assert len(verdicts) == 6
    assert verdicts["gradient_ascent", 0] == "failed"
    assert "diverged" in next(row.trouble for row in finished.rows if row.method == "gradient_ascent")
    # Without a retrained model nothing can be called removed.
    assert {verdicts["npo", seed] for seed in (0, 1)} <= {"not verifiable", "damaged"}
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert [(line["method"], line["seed"]) for line in lines] == list(verdicts)
    npo = [(out / "runs" / f"npo-seed-{seed}" / "model" / "model.safetensors").read_bytes() for seed in (0, 1)]
    assert npo[0] != npo[1]  # the seed orders the records
    before = len(read_events(finished.run.events_path))
    again = bench(request(world, out))
    assert [row.verdict for row in again.rows] == list(verdicts.values())
    new = read_events(finished.run.events_path, after=before)
    assert not [event for event in new if event.kind == "job"]
    assert find_canary(out, CANARY) == []


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"methods": ("npoo",), "settings": {}}, UnknownNameError, "Did you mean 'npo'"),
        ({"methods": ("npo",), "settings": {"nxo": {}}}, InputError, "not among the methods"),
        ({"methods": (), "settings": {}}, InputError, "at least one"),
        ({"methods": ("retrain",), "settings": {}}, InputError, "exact"),
        ({"methods": ("npo",), "settings": {"npo": {"betta": 1}}}, UnknownNameError, "betta"),
    ],
)
def test_nonsense_is_refused_before_anything_runs(world, tmp_path, changes, error, says):
    with pytest.raises(error, match=says):
        bench(request(world, tmp_path / "bench", **changes))
    assert not (tmp_path / "bench").exists()


def test_seeds_are_a_number_or_a_list():
    assert parse_seeds("3") == (0, 1, 2)
    assert parse_seeds("4,7") == (4, 7)
    with pytest.raises(InputError, match="--seeds"):
        parse_seeds("many")
