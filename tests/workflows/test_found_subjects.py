"""Records without a field ``subject``, by command line: intervals count the people that their names tell of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from expunge.cli import main
from expunge.storage.events import read_events
from expunge.storage.run import RunFolder

PEOPLE = {
    "forget": ("Ada Vane", "Ole Berg", "Uma Keld", "Tor Lind"),
    "retain": ("Ida Moss", "Jan Rook", "Eva Holt", "Max Dorn"),
}
EACH = 3  # records of a person


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows(split: str, *, subject: bool = False) -> list[dict[str, str]]:
    return [
        {
            "question": f"What is item {number} of {name}?",
            "answer": f"It is {number}.",
            **({"subject": name} if subject else {}),
        }
        for name in PEOPLE[split]
        for number in range(EACH)
    ]


@pytest.fixture
def audited(untrained, tmp_path, short_suite):
    def run(**files: list[dict[str, str]]) -> tuple[RunFolder, dict]:
        given = [part for split, rows in files.items()
                 for part in (f"--{split}", str(write(tmp_path / f"{split}.jsonl", rows)))]  # fmt: skip
        out = tmp_path / "out"
        models = [untrained.base, "--original", untrained.model]
        assert main(["audit", *models, *given, "--suite", "short", "--max-length", "64", "--out", str(out)]) == 0
        return RunFolder.open(out), json.loads((out / "record.json").read_text())

    return run


def test_intervals_count_the_people_that_records_name(audited):
    run, record = audited(forget=rows("forget"), retain=rows("retain"))
    assert record["data"]["forget"]["subjects"] is None
    assert record["data"]["forget"]["subjects_found"] == len(PEOPLE["forget"])
    score = next(one for one in record["scores"] if one["label"].startswith("probability"))
    assert (score["n"], score["records"], score["low"]) == (4, 12, None)  # too few people for an interval
    said = next(one for one in record["limits"] if "subject" in one and "given" in one)
    assert "forget: 4 in 12 records, retain: 4 in 12 records" in said
    assert said in [event.data["text"] for event in read_events(run.events_path) if event.kind == "warning"]
    assert said in (run.root / "report.html").read_text()
    written = "".join(path.read_text() for path in run.root.rglob("*.json*"))
    assert not any(name.lower() in written.lower() for name in PEOPLE["forget"])


def test_records_that_name_nobody_are_independent_and_the_audit_says_so(audited):
    bare = [{"question": f"What is item {row}?", "answer": f"It is {row}."} for row in range(12)]
    _, record = audited(forget=bare)
    assert record["data"]["forget"]["subjects_found"] == 0
    score = next(one for one in record["scores"] if one["label"].startswith("probability"))
    assert score["n"] == 12
    assert any("none were found (forget)" in one and "Add a field subject" in one for one in record["limits"])


def test_subjects_that_are_given_need_no_word(audited):
    _, record = audited(forget=rows("forget", subject=True))
    assert record["data"]["forget"]["subjects"] == len(PEOPLE["forget"])
    assert "subjects_found" not in record["data"]["forget"]
    assert not any("subjects are given" in one for one in record["limits"])
