"""Several finished runs side by side, from their records alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from expunge.errors import InputError
from expunge.reports.comparison import Comparison, Run, compare_records, render_comparison
from expunge.reports.record import read_record
from expunge.reports.svg import PLACES
from expunge.storage import atomic
from expunge.storage.digests import KEY_NAME, DataKey
from expunge.storage.run import RunFolder


def compare(folders: Sequence[Path], out: Path | None = None) -> Comparison:
    """Compares runs; differences are from the first.

    Args:
        folders: run folders with an audit.
        out: where a page is written; None for none.

    Raises:
        InputError: a folder that is no run or has no record, or runs whose numbers cannot be compared.
    """
    runs = [_read(folder, name) for folder, name in zip(folders, _names(folders), strict=True)]
    comparison = compare_records(runs)
    if out is not None:
        if out.is_dir():
            raise InputError(f"{out} is a folder; give the name of a file, such as {out / 'compare.html'}.")
        atomic.write_text(out, render_comparison(comparison))
    return comparison


def _read(folder: Path, name: str) -> Run:
    run = RunFolder.open(folder)
    if not run.record.is_file():
        raise InputError(f"{folder} has no record.json yet; finish it with: expunge audit {folder} --forget FILE.")
    length = run.config.get("max_length")
    # The key is asked for something that says nothing about it; a folder without one gets none.
    key = DataKey.load_or_create(folder).hmac("which key") if (folder / KEY_NAME).is_file() else None
    return Run(name, read_record(run.record), None if length is None else int(length), key)


def _names(folders: Sequence[Path]) -> list[str]:
    """Names of the folders; numbered where two are the same, or one could be taken for a model of a report."""
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) == len(names) and not set(names) & set(PLACES):
        return names
    return [f"{number} {name}" for number, name in enumerate(names, start=1)]
