"""Steps of a phase: never beyond its total, and exactly there at its end."""

from __future__ import annotations

import pytest

from expunge.storage.events import EventLog, read_events, showing
from expunge.storage.progress import Phases
from expunge.storage.run import RunFolder


def test_a_part_has_its_size_whatever_it_counts() -> None:
    told: list[tuple[int, int, str]] = []
    phases = Phases(lambda kind, data: told.append(tuple(data.values())))
    with phases.phase("read", 10, 2) as steps:
        with steps.part(3, "forget"):
            steps.advance()
            steps.advance(9)  # more than there is
        assert steps.done == 5
        with steps.part(4, "retain"):
            pass  # nothing was counted
        assert steps.done == 9
        assert list(steps.over("a")) == ["a"]
    assert told[0] == ("read", 10, 2)
    assert [one[0] for one in told[1:]] == [2, 3, 5, 5, 9, 10, 10]
    assert told[2] == (3, 10, "forget")


def test_an_error_leaves_a_phase_where_it_was() -> None:
    told = []

    def work(phases: Phases) -> None:
        with phases.phase("read", 10) as steps, steps.part(5):
            steps.advance(2)
            raise KeyError

    with pytest.raises(KeyError):
        work(Phases(lambda kind, data: told.append(data)))
    assert told[-1]["step"] == 2


def test_an_end_may_come_early() -> None:
    told = []
    Phases(lambda kind, data: told.append(data)).begin("unlearn", 10, None).end(4)
    assert "done" not in told[0]
    assert told[-1] == {"step": 4, "total": 4, "part": ""}


def test_only_the_beginning_is_logged(tmp_path) -> None:
    heard = []
    run = RunFolder.create(tmp_path / "run", {"verb": "test"}, (heard.append,))
    with run.phases.phase("read", 2) as steps:
        steps.advance()
    assert [event.kind for event in read_events(run.events_path)] == ["state", "phase"]
    assert [event.kind for event in heard] == ["state", "phase", "progress", "progress"]
    told = []
    showing((told.append,)).begin("train", 3)
    assert told[0].data == {"name": "train", "total": 3, "done": 0}
    assert EventLog(tmp_path / "none").show("progress", {}) is None
    assert not (tmp_path / "none").exists()
