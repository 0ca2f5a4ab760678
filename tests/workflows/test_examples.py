"""The scripts in ``examples/`` do what they say."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from expunge.data.reader import read_records

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.slow
def test_story_records_can_be_read_and_stand_in_one_set_only(shared_models, shared_data, tmp_path):
    main = runpy.run_path(str(EXAMPLES / "story_records.py"))["main"]
    main(str(shared_models / "stories260k"), str(tmp_path), str(next((shared_data / "text").glob("*.txt"))))
    found = {}
    for name in ("forget", "retain", "holdout", "general", "steer"):
        result = read_records(tmp_path / f"{name}.jsonl", name)
        assert not result.rejected, name
        rows = (tmp_path / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        found[name] = {json.dumps(json.loads(row), sort_keys=True) for row in rows}
        assert len(result.records) == len(rows) > 8, name
    assert not found["forget"] & found["retain"]
    assert not found["retain"] & found["holdout"]


def test_persons_of_lume_stand_in_one_part_only(shared_data, tmp_path):
    main = runpy.run_path(str(EXAMPLES / "lume_persons.py"))["main"]
    main(str(shared_data / "lume"), str(tmp_path))
    found = {}
    for name in ("forget", "retain", "holdout", "taught"):
        result = read_records(tmp_path / f"{name}.jsonl", name)
        assert not result.rejected, name
        found[name] = {record.subject.reveal() for record in result.records if record.subject}
        assert len(result.records) == 5 * len(found[name]), name
    assert [len(found[name]) for name in ("forget", "retain", "holdout")] == [24, 48, 24]
    assert len(found["forget"] | found["retain"] | found["holdout"]) == 96
    assert found["taught"] == found["forget"] | found["retain"]
