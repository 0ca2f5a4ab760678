"""The demonstration from end to end, and whether the plan foretold it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from expunge.api import Request, plan
from expunge.reports.record import read_record
from expunge.storage.events import read_events
from expunge.workflows.demo import SETTINGS

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


def test_the_plan_foretells_time_and_memory(demo):
    """Within 30 %. Time is measured again beside the plan, since a shared machine changes speed between two minutes."""
    request = {
        "model": str(demo / "original"),
        "forget": demo / "data" / "forget.jsonl",
        "retain": demo / "data" / "retain.jsonl",
        "holdout": demo / "data" / "holdout.jsonl",
        "retrained": (str(demo / "retrained"),),
        "evaluation": {"world_facts": demo / "data" / "world_facts.jsonl"},
        "settings": SETTINGS,
        "max_length": 128,
    }
    ratios = []
    for attempt in range(3):
        foretold = plan(Request(**request, out=demo / "unused"))
        out = demo / f"again-{attempt}"
        script = (
            "import resource, sys; from expunge.cli import main; code = main(sys.argv[1:]);"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); sys.exit(code)"
        )
        settings = [part for key, item in SETTINGS.items() for part in ("--set", f"{key}={item}")]
        files = [part for name in ("forget", "retain", "holdout") for part in (f"--{name}", str(request[name]))]
        more = ["--retrained", str(demo / "retrained"), "--split", f"world_facts={demo}/data/world_facts.jsonl"]
        done = subprocess.run(
            [sys.executable, "-c", script, "unlearn", request["model"], *files, *more, *settings]
            + ["--max-length", "128", "--out", str(out)],
            check=True,
            capture_output=True,
            text=True,
            timeout=600,
        )
        saved = next(event for event in read_events(out / "events.jsonl") if event.kind == "saved")
        memory = foretold.memory_bytes / (int(done.stdout.splitlines()[-1]) * 1024)
        ratios.append((foretold.train_seconds / saved.data["seconds"], memory))
        if all(0.7 <= ratio <= 1.3 for ratio in ratios[-1]):
            break
    assert any(all(0.7 <= ratio <= 1.3 for ratio in pair) for pair in ratios), ratios
    assert foretold.steps == 20
