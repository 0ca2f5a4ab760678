"""Several finished runs side by side, from their records alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from expunge.errors import InputError
from expunge.reports.comparison import PAGE_TITLE, Comparison, Run, compare_records, render_comparison
from expunge.reports.record import read_record
from expunge.reports.svg import PLACES
from expunge.storage import atomic
from expunge.storage.digests import KEY_NAME, DataKey
from expunge.storage.events import read_events
from expunge.storage.run import RunFolder
from expunge.workflows.places import models_of, refuse_model_folder


def compare(folders: Sequence[Path], out: Path | None = None) -> Comparison:
    """Compares runs; differences are from the first.

    Args:
        folders: run folders with an audit.
        out: where a page is written; None for none.

    Raises:
        InputError: a folder that is no run or has no record, or runs whose numbers cannot be compared.
    """
    comparison = compare_folders(folders, out)
    write_page(comparison, out)
    return comparison


def compare_folders(folders: Sequence[Path], out: Path | None) -> Comparison:
    """Puts the records of runs side by side, and refuses a place that is no page's; writes nothing.

    Raises:
        InputError: as ``compare``.
    """
    if out is not None:
        refuse_model_folder(out, (place for folder in folders for place in models_of(folder)))
        _refuse_place(out)
    return compare_records([_read(folder, name) for folder, name in zip(folders, names_of(folders), strict=True)])


def write_page(comparison: Comparison, out: Path | None) -> None:
    """Writes the page of a comparison, if it has a place."""
    if out is not None:
        atomic.write_text(out, render_comparison(comparison))


def _refuse_place(out: Path) -> None:
    """A page replaces a page, and nothing else."""
    if out.is_dir():
        raise InputError(f"{out} is a folder; give the name of a file, such as {out / 'compare.html'}.")
    if out.suffix != ".html":
        raise InputError(
            f"The comparison is a page, and {out} is no name of one; give --out a name that ends in .html."
        )
    if out.is_file() and PAGE_TITLE not in out.read_text(encoding="utf-8", errors="replace")[:2000]:
        raise InputError(f"{out} is another file, which would be lost; give --out a name that is free.")


def _read(folder: Path, name: str) -> Run:
    run = RunFolder.open(folder)
    if not run.record.is_file():
        how = "give one of its runs, in runs/" if run.config.get("verb") == "bench" else "run its command again"
        raise InputError(f"{folder} has no record.json: {how}.")
    length = run.config.get("max_length")
    # The key is asked for something that says nothing about it; a folder without one gets none.
    key = DataKey.load_or_create(folder).hmac("which key") if (folder / KEY_NAME).is_file() else None
    audits = [event.data for event in read_events(run.events_path) if event.kind == "audit"]
    suite = audits[-1].get("suite") if audits else None
    return Run(name, read_record(run.record), None if length is None else int(length), key, suite)


def names_of(folders: Sequence[Path]) -> list[str]:
    """Names of the folders; numbered where two are the same, or one could be taken for a model of a report."""
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) == len(names) and not set(names) & set(PLACES):
        return names
    return [f"{number} {name}" for number, name in enumerate(names, start=1)]
