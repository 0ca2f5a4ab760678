from __future__ import annotations

import json
import math
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest

from expunge.errors import InputError
from expunge.storage.events import Event, EventLog, read_events
from expunge.storage.secret import Secret
from tests.storage.processes import at_once
from tests.support.killing import fill_disk_at_every_write, kill_at_every_write, trace


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.jsonl"


def test_what_is_appended_is_read(path):
    log = EventLog(path)
    first = log.append("phase", name="train", steps=[1, 2], loss=math.inf)
    second = log.append("metric", value=0.1)
    assert (first.seq, second.seq) == (1, 2)
    assert read_events(path) == [first, second]
    assert read_events(path, after=1) == [second]
    assert read_events(path, after=2) == []
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[0] == {
        "seq": 1, "time": first.time, "kind": "phase", "name": "train", "steps": [1, 2], "loss": {"$float": "inf"}
    }  # fmt: skip
    assert list(lines[1]) == ["seq", "time", "kind", "value"]
    assert second.plain == lines[1]
    assert datetime.fromisoformat(first.time).utcoffset() == timedelta(0)


def test_a_missing_or_empty_log_has_no_events(path):
    assert read_events(path) == []
    EventLog(path)
    assert not path.exists()
    path.touch()
    assert read_events(path) == []


def test_numbers_go_on(path):
    EventLog(path).append("a")
    EventLog(path).append("b")
    assert [event.seq for event in read_events(path)] == [1, 2]


TORN = [
    '{"seq": 3, "ti',
    '{"seq": 3, "time": "x", "kind": "c"}',
    '{"seq": 3, "ti\n',
    "\n",
    "\0\0\0",
    "[3]\n",
    "a\rb\n",
    '{"seq": "3"}\n',
]


@pytest.mark.parametrize("torn", TORN)
def test_a_torn_last_line_is_left_out_and_cut_off(path, torn):
    log = EventLog(path)
    log.append("a")
    log.append("b")
    whole = path.read_bytes()
    path.write_bytes(whole + torn.encode())
    assert [event.kind for event in read_events(path)] == ["a", "b"]
    assert path.read_bytes() == whole + torn.encode()  # reading changes nothing
    assert log.append("c").seq == 3
    path.write_bytes(path.read_bytes() + torn.encode())
    assert EventLog(path).append("d").seq == 4
    assert [event.kind for event in read_events(path)] == ["a", "b", "c", "d"]
    assert path.read_bytes().startswith(whole)


@pytest.mark.parametrize("damage", [b"quokka\n", b'{"seq": 7, "time": "x", "kind": "b"}\n', b""])
def test_damage_elsewhere_is_an_error(path, damage):
    log = EventLog(path)
    for kind in "abc":
        log.append(kind)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = damage
    path.write_bytes(b"".join(lines))
    for use in (lambda: read_events(path), lambda: EventLog(path).append("d")):
        with pytest.raises(InputError, match="Line 2 of the event log is damaged") as caught:
            use()
        assert "quokka" not in str(caught.value)
    assert path.read_bytes() == b"".join(lines)


def test_only_plain_data(path):
    log = EventLog(path)
    for bad in (Secret("quokka", "record 1"), [Secret("quokka", "record 1")], {"a": {1}}, b"quokka"):
        with pytest.raises(TypeError) as caught:
            log.append("a", value=bad)
        assert "quokka" not in str(caught.value)
    for name in ("seq", "time"):
        with pytest.raises(TypeError, match=name):
            log.append("a", **{name: 1})
    assert not path.exists()


def test_listeners_hear_each_event_once_it_is_on_disk(path):
    heard: list[tuple[Event, int]] = []
    log = EventLog(path, listeners=(lambda event: heard.append((event, len(read_events(path)))),))
    first = log.append("a", x=1)
    EventLog(path).append("by another")
    second = log.append("b")
    assert heard == [(first, 1), (second, 3)]


def test_mode_and_calls(tmp_path, path, lax_umask):
    EventLog(path).append("a")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    calls = trace(
        "from expunge.storage.events import EventLog; EventLog(folder / 'events.jsonl').append('b')", tmp_path
    )
    start = calls.index("open events.jsonl")
    assert calls[start:] == ["open events.jsonl", "write -", "fsync -"]


def test_a_failed_write_is_taken_back(path, monkeypatch):
    log = EventLog(path)
    log.append("a")
    before = path.read_bytes()
    real = os.write

    def half(descriptor, data):
        monkeypatch.setattr(os, "write", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
        return real(descriptor, data[: len(data) // 2])

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(OSError, match="is full"):
        log.append("b")
    assert path.read_bytes() == before
    monkeypatch.setattr(os, "write", real)
    assert log.append("c").seq == 2


SCRIPT = """
from expunge.storage.events import EventLog
log = EventLog(folder / "events.jsonl")
log.append("b", x=1.5)
log.append("c")
"""


@pytest.mark.parametrize("stays_full", [True, False, None])
@pytest.mark.parametrize("torn", [b"", b'{"seq": 2, "ti'])
def test_no_event_is_lost_or_torn_whatever_happens(places, stays_full, torn):
    seen = set()

    def factory():
        place = places()
        EventLog(place / "events.jsonl").append("a")
        with (place / "events.jsonl").open("ab") as stream:
            stream.write(torn)
        return place

    def check(place, point):
        log = place / "events.jsonl"
        kinds = "".join(event.kind for event in read_events(log))
        assert kinds in ("a", "ab", "abc")
        seen.add(kinds)
        assert EventLog(log).append("d").seq == len(kinds) + 1
        assert "".join(event.kind for event in read_events(log)) == kinds + "d"
        assert len(log.read_bytes().splitlines()) == len(kinds) + 1

    if stays_full is None:
        kill_at_every_write(SCRIPT, check, factory)
    else:
        fill_disk_at_every_write(SCRIPT, check, factory, stays_full=stays_full)
    assert seen == {"a", "ab", "abc"}


MANY = """
import sys, pathlib
from expunge.storage.events import EventLog
log = EventLog(pathlib.Path(sys.argv[1]))
sys.stdin.readline()
for step in range(int(sys.argv[2])):
    log.append("step", process=int(sys.argv[3]), step=step)
"""


def test_threads_may_share_a_log(path):
    log = EventLog(path)
    with ThreadPoolExecutor(4) as pool:
        seqs = list(pool.map(lambda step: log.append("step", step=step).seq, range(60)))
    assert sorted(seqs) == [event.seq for event in read_events(path)] == list(range(1, 61))


def test_eight_processes_append(path):
    each = 40
    at_once(MANY, [str(path), str(each)], 8)
    events = read_events(path)
    assert [event.seq for event in events] == list(range(1, 8 * each + 1))
    for process in range(8):
        assert [event.data["step"] for event in events if event.data["process"] == process] == list(range(each))
