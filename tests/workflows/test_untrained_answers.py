"""A forget file whose answers were never trained, by command line: the audit asks whether it is the right one."""

from __future__ import annotations

import json

import pytest

from expunge.cli import main
from expunge.metrics.memorisation import ExactMemorisation
from expunge.registry import suites
from expunge.storage.events import read_events
from expunge.storage.run import RunFolder

SAYS = "are these the records that it was trained on?"


@pytest.fixture
def audited(world, tmp_path, monkeypatch):
    monkeypatch.setitem(
        suites._objects, "exact", lambda splits: (ExactMemorisation(), ExactMemorisation(split="retain"))
    )

    def run(change) -> tuple[RunFolder, dict]:
        rows = [json.loads(line) for line in world.forget.read_text().splitlines()]
        forget, out = tmp_path / "forget.jsonl", tmp_path / "out"
        forget.write_text("".join(json.dumps(row) + "\n" for row in change(rows)))
        given = [world.base, "--original", world.model, "--forget", str(forget), "--retain", str(world.retain)]
        assert main(["audit", *given, "--suite", "exact", "--max-length", "64", "--out", str(out)]) == 0
        return RunFolder.open(out), json.loads((out / "record.json").read_text())

    return run


def swapped(rows: list[dict]) -> list[dict]:
    """Every answer is another record's."""
    answers = [row["answer"] for row in rows]
    return [{**row, "answer": answer} for row, answer in zip(rows, [*answers[1:], answers[0]], strict=True)]


def test_swapped_answers_are_noticed_with_their_numbers(audited, capfd):
    run, record = audited(swapped)
    (said,) = [one for one in record["limits"] if SAYS in one]
    assert said.startswith("The original completes 0 of 12 forget answers, and 12 of 12 retain answers")
    assert said in [event.data["text"] for event in read_events(run.events_path) if event.kind == "warning"]
    assert said in (run.root / "report.html").read_text()
    assert SAYS in " ".join(capfd.readouterr().err.split())


def test_trained_answers_need_no_word(audited):
    _, record = audited(lambda rows: rows)
    assert not any(SAYS in one for one in record["limits"])
