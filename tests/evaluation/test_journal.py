"""A killed evaluation goes on: batches are read back to the last bit, only by what decides them, and hold no text."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from expunge.evaluation import journal
from expunge.evaluation.journal import SUFFIX, StoredJournal, clear
from expunge.evaluation.runner import evaluate
from expunge.evaluation.suites import quick
from expunge.metrics.base import Need
from expunge.metrics.extraction import ExtractionLikelihood
from expunge.metrics.fluency import ReplyPerplexity
from expunge.metrics.leakage import LeakAtK
from expunge.metrics.memorisation import ExactMemorisation, Probability, Rouge
from expunge.models.generate import Draws, sampled
from expunge.registry import metrics as registry
from expunge.storage.secret import Secret
from tests.evaluation import worlds
from tests.evaluation.test_sweeps import Distance
from tests.evaluation.worlds import IDENTITY, Source, make_record, make_splits, make_store, make_subject, make_tokenizer
from tests.support.canary import find_canary
from tests.support.params import few
from tests.support.tiny import VOCABULARY, llama

NEED = Need(kind="moments", split="forget")
BATCHES = {
    (0, 3): [np.array([[-1 / 3, np.nextafter(1, 2)], [np.nan, -np.inf]]), np.zeros((0, 2))],
    (2,): [np.array(5e-324), np.array([-0.0, 1e308])],
    (1, 4): [np.arange(3.0), np.array(7.0)],
}


class Killed(BaseException):
    """Stands for the end of a process: nothing of ours expects it."""


def book(folder: Path, **changed) -> StoredJournal:
    settings = {"identity": IDENTITY, "second": lambda need: None, "batch_size": 2, "every": 0.0, **changed}
    return StoredJournal(make_store(folder), **settings)


def write(one: StoredJournal, needs=(NEED,)) -> None:
    """Writes the batches and is killed after them."""
    with contextlib.suppress(Killed), one.pages(needs) as pages:
        for rows, numbers in BATCHES.items():
            pages.once(rows, lambda numbers=numbers: [numbers] * len(needs))
        raise Killed


class UnknownBatchError(LookupError):
    """Instead of a reading."""


def known(one: StoredJournal, needs=(NEED,)) -> dict:
    """What is read back, without any reading."""

    def unknown():
        raise UnknownBatchError

    found = {}
    with one.pages(needs) as pages:
        for rows in BATCHES:
            with contextlib.suppress(UnknownBatchError):
                found[rows] = pages.once(rows, unknown)[0]
    return found


def bits(arrays) -> list:
    return [(array.shape, array.tobytes()) for array in arrays]


def partials(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{SUFFIX}"))


@pytest.mark.parametrize("every", [0.0, 1e9])
def test_batches_come_back_to_the_last_bit(tmp_path, every):
    """Also those that were not due to be written yet, where an error ends the reading."""
    write(book(tmp_path, every=every))
    found = known(book(tmp_path))
    assert {rows: bits(arrays) for rows, arrays in found.items()} == {
        rows: bits(arrays) for rows, arrays in BATCHES.items()
    }
    assert all(array.flags.writeable for arrays in found.values() for array in arrays)
    (path,) = partials(tmp_path)
    assert path.stat().st_mode & 0o077 == 0


def test_every_length_of_a_torn_line_is_recognised_and_dropped(tmp_path):
    write(book(tmp_path))
    (path,) = partials(tmp_path)
    data = path.read_bytes()
    lines = data.splitlines(keepends=True)
    assert len(lines) == 4
    whole = len(data) - len(lines[-1])
    for length in (*range(whole, whole + 3), whole + len(lines[-1]) // 2, *range(len(data) - 3, len(data))):
        path.write_bytes(data[:length])
        assert list(known(book(tmp_path))) == [(0, 3), (2,)]
        assert path.stat().st_size == whole
    write(book(tmp_path))  # what comes after it is not glued to it
    assert path.read_bytes() == data


def test_a_damaged_line_ends_what_is_read_back(tmp_path):
    write(book(tmp_path))
    (path,) = partials(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1] + lines[2].replace(b'"rows": [2]', b'"rows": [1]') + lines[3])
    assert list(known(book(tmp_path))) == [(0, 3)]
    path.write_bytes(lines[0][:-1])
    assert not known(book(tmp_path))


def test_needs_are_read_back_alone_and_where_all_of_a_batch_is_there(tmp_path):
    other = replace(NEED, form="casing")
    write(book(tmp_path), (NEED, other))
    assert len(known(book(tmp_path))) == len(known(book(tmp_path), (other, NEED))) == 3
    partials(tmp_path)[0].unlink()
    assert not known(book(tmp_path), (NEED, other))
    write(book(tmp_path), (NEED, other))
    assert len(known(book(tmp_path), (NEED, other))) == 3
    assert {len(path.read_bytes().splitlines()) for path in partials(tmp_path)} == {4}  # nothing twice


def test_a_batch_of_other_rows_is_not_taken(tmp_path):
    write(book(tmp_path))
    with book(tmp_path).pages([NEED]) as pages:
        assert pages.once((3, 0), lambda: [[8.0]]) == [[8.0]]


def test_complete_answers_are_stored_and_nothing_stays(tmp_path):
    one, other = book(tmp_path), replace(NEED, split="retain")
    write(one)
    write(one, (other,))
    one.keep({NEED: [[np.zeros((1, 2))]]})
    assert len(partials(tmp_path)) == 1
    assert one.store.get(IDENTITY, NEED) is not None
    assert not known(one)
    clear(tmp_path)
    assert not partials(tmp_path)
    assert one.store.get(IDENTITY, NEED) is not None


@pytest.mark.parametrize(
    "name", ["batch_size", "device", "torch", "transformers", "threads", "code", "digest", *IDENTITY]
)
def test_what_decides_the_numbers_decides_what_is_read_back(tmp_path, monkeypatch, name):
    write(book(tmp_path))
    one = book(tmp_path)
    if name == "batch_size":
        one = replace(one, batch_size=3)
    elif name == "code":
        one = replace(one, store=replace(one.store, code="other"))
    elif name == "digest":
        one = replace(one, store=replace(one.store, digests={"forget": "other"}))
    elif name in IDENTITY:
        one = replace(one, identity={**IDENTITY, name: "other"})
    elif name == "threads":
        monkeypatch.setattr(torch, "get_num_threads", lambda: 1234)
    else:
        around = {**journal.surroundings(2), name: "other"}
        monkeypatch.setattr(journal, "surroundings", lambda size: around)
    assert not known(one)
    assert len(partials(tmp_path)) == (0 if name in ("batch_size", "device", "torch", "transformers", "threads") else 1)


def test_batches_of_little_work_are_written_together(tmp_path, monkeypatch):
    """The clock decides; without a kill nothing is written at all that takes less."""
    now = [0.0]
    monkeypatch.setattr(journal.time, "monotonic", lambda: now[0])
    with book(tmp_path, every=1.0).pages([NEED]) as pages:
        for step, (rows, numbers) in zip((0.4, 0.4, 0.4), BATCHES.items(), strict=True):
            now[0] += step
            assert not partials(tmp_path)
            pages.once(rows, lambda numbers=numbers: [numbers])
        assert len(partials(tmp_path)) == 1
    assert len(known(book(tmp_path))) == 3


# Whole evaluations.

ROLES = ("original", "retrained", "unlearned")
SPLITS = make_splits(5)
# Prompts that leave the model four to two positions: further limits, each with a stream of draws of its own.
SPLITS["forget"] += [
    replace(make_record("forget", 5 + more), prompt=Secret(worlds.words(*range(more, 56 + more + more // 2)), "long"))
    for more in range(4)
]
METRICS = (
    Probability(),
    ExactMemorisation(),
    Rouge(max_new_tokens=7),
    LeakAtK(k=1, samples=2, max_new_tokens=6),
    ReplyPerplexity(max_new_tokens=5),
    ExtractionLikelihood(split="retain", n=2, stride=2),
    Distance(),
)


@pytest.fixture(autouse=True)
def each_batch_is_written(monkeypatch):
    monkeypatch.setattr(journal, "EVERY", 0.0)
    real = registry.name_of
    monkeypatch.setattr(
        "expunge.evaluation.runner.registry.name_of",
        lambda metric: "distance" if isinstance(metric, Distance) else real(metric),
    )


class Forwards:
    """Counts forward passes of all models, and kills at a chosen one."""

    def __init__(self, last: int | None = None) -> None:
        self.count, self.last = 0, last

    def subjects(self):
        return [make_subject(role, Source(self._model(seed))) for seed, role in enumerate(ROLES)]

    def _model(self, seed: int):
        model = llama(seed)
        model.register_forward_pre_hook(lambda *_: self._one())
        return model

    def _one(self) -> None:
        if self.count == self.last:
            raise Killed
        self.count += 1


def run(folder: Path, last: int | None = None, metrics=METRICS, **settings):
    forwards = Forwards(last)
    settings = {"batch_size": 2, "resamples": 3, **settings}
    try:
        return evaluate(forwards.subjects(), SPLITS, metrics, make_store(folder), **settings), forwards.count
    except Killed:
        return None, forwards.count


def answers(folder: Path) -> dict[str, str]:
    """Stored answers, to the last bit, by the name of their file."""
    return {path.name: json.loads(path.read_text())["digest"] for path in folder.glob("*.json")}


@pytest.mark.parametrize("metric", few(METRICS[:4] + METRICS[5:], 0, 2), ids=lambda metric: type(metric).__name__)
def test_an_interrupted_reading_goes_on_where_it_was(tmp_path, metric):
    """The last batch may have begun: of a generation, that is some tokens."""
    whole, count = run(tmp_path / "whole", metrics=(metric,))
    most = 12 if isinstance(metric, ExtractionLikelihood) else 8  # forward passes of one batch
    for last in (count // 3, count - 1):
        folder = tmp_path / str(last)
        assert run(folder, last, metrics=(metric,)) == (None, last)
        assert partials(folder) or answers(folder) or last < most
        found, rest = run(folder, metrics=(metric,))
        assert count - last <= rest < count - last + most
        assert repr(found) == repr(whole)
        assert answers(folder) == answers(tmp_path / "whole")
        assert not partials(folder)


@pytest.mark.slow
def test_many_kills_change_nothing(tmp_path):
    """Also where another model judges what was said: that is said again, and judged from where it was."""
    whole, count = run(tmp_path / "whole")
    step, kills, found = count // 6, 0, None
    while found is None:
        found, _ = run(tmp_path / "killed", step)
        kills += found is None
        assert kills < 20
    assert kills > 4
    assert repr(found) == repr(whole)
    assert answers(tmp_path / "killed") == answers(tmp_path / "whole")
    assert not partials(tmp_path / "killed")


def test_a_pass_is_stored_before_the_next_one_begins(tmp_path):
    metrics = (Probability(), Probability(split="retain"))
    run(tmp_path, 6, metrics)  # batches of two: five for each split
    assert len(answers(tmp_path)) == 1
    assert len(partials(tmp_path)) == 1


def test_what_is_stored_of_a_judged_pass_is_not_scored_again(tmp_path, monkeypatch):
    metrics = (Rouge(max_new_tokens=5), ReplyPerplexity(max_new_tokens=5))
    whole, count = run(tmp_path / "whole", metrics=metrics)
    run(tmp_path / "killed", count - 2, metrics)  # the judge is at work
    stored = answers(tmp_path / "killed")
    scored = []
    real = journal.Store.put
    monkeypatch.setattr(
        journal.Store,
        "put",
        lambda self, identity, need, *rest: scored.append(need) or real(self, identity, need, *rest),
    )
    found, rest = run(tmp_path / "killed", metrics=metrics)
    assert repr(found) == repr(whole)
    assert len(stored) + len(scored) == len(answers(tmp_path / "whole"))
    assert all(need.judged for need in scored)
    assert 2 < rest < count


@pytest.mark.parametrize("change", ["batch_size", "weights"])
def test_other_batches_or_weights_read_everything(tmp_path, monkeypatch, change):
    metrics = METRICS[:2]
    settings = {"batch_size": 3} if change == "batch_size" else {}
    if change == "weights":
        run(tmp_path, 4, metrics)
        monkeypatch.setitem(worlds.IDENTITY, "adapter", "other")
    else:
        run(tmp_path, 4, metrics)
    assert partials(tmp_path)
    _, count = run(tmp_path, metrics=metrics, **settings)
    assert count == run(tmp_path / "new", metrics=metrics, **settings)[1]
    assert not partials(tmp_path)


def test_a_stream_of_draws_is_one_call_in_parts_and_can_be_put_back():
    model, tokenizer = llama(), make_tokenizer()
    prompts = [[1, 5, 6, 7], [1, 9, 8], [1, 4], [1, 30]]
    settings = {"max_new_tokens": 6, "temperature": 1.0, "top_p": 1.0}
    whole = sampled(model, tokenizer, prompts, seed=5, batch_size=2, **settings)
    before = torch.get_rng_state()
    stream = Draws(torch.device("cpu"), 5)
    first = sampled(model, tokenizer, prompts[:2], seed=stream, batch_size=2, **settings)
    middle = stream.state
    second = sampled(model, tokenizer, prompts[2:], seed=stream, batch_size=2, **settings)
    assert first + second == whole
    assert torch.equal(before, torch.get_rng_state())
    later = Draws(torch.device("cpu"), 6)
    later.state = middle
    assert sampled(model, tokenizer, prompts[2:], seed=later, batch_size=2, **settings) == second
    assert sampled(model, tokenizer, prompts[2:], seed=Draws(torch.device("cpu"), 5), **settings) != second


def test_no_text_and_no_token_ids_are_in_what_is_appended(tmp_path, monkeypatch):
    """Every state of every file that is appended to; answers and replies are words w3, w4, ..."""
    seen = []
    real = journal._Page.write

    def write(self):
        real(self)
        if self.path.is_file():
            seen.append(self.path.read_bytes())

    monkeypatch.setattr(journal._Page, "write", write)
    metrics = dict.fromkeys((*METRICS, *quick(tuple(SPLITS))))
    run(tmp_path, metrics=tuple(metrics), batch_size=5)
    assert len(seen) > 100
    texts = [record.answer.reveal() for records in SPLITS.values() for record in records]
    texts = sorted(text for text in texts if len(text) > 8)[::4]
    longest = sorted({data.split(b"\n")[0]: data for data in seen}.values())
    assert not [hit for data in longest for text in texts for hit in find_canary(data, text)]
    for data in longest:
        lines = [json.loads(line.partition(b" ")[2]) for line in data.splitlines()]
        assert all(set(line) == {"rows", "shapes", "numbers"} for line in lines[1:])
        assert not any(f"w{number}" in json.dumps(lines[0]) for number in range(3, VOCABULARY))


SCRIPT = """
import sys, time
from pathlib import Path
from expunge.evaluation import journal
from tests.evaluation import test_journal as here
journal.EVERY = 0.0
def slow(self):
    time.sleep(0.005)
    self.count += 1
here.Forwards._one = slow
here.run(Path(sys.argv[1]), metrics=here.METRICS[2:5], resamples=3)
"""


@pytest.mark.slow
def test_a_second_process_that_is_killed_goes_on(tmp_path):
    """SIGKILL as soon as something is there; then to the end, here."""
    whole, count = run(tmp_path / "whole", metrics=METRICS[2:5])
    folder = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder)])
    began = time.monotonic()
    while _lines(folder) < 8 and process.poll() is None and time.monotonic() - began < 120:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert partials(folder) or answers(folder)
    found, rest = run(folder, metrics=METRICS[2:5])
    assert rest < count
    assert repr(found) == repr(whole)
    assert answers(folder) == answers(tmp_path / "whole")
    assert not partials(folder)


def _lines(folder: Path) -> int:
    """Batches and answers on disk; a file that is just being stored is gone between two looks."""
    if not folder.is_dir():
        return 0
    count = 10 * len(answers(folder))
    for path in partials(folder):
        try:
            count += len(path.read_bytes().splitlines())
        except FileNotFoundError:
            count += 10
    return count
