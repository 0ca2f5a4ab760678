"""Keeps what is written away from the model folders that are read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from expunge.errors import InputError
from expunge.storage.run import RunFolder


def refuse_model_folder(out: Path | None, models: Iterable[str | Path | None]) -> None:
    """Refuses a place for results that a model folder shares: the folder itself, a place inside it or one around it.

    Files written there would change the model's digest, and a model inside a run folder would be purged with it.

    Args:
        out: where results go; None if nothing is written.
        models: model folders that are read; Hub ids, addresses and None are left out.

    Raises:
        InputError: the places overlap.
    """
    if out is None:
        return
    for source in models:
        folder = None if source is None else Path(source)
        if folder is None or not folder.is_dir():
            continue
        relation = _relation(out, folder)
        if relation:
            raise InputError(
                f"--out {out} {relation} the model folder {folder}, which must stay as it is. Choose another --out, "
                "outside every model folder. Nothing was changed."
            )


def models_of(folder: Path) -> tuple[str | Path | None, ...]:
    """Returns the places of the models of a run folder.

    Raises:
        InputError: there is no run folder.
    """
    run = RunFolder.open(folder)
    return (run.model, run.config.get("model"), run.config.get("target"))


def _relation(out: Path, folder: Path) -> str:
    """How a place lies to a model folder, links followed; empty if they are apart."""
    if _is_inside(out, folder):
        return "is" if _is_inside(folder, out) else "is inside"
    return "contains" if _is_inside(folder, out) else ""


def _is_inside(inner: Path, outer: Path) -> bool:
    """Whether a place is a folder or inside it, also where the file system ignores case."""
    inner, outer = inner.resolve(), outer.resolve()
    return inner.is_relative_to(outer) or (
        outer.exists() and any(place.exists() and place.samefile(outer) for place in (inner, *inner.parents))
    )
