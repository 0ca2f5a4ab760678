"""What a user hands in, read and checked before any model is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from expunge.config import Choice
from expunge.data.checks import content_digest
from expunge.data.reader import Rejection, read_records
from expunge.data.record import Record
from expunge.errors import InputError
from expunge.registry import benchmarks
from expunge.storage.digests import DataKey
from expunge.storage.events import read_events
from expunge.storage.run import RunFolder

SELF = "self"  # --retain self: text that the model itself writes
TRAIN_RETAIN = "train_retain"  # what a benchmark keeps training on where its split ``retain`` is for evaluation only


class Inputs(NamedTuple):
    """Records by split, and the rejected lines of each file."""

    splits: dict[str, list[Record]]
    rejected: dict[str, list[Rejection]]

    @property
    def available(self) -> frozenset[str]:
        """Splits that hold records, for ``Recipe.check``."""
        return frozenset(name for name, records in self.splits.items() if records)

    @property
    def training(self) -> dict[str, list[Record]]:
        """Records by the name that methods know them by: ``retain`` is what the model goes on training on."""
        found = {name: records for name, records in self.splits.items() if name != TRAIN_RETAIN}
        if TRAIN_RETAIN in self.splits:
            found["retain"] = self.splits[TRAIN_RETAIN]
        return found


def read_inputs(files: Mapping[str, Path | None], benchmark: Choice | None = None) -> Inputs:
    """Reads a benchmark's splits and the files that were given, which take the place of its splits."""
    splits = benchmark.create(benchmarks).splits() if benchmark is not None else {}
    results = {split: read_records(path, split) for split, path in files.items() if path is not None}
    splits |= {split: result.records for split, result in results.items()}
    return Inputs(splits, {split: result.rejected for split, result in results.items() if result.rejected})


def data_summary(splits: Mapping[str, Sequence[Record]], key: DataKey) -> dict[str, dict[str, Any]]:
    """Returns for each split its counts and an HMAC over its records, which shows nothing about them."""
    return {
        split: {
            "records": len(records),
            "subjects": len({record.subject for record in records if record.subject is not None}) or None,
            "hmac": key.hmac_many(content_digest(record).hex() for record in records),
        }
        for split, records in splits.items()
    }


def bind_data(run: RunFolder, splits: Mapping[str, Sequence[Record]]) -> dict[str, dict[str, Any]]:
    """Logs which records a run works on, or refuses to go on with others.

    Raises:
        InputError: the folder holds a run on other records.
    """
    summary = data_summary(splits, DataKey.load_or_create(run.root))
    earlier = [event.data["data"] for event in read_events(run.events_path) if event.kind == "inputs"]
    if earlier and earlier[-1] != summary:
        changed = sorted(split for split in {*earlier[-1], *summary} if earlier[-1].get(split) != summary.get(split))
        raise InputError(
            f"{run.root} holds a run on other records ({', '.join(changed)} changed). "
            "Hand in the same files to go on with it, "
            "or choose another --out."
        )
    if not earlier:
        run.events.append("inputs", data=summary)
    return summary
