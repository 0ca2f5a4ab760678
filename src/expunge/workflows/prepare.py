"""Makes data sets: cleans, leaves out duplicates and what must be forgotten, splits, describes and writes."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from expunge import __version__
from expunge.data.arrow import arrow_files
from expunge.data.describe import Length, describe
from expunge.data.exclude import Hit, count_rules
from expunge.data.files import count_lines
from expunge.data.names import Finder, is_searchable, is_single_word
from expunge.data.partition import RETAIN, partition
from expunge.data.phrases import read_names, read_phrases
from expunge.data.reader import ReadResult, read_records, refuse_rejected
from expunge.data.record import Record
from expunge.data.selection import Item, Selected, Selection, Wanted
from expunge.data.words import secrets_of
from expunge.data.write import row
from expunge.errors import InputError
from expunge.storage.digests import file_digest, text_digest
from expunge.storage.events import Listener, showing
from expunge.storage.progress import Phases, Steps
from expunge.storage.run import harden_umask
from expunge.workflows.advice import advice
from expunge.workflows.places import refuse_model_folder
from expunge.workflows.prepared import Prepared, refuse_early, store

FORMAT, VERSION = "expunge-prepared", 2
RESERVED = (RETAIN, "forget", "excluded", "duplicates", "dropped")


@dataclass(frozen=True, kw_only=True)
class PrepareRequest:
    """What to prepare, and how.

    Attributes:
        data: one or more files of records, or folders of saved data sets.
        out: folder to make.
        forget: file of records to forget; without it they are chosen from the data by names and phrases.
        columns: column of each field whose column in the files has another name, such as ``{"answer": "response"}``.
        allow_rejected: leave out records to forget that cannot be read, instead of refusing their file.
        names: file of names, one a line, of whom or what must be forgotten.
        phrases: file of texts, one a line, that no kept record may hold.
        shares: expected share of subjects (of records, where there are none) by name of a further split: holdout, ...
        selection: settings of cleaning, duplicates and exclusion.
        tokenizer: model folder or Hub id whose tokenizer counts.
        seed: of the splits.
    """

    data: tuple[Path, ...]
    out: Path
    forget: Path | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    allow_rejected: bool = False
    names: Path | None = None
    phrases: Path | None = None
    shares: Mapping[str, float] = field(default_factory=dict)
    selection: Selection = Selection()
    tokenizer: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        partition((), self.shares, self.seed)
        for name in self.shares:
            if name in RESERVED or not name.isidentifier():
                raise InputError(f"A further split cannot be called {name!r}; take another word, such as validation.")
        limits = (self.selection.min_tokens, self.selection.max_tokens)
        if self.tokenizer is None and any(limit is not None for limit in limits):
            raise InputError("--min-tokens and --max-tokens need --tokenizer MODEL, whose tokens they count.")


class _Sources(NamedTuple):
    """What was read; counts of it for the manifest, and SHA-256 of each file, by role."""

    items: list[Item]
    wanted: Wanted
    facts: dict[str, dict[str, Any]]
    digests: dict[str, str]


def prepare(request: PrepareRequest, listeners: Sequence[Listener] = ()) -> Prepared:
    """Makes the folder ``request.out``, or finds it made by an equal request from equal files.

    Args:
        request: what to prepare.
        listeners: called with an event when a part of the work begins, and after its steps.

    Raises:
        InputError: files that cannot be used, a request that leaves nothing, or a folder that holds something else.
        ResourceError: the disk is full.
    """
    harden_umask()
    refuse_model_folder(request.out, (request.tokenizer,))
    refuse_early(request.out)
    phases = showing(listeners)
    sources = _read(request, phases)
    count = _counter(request.tokenizer)
    selected = request.selection.select(sources.items, sources.wanted, count, phases)
    names = partition([item.record for item in selected.kept], request.shares, request.seed)
    splits = _splits(names, selected, tuple(request.shares))
    with phases.phase("describe", sum(map(len, splits.values()))) as steps:
        manifest = _manifest(request, sources, selected, names, splits, count, steps)
    with phases.phase("write"):
        rows = {name: [row(record) for record in records] for name, records in splits.items()}
        rows |= {"excluded": selected.excluded, "duplicates": selected.duplicates, "dropped": selected.dropped}
        return store(request.out, {name: found for name, found in rows.items() if found}, manifest, sources.digests)


def _read(request: PrepareRequest, phases: Phases) -> _Sources:
    several = len(request.data) > 1
    files = {f"data {number}" if several else "data": path for number, path in enumerate(request.data, start=1)}
    if not files:
        raise InputError("Hand in at least one file of records.")
    if request.forget:
        files["forget"] = request.forget
    lines = {role: count_lines(path) for role, path in files.items()}
    read = {}
    with phases.phase("read", max(1, sum(lines.values()))) as steps:
        for role, path in files.items():
            with steps.part(lines[role], role):
                read[role] = read_records(path, role, columns=request.columns, steps=steps)
    if request.forget and not request.allow_rejected:
        refuse_rejected(read["forget"], "forget")
    facts = {role: _read_facts(one) for role, one in read.items()}
    forget = read.pop("forget").records if request.forget else None
    items = [Item(record, number) for number, one in enumerate(read.values(), start=1) for record in one.records]
    names = read_names(request.names) if request.names else []
    phrases = read_phrases(request.phrases) if request.phrases else []
    for role, file, found in (("names", request.names, names), ("phrases", request.phrases, phrases)):
        if file:
            facts[role] = {"records": len(found)}
            files[role] = file
    digests = {role: _digest(path, role) for role, path in files.items()}
    return _Sources(items, Wanted(forget, names, phrases), facts, digests)


def _read_facts(read: ReadResult) -> dict[str, Any]:
    return {"records": len(read.records), "rejected": [one._asdict() for one in read.rejected]}


def _digest(path: Path, role: str) -> str:
    """SHA-256 of a file; of a saved data set that of the digests and names of the files that hold its rows."""
    if not path.is_dir():
        return file_digest(path)
    return text_digest("".join(f"{file_digest(file)}  {file.name}\n" for file in arrow_files(path, role)))


def _counter(tokenizer: str | None) -> Length | None:
    """How many tokens a record has, or None without a tokenizer."""
    if tokenizer is None:
        return None
    # Imported here, since these load torch, which nothing else needs.
    from expunge.data.tokenize import encode
    from expunge.models.folder import check_folder
    from expunge.models.load import local_folder
    from expunge.models.tokenizer import load_tokenizer

    loaded = load_tokenizer(check_folder(local_folder(tokenizer)).path)
    return lambda record: len(encode(record, loaded, row=0, max_length=sys.maxsize).input_ids)


def _tokenizer_digest(tokenizer: str | None) -> str | None:
    if tokenizer is None:
        return None
    from expunge.workflows.identity import tokenizer_digest  # loads torch

    return tokenizer_digest(tokenizer)


def _splits(names: Sequence[str], selected: Selected, further: Sequence[str]) -> dict[str, list[Record]]:
    splits: dict[str, list[Record]] = {RETAIN: [], **({"forget": selected.forget} if selected.forget else {})}
    splits |= {name: [] for name in further}
    for name, item in zip(names, selected.kept, strict=True):
        splits[name].append(item.record)
    if not splits[RETAIN]:
        raise InputError("No record is left to retain; make the shares smaller, or take another --seed.")
    return splits


def _manifest(
    request: PrepareRequest,
    sources: _Sources,
    selected: Selected,
    names: Sequence[str],
    splits: Mapping[str, Sequence[Record]],
    count: Length | None,
    steps: Steps,
) -> dict[str, Any]:
    """Everything that is known about the data, in numbers; no text, and no name of a file of the user's."""
    subjects = {record.subject.reveal() for record in selected.forget if record.subject is not None}
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "settings": _settings(request),
        "inputs": sources.facts,
        **selected.counts,
        "names": {
            "searched": len(selected.searched),
            "single_word": sum(map(is_single_word, selected.searched)),
            "not_searched": sum(not is_searchable(name) for name in subjects),
        },
        "splits": {name: _described(name, records, count, steps) for name, records in splits.items()},
        "overlap": _overlap(names, selected.hits, splits),
    }
    return {**manifest, "warnings": advice(manifest)}


