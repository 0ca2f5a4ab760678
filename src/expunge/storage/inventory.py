"""What lies in a run folder, what it holds, and how it is taken away."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from expunge.errors import InputError
from expunge.storage.atomic import ASIDE
from expunge.storage.digests import KEY_NAME
from expunge.storage.disk import disk_errors, is_leftover, remove
from expunge.storage.events import EVENTS_LOCK, EVENTS_NAME
from expunge.storage.lock import LOCK_NAME

Holds = Literal["weights", "numbers", "settings", "text", "key"]

_FILES: dict[str, Holds] = {
    "config.json": "settings",
    "record.json": "numbers",
    "policy.json": "key",
    "rendering.json": "text",
    "report.html": "numbers",
    "scores.csv": "numbers",
    "scores.tex": "numbers",
    EVENTS_NAME: "numbers",
    KEY_NAME: "key",
    LOCK_NAME: "settings",
    EVENTS_LOCK: "settings",
}
_WEIGHTS = (".safetensors",)


class InventoryItem(NamedTuple):
    """One file of a run folder.

    Attributes:
        path: relative, with forward slashes.
        bytes: size.
        holds: what is in it; ``text`` also for files that Expunge did not put there, which may hold anything.
        sensitive: whether it tells of the forget set: its text, the key of its HMACs, or weights that learned it.
    """

    path: str
    bytes: int
    holds: Holds
    sensitive: bool


def inventory(root: Path) -> list[InventoryItem]:
    """Returns every file (and link) below a run folder, sorted by path."""
    items = (_item(root, path) for path in _walk(root))
    return sorted(items, key=lambda item: item.path)


def purge(root: Path, names: Iterable[str], keep: Iterable[str]) -> list[InventoryItem]:
    """Removes files and folders by their relative names and returns the items that went.

    Args:
        root: the run folder.
        names: paths as in ``inventory``, or folders of such paths.
        keep: paths that must stay.

    Raises:
        InputError: a name that is not in the inventory or must stay. Then nothing is removed.
    """
    items = inventory(root)
    doomed = {name: _matching(items, name, tuple(keep)) for name in names}
    with disk_errors(root):
        for name in sorted(doomed, reverse=True):  # what is inside a folder before the folder
            remove(root / name)
    return [item for item in items if any(item in matching for matching in doomed.values())]


def _matching(items: list[InventoryItem], name: str, keep: tuple[str, ...]) -> list[InventoryItem]:
    # Only what the inventory names can be removed, so that no "..", link or absolute path leads out of the folder.
    clean = name.rstrip("/")
    matching = [item for item in items if item.path == clean or item.path.startswith(f"{clean}/")]
    if not matching:
        known = ", ".join(sorted({PurePosixPath(item.path).parts[0] for item in items} - set(keep))) or "nothing"
        raise InputError(f"The run folder has no {name!r} to purge; it has {known}.")
    if clean in keep:
        raise InputError(f"{clean} belongs to the run folder itself and stays; delete the whole folder to lose it.")
    return matching


def _walk(folder: Path) -> Iterator[Path]:
    for child in folder.iterdir():
        if child.is_dir() and not child.is_symlink():
            yield from _walk(child)
        else:
            yield child


def _item(root: Path, path: Path) -> InventoryItem:
    name = path.relative_to(root)
    holds, sensitive = _content(name)
    if path.is_symlink():
        holds, sensitive = "text", True
    return InventoryItem(name.as_posix(), path.lstat().st_size, holds, sensitive)


def _content(name: Path) -> tuple[Holds, bool]:
    top = name.parts[0]
    if any(is_leftover(part) or part.startswith(ASIDE) for part in name.parts):
        return "text", True  # an unfinished write of anything
    if len(name.parts) == 1:
        holds = _FILES.get(top, "text")
        return holds, holds in ("text", "key")
    if top == "shadows":  # pairs of models, of which the retrained one never saw the forget set
        holds = "weights" if name.suffix in _WEIGHTS else _FILES.get(name.name, "settings")
        return holds, name.parts[2:3] != ("retrained",)
    if top in ("checkpoints", "helpers"):
        return ("weights" if name.suffix in _WEIGHTS else "settings"), True
    if top == "model":
        return ("weights" if name.suffix in _WEIGHTS else "settings"), False
    if top in ("scores", "attacks"):
        return "numbers", False
    return "text", True
