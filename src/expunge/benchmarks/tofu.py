"""TOFU from a local folder. Maini et al., "TOFU: A Task of Fictitious Unlearning for LLMs", 2024, https://arxiv.org/abs/2401.06121."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

from expunge.benchmarks.base import Benchmark
from expunge.data.reader import read_records
from expunge.data.record import Record
from expunge.errors import InputError
from expunge.registry import benchmarks
from expunge.storage.secret import Secret

QUESTIONS_PER_AUTHOR = 20  # consecutive rows of full.json
AUTHORS = 200
FORGET_AUTHORS = {"forget01": 2, "forget05": 10, "forget10": 20}  # the last ones


@benchmarks.register("tofu")
@dataclass(frozen=True, kw_only=True)
class Tofu(Benchmark):
    """Questions about 200 invented authors, and about real authors and the world for utility.

    Attributes:
        folder: where the data set's files lie (full.json, forget01_perturbed.json, ...).
        forget: which of the published forget sets.
        retained_authors: number of authors to keep, the first ones; None for all that are neither forgotten nor held
            out.
        holdout_authors: number of authors that are never trained on, those after the kept ones.
    """

    training_splits: ClassVar[tuple[str, ...]] = ("train_retain", "forget")
    paper: ClassVar[str] = "Maini et al., 2024, https://arxiv.org/abs/2401.06121"

    folder: Path
    forget: Literal["forget01", "forget05", "forget10"] = "forget01"
    retained_authors: int | None = None
    holdout_authors: int = 0

    def splits(self) -> dict[str, list[Record]]:
        """Returns forget, holdout and utility splits with other wordings, and the retain rows to train on.

        ``retain`` is for evaluation: TOFU's retain_perturbed, as far as its questions are among the kept authors.
        ``holdout`` is there where it was asked for; its rows have paraphrases and wrong answers as far as TOFU does.
        """
        kept = self._kept()
        full = self._read("full.json", "full")
        author = {_key(record): index // QUESTIONS_PER_AUTHOR for index, record in enumerate(full)}
        perturbed = {_key(record): record for record in self._read("retain_perturbed.json", "retain")}
        retain = [record for key, record in perturbed.items() if author[key] < kept]
        if not retain:
            raise InputError(f"retain_perturbed.json has no question about the first {kept} authors; keep more.")
        unseen = full[kept * QUESTIONS_PER_AUTHOR :][: self.holdout_authors * QUESTIONS_PER_AUTHOR]
        holdout = _as_split([perturbed.get(_key(record), record) for record in unseen], "holdout")
        return {
            "forget": _about(self._read(f"{self.forget}_perturbed.json", "forget"), author),
            "retain": _about(retain, author),
            **({"holdout": _about(holdout, author)} if holdout else {}),
            "train_retain": _about(_as_split(full[: kept * QUESTIONS_PER_AUTHOR], "train_retain"), author),
            "real_authors": self._read("real_authors_perturbed.json", "real_authors"),
            "world_facts": self._read("world_facts_perturbed.json", "world_facts"),
        }

    def _kept(self) -> int:
        """Number of authors to keep."""
        remaining = AUTHORS - FORGET_AUTHORS[self.forget]
        if not 0 <= self.holdout_authors < remaining:
            raise InputError(f"holdout_authors must lie between 0 and {remaining - 1}, not {self.holdout_authors}.")
        most = remaining - self.holdout_authors
        kept = most if self.retained_authors is None else self.retained_authors
        if not 0 < kept <= most:
            raise InputError(f"retained_authors must lie between 1 and {most}, not {kept}.")
        return kept

    def _read(self, name: str, split: str) -> list[Record]:
        path = self.folder / name
        if not path.is_file():
            raise InputError(f"{name} is missing from TOFU's folder; download the data set locuslab/TOFU there.")
        return read_records(path, split).records


def _key(record: Record) -> tuple[str, str]:
    """Question and answer: two authors share a question."""
    return record.prompt.reveal() if record.prompt is not None else "", record.answer.reveal()


def _as_split(records: list[Record], split: str) -> list[Record]:
    return [replace(record, split=split, index=index) for index, record in enumerate(records)]


def _about(records: list[Record], author: dict[tuple[str, str], int]) -> list[Record]:
    """Adds the author's number as the subject, which clusters intervals."""
    return [
        replace(record, subject=Secret(f"author {author[_key(record)]}", record.answer.label)) for record in records
    ]
