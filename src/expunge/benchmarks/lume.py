"""LUME from a local folder: short stories, invented biographies with private fields, public biographies.

Ramakrishna et al., "LUME: LLM Unlearning with Multitask Evaluations", 2025, https://arxiv.org/abs/2502.15097.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from expunge.benchmarks.base import Benchmark
from expunge.data.reader import read_records
from expunge.data.record import Record
from expunge.errors import InputError
from expunge.registry import benchmarks

TASKS = ("Task1", "Task2", "Task3")  # stories, invented biographies, public biographies
# What follows a document's id: sc for a text to be continued, qa for a question about it.
_ENDING = re.compile(r"(?P<form>sc|qa)\d*$")


@benchmarks.register("lume")
@dataclass(frozen=True, kw_only=True)
class Lume(Benchmark):
    """Documents to be continued, and questions about them.

    The published validation rows with a public answer; a document is the subject of its rows.

    Attributes:
        folder: where forget.jsonl and retain.jsonl lie.
        tasks: which of Task1, Task2 and Task3, with commas between them.
        documents: number of documents of each task in each of the two sets, the first ones; None for all.
        holdout: number of documents of each task that are never trained on, the last ones of the retain set.
    """

    training_splits: ClassVar[tuple[str, ...]] = ("retain", "forget")
    paper: ClassVar[str] = "Ramakrishna et al., 2025, https://arxiv.org/abs/2502.15097"

    folder: Path
    tasks: str = ",".join(TASKS)
    documents: int | None = None
    holdout: int = 0

    def __post_init__(self) -> None:
        unknown = [task for task in self._tasks if task not in TASKS]
        if unknown:
            raise InputError(f"LUME has no task {unknown[0]!r}; take some of {', '.join(TASKS)}.")
        if self.holdout < 0 or (self.documents is not None and self.documents < 1):
            raise InputError(f"documents={self.documents}, holdout={self.holdout}: give 1 or more, and 0 or more.")

    @property
    def _tasks(self) -> tuple[str, ...]:
        return tuple(task.strip() for task in self.tasks.split(","))

    def splits(self) -> dict[str, list[Record]]:
        """Returns ``forget``, ``retain`` and, where it was asked for, ``holdout``."""
        found: dict[str, list[Record]] = {"forget": [], "retain": [], "holdout": []}
        for task in self._tasks:
            forget, retain = (self._documents(split, task) for split in ("forget", "retain"))
            cut = len(retain) - self.holdout
            if cut < 1:
                raise InputError(f"{task} has {len(retain)} documents to retain; hold out fewer than that.")
            found["forget"] += _rows(forget[: self.documents])
            found["retain"] += _rows(retain[:cut][: self.documents])
            found["holdout"] += _rows(retain[cut:])
        return {split: _numbered(records, split) for split, records in found.items() if records}

    def _documents(self, split: str, task: str) -> list[list[Record]]:
        """Rows of each document of one task, in the order of the file."""
        path = self.folder / f"{split}.jsonl"
        if not path.is_file():
            raise InputError(f"{split}.jsonl is missing from LUME's folder; it lies in the data set's repository.")
        documents: dict[str, list[Record]] = {}
        for record in read_records(path, split, reshape=_reshape).records:
            own, _, name = record.subject.reveal().partition(" ") if record.subject is not None else ("", "", "")
            if own == task:
                documents.setdefault(name, []).append(record)
        return list(documents.values())


def _reshape(item: Any) -> Any:
    """A row of LUME as a completion or a question; anything else as it is, for the reader to refuse."""
    if not isinstance(item, Mapping) or not {"id", "input", "output", "task"} <= set(item):
        return item
    ending = _ENDING.search(str(item["id"]))
    if ending is None:
        return item
    about = {"id": item["id"], "subject": f"{item['task']} {str(item['id'])[: ending.start()]}"}
    if ending["form"] == "qa":
        return {**about, "question": item["input"], "answer": item["output"]}
    space = "" if str(item["output"])[:1].isspace() else " "  # the two parts of a text, cut between words
    return {**about, "prompt": item["input"], "completion": f"{space}{item['output']}"}


def _rows(documents: list[list[Record]]) -> list[Record]:
    return [record for document in documents for record in document]


def _numbered(records: list[Record], split: str) -> list[Record]:
    return [replace(record, split=split, index=index) for index, record in enumerate(records)]
