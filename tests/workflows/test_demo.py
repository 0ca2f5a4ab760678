"""The demonstration from end to end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from expunge.reports.record import read_record

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("demo")
    subprocess.run([sys.executable, "-m", "expunge", "demo", "--out", str(out)], check=True, timeout=1200)
    return out


def test_the_original_knows_the_retrained_does_not_and_npo_moves(demo):
    record = read_record(demo / "run" / "record.json")
    value = {(score["label"], score["role"]): score["value"] for score in record.scores}
    strength = "extraction_strength(split=forget, form=trained)"
    assert value[strength, "original"] > 0.9
    assert value[strength, "retrained"] < 0.3
    assert abs(value[strength, "unlearned"] - value[strength, "retrained"]) < 0.15
    kept = "exact_memorisation(split=retain, form=trained)"
    assert value[kept, "unlearned"] > 0.9
    assert record.verdict["word"] in ("partly removed", "not verifiable")
    assert (demo / "run" / "report.html").stat().st_size > 10_000
