"""What a user hands in, read and checked before any model is loaded."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from expunge.benchmarks.base import Benchmark
from expunge.config import Choice
from expunge.data.checks import content_digest
from expunge.data.people import with_found_subjects
from expunge.data.reader import Rejection, listing, read_records, refuse_rejected
from expunge.data.record import Record
from expunge.errors import InputError
from expunge.models.folder import check_folder
from expunge.models.headers import check_headers
from expunge.models.load import local_folder
from expunge.registry import benchmarks
from expunge.storage.digests import DataKey
from expunge.storage.events import read_events
from expunge.storage.run import RunFolder

SELF = "self"  # --retain self: text that the model itself writes
TRAIN_RETAIN = "train_retain"  # what a benchmark keeps training on where its split ``retain`` is for evaluation only
MOST_REJECTED = 1000  # rejected lines that a record lists
RESERVED = ("forget", "retain", "holdout", TRAIN_RETAIN)  # not for further splits


class Inputs(NamedTuple):
    """What was handed in.

    Attributes:
        splits: records by split.
        rejected: lines that were left out, by split.
        evaluation: further splits, for the audit only.
        sources: a benchmark's records for methods that need others than to forget and to retain.
    """

    splits: dict[str, list[Record]]
    rejected: dict[str, list[Rejection]]
    evaluation: dict[str, list[Record]]
    sources: dict[str, list[Record]]

    @property
    def audited(self) -> dict[str, list[Record]]:
        """Everything that an audit may read."""
        return {**self.splits, **self.evaluation}

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

    def with_needs(self, needs: Collection[str]) -> Inputs:
        """Moves further splits that a recipe needs, such as ``general``, from the audit's records to the training's.

        A file goes before the benchmark's own records of that name.
        """
        there = {**self.sources, **self.evaluation}
        moved = {split: records for split, records in there.items() if split in needs and split not in self.splits}
        rest = {split: records for split, records in self.evaluation.items() if split not in moved}
        return self._replace(splits={**self.splits, **moved}, evaluation=rest)


def read_inputs(
    files: Mapping[str, Path | None],
    evaluation: Mapping[str, Path] | None = None,
    benchmark: Choice | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    allow_rejected: bool = False,
) -> Inputs:
    """Reads a benchmark's splits and the files that were given, which take the place of its splits.

    Args:
        files: of the splits that have a flag of their own; None for one that was not given.
        evaluation: further files by split.
        benchmark: where the other splits come from.
        columns: the column of each field whose column in the files has another name.
        allow_rejected: leave out records to forget that cannot be read.

    Raises:
        InputError: a file that cannot be used, a record to forget that cannot be read, a further split with the name of
            another flag, or a benchmark that has nothing to forget, and no file of what is.
    """
    further = dict(evaluation or {})
    taken = sorted(set(further) & set(RESERVED))
    if taken:
        flag = "retain" if taken[0] == TRAIN_RETAIN else taken[0]
        raise InputError(f"The name {taken[0]!r} is not free for a further split; hand in its file with --{flag}.")
    chosen = None if benchmark is None else _created(benchmark, has_forget=files.get("forget") is not None)
    splits = {} if chosen is None else chosen.splits()
    named = {split: path for split, path in {**files, **further}.items() if path is not None}
    results = {split: read_records(path, split, columns=columns) for split, path in named.items()}
    if "forget" in results and not allow_rejected:
        refuse_rejected(results["forget"], "forget")
    splits |= {split: result.records for split, result in results.items() if split not in further}
    found = with_found_subjects(splits | {split: results[split].records for split in further})
    return Inputs(
        {split: found[split] for split in splits},
        {split: result.rejected for split, result in results.items() if result.rejected},
        {split: found[split] for split in further},
        {} if chosen is None else chosen.sources(),
    )


def _created(benchmark: Choice, *, has_forget: bool) -> Benchmark:
    """A benchmark; one that only asks has nothing to forget, which the user then hands in."""
    chosen: Benchmark = benchmark.create(benchmarks)
    if not chosen.forget_splits and not has_forget:
        raise InputError(
            f"The benchmark {benchmark.name} has no records to forget, it only asks; hand in yours with --forget."
        )
    return chosen


def warn_of_rejected(run: RunFolder, inputs: Inputs) -> None:
    """Logs which lines were left out and why, never what they say."""
    for split, rejected in inputs.rejected.items():
        run.events.append("warning", text=left_out(split, len(rejected), rejected))


def left_out(split: str, count: int, rejected: Sequence[Rejection]) -> str:
    """Says how many lines of a file were left out, and why."""
    were = "1 line" if count == 1 else f"{count} lines"
    return f"{were} of the {split} file {'was' if count == 1 else 'were'} left out ({listing(rejected)})."


def rejected_facts(rejected: Sequence[Rejection]) -> dict[str, Any]:
    """What ``record.json`` says of the lines that were left out: how many, and the first of them with their reasons."""
    return {"count": len(rejected), "lines": [item._asdict() for item in rejected[:MOST_REJECTED]]}


def check_models(*sources: str | None) -> None:
    """Refuses model folders that cannot be loaded, by their layout and the headers of their weights."""
    for source in sources:
        if source is not None:
            check_headers(check_folder(local_folder(source)))


def model_is_saved(run: RunFolder) -> bool:
    """Whether an earlier call already finished the model (or policy) of this run."""
    return any(event.kind == "saved" for event in read_events(run.events_path))


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


def reading_digests(splits: Mapping[str, Sequence[Record]], key: DataKey) -> dict[str, str]:
    """Returns for each split an HMAC of all that a stored number may depend on.

    It is the one of ``data_summary``; where subjects were found it has them too, since they depend on the other splits.
    """
    digests = {split: data["hmac"] for split, data in data_summary(splits, key).items()}
    for split, records in splits.items():
        if any(record.found_subject is not None for record in records):
            whom = ("" if record.found_subject is None else record.found_subject for record in records)
            digests[split] = key.hmac_many((digests[split], *whom))
    return digests


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
