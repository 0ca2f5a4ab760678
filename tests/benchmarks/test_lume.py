"""LUME's files, read where they lie."""

from __future__ import annotations

import json

import pytest

from expunge.benchmarks.lume import Lume
from expunge.errors import InputError

ROWS = [
    {"id": "aasc1", "input": "A boat", "output": "sails.", "task": "Task1"},
    {"id": "aaqa0", "input": "What sails?", "output": "A boat", "task": "Task1"},
    {"id": "bbsc1", "input": "A mill", "output": " turns.", "task": "Task1"},
    {"id": "ccqa0", "input": "Who?", "output": "Nobody", "task": "Task2"},
    {"id": "ddsc1", "input": "A hill", "output": "stands.", "task": "Task1"},
]


@pytest.fixture
def folder(tmp_path):
    for split in ("forget", "retain"):
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return tmp_path


def test_texts_go_on_and_questions_ask(folder):
    forget = Lume(folder=folder, tasks="Task1", documents=2).splits()["forget"]
    assert [record.kind for record in forget] == ["completion", "qa", "completion"]
    assert [record.answer.reveal() for record in forget] == [" sails.", "A boat", " turns."]
    assert [record.index for record in forget] == [0, 1, 2]
    subjects = [record.subject.reveal() for record in forget]
    assert subjects == ["Task1 aa", "Task1 aa", "Task1 bb"]


def test_held_out_documents_are_never_trained_on(folder):
    splits = Lume(folder=folder, tasks="Task1", holdout=1).splits()
    assert [record.subject.reveal() for record in splits["holdout"]] == ["Task1 dd"]
    assert {record.subject.reveal() for record in splits["retain"]} == {"Task1 aa", "Task1 bb"}
    assert "holdout" not in Lume(folder=folder, tasks="Task1").splits()
    with pytest.raises(InputError, match="hold out fewer"):
        Lume(folder=folder, tasks="Task2", holdout=1).splits()


@pytest.mark.parametrize("settings", [{"tasks": "Task4"}, {"documents": 0}, {"holdout": -1}])
def test_nonsense_is_refused(folder, settings):
    with pytest.raises(InputError):
        Lume(folder=folder, **settings)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"forget\.jsonl"):
        Lume(folder=tmp_path).splits()


def test_rows_of_another_shape_are_refused_by_line(tmp_path):
    (tmp_path / "forget.jsonl").write_text('{"id": "1", "input": "x", "output": "y", "task": "Task1"}\n')
    with pytest.raises(InputError, match="line 1: none of the shapes"):
        Lume(folder=tmp_path).splits()


@pytest.mark.real
@pytest.mark.slow
def test_counts_of_the_published_files(shared_data):
    splits = Lume(folder=shared_data / "lume").splits()
    assert {split: len(records) for split, records in splits.items()} == {"forget": 2732, "retain": 2734}
    subjects = {record.subject for record in splits["forget"]}
    assert len(subjects) == 866
    assert not subjects & {record.subject for record in splits["retain"]}
    assert sum(record.kind == "completion" for record in splits["forget"]) == 866
    second = Lume(folder=shared_data / "lume", tasks="Task2", documents=10, holdout=5).splits()
    assert {split: len(records) for split, records in second.items()} == {"forget": 60, "retain": 60, "holdout": 30}