def _described(name: str, records: Sequence[Record], count: Length | None, steps: Steps) -> dict[str, Any]:
    with steps.part(len(records), name):
        return describe(records, count, steps).plain()


def _settings(request: PrepareRequest) -> dict[str, Any]:
    """Settings without the places of files, which may tell of the user and change nothing."""
    chosen = request.selection
    return {
        "expunge": __version__,
        "tokenizer": _tokenizer_digest(request.tokenizer),
        "near": chosen.near.threshold,
        "min_tokens": chosen.min_tokens,
        "max_tokens": chosen.max_tokens,
        "skip": sorted(chosen.skip),
        "keep": sorted(chosen.keep),
        "shares": dict(request.shares),
        "seed": request.seed,
    }


def _overlap(
    names: Sequence[str], hits: Sequence[Hit], splits: Mapping[str, Sequence[Record]]
) -> dict[str, dict[str, Any]]:
    """For each split records that still hold something of the forget set, and retain records that name its subjects."""
    found: dict[str, dict[str, Any]] = {}
    for split in splits:
        if split != "forget":
            mine = (hit for name, hit in zip(names, hits, strict=True) if name == split)
            found[split] = {"forget": count_rules(mine)} if "forget" in splits else {}
        if split not in ("forget", RETAIN):
            found[split]["named_in_retain"] = _naming(splits[RETAIN], splits[split])
    return found


def _naming(records: Iterable[Record], named: Iterable[Record]) -> int:
    """Number of records that name a subject of others."""
    subjects = {record.subject.reveal() for record in named if record.subject is not None}
    finder = Finder(sorted(filter(is_searchable, subjects)))
    return sum(any(finder.find(secret.reveal()) for secret in secrets_of(record)) for record in records)
