"""The demonstration from end to end."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from expunge.benchmarks.fictional import MAX_LENGTH
from expunge.reports.record import read_record
from expunge.storage.events import read_events
from expunge.workflows.demo import MEASURED, unlearning_settings

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
    assert record.verdict["word"] in ("exposed", "partly removed", "not verifiable")
    assert (demo / "run" / "report.html").stat().st_size > 10_000


def request_of(demo: Path) -> list[str]:
    """What the demonstration asked for, as arguments."""
    files = [part for name in ("forget", "retain", "holdout") for part in (f"--{name}", f"{demo}/data/{name}.jsonl")]
    places = {name: demo / "data" / f"{name}.jsonl" for name in MEASURED}
    more = [part for name, place in places.items() if place.is_file() for part in ("--split", f"{name}={place}")]
    more += ["--retrained", str(demo / "retrained")]
    settings = [part for key, item in unlearning_settings("demo").items() for part in ("--set", f"{key}={item}")]
    return [str(demo / "original"), *files, *more, *settings, "--max-length", str(MAX_LENGTH)]


def run_and_weigh(*arguments: str) -> tuple[str, int]:
    """Runs a command in a process of its own; returns its output and its largest resident memory in bytes.

    Its clock counts the seconds in which its one thread computes, so that other work on the machine does not count.
    """
    script = (
        "import time; time.perf_counter = time.process_time;"
        "import resource, sys; from expunge.cli import main; code = main(sys.argv[1:]);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024); sys.exit(code)"
    )
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        check=True,
        capture_output=True,
        text=True,
        timeout=600,
        env=one_thread,
    )
    output, _, memory = done.stdout.rstrip().rpartition("\n")
    return output, int(memory)


def test_the_plan_foretells_time_and_memory(demo):
    """Within 30 %: the median of three pairs, each measured side by side, since a machine changes its speed."""
    time_ratios, memory_ratios = [], []
    for attempt in range(3):
        planned, _ = run_and_weigh("plan", *request_of(demo), "--json")
        foretold = json.loads(planned)
        out = demo / f"again-{attempt}"
        _, memory = run_and_weigh("unlearn", *request_of(demo), "--out", str(out))
        seconds = sum(event.data["seconds"] for event in read_events(out / "events.jsonl") if "seconds" in event.data)
        time_ratios.append((foretold["train"] + foretold["audit"]) / seconds)
        memory_ratios.append(foretold["memory_bytes"] / memory)
        assert foretold["steps"] == 24
    assert 0.7 <= statistics.median(time_ratios) <= 1.3, time_ratios
    assert 0.7 <= statistics.median(memory_ratios) <= 1.3, memory_ratios
