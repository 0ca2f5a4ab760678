"""The run folder: fixed names for what a run needs and leaves behind.

::

    RUN/config.json   every setting of the run; written first, it makes the folder a run folder
        record.json   what was done and found        events.jsonl  log, with the state of the run
        model/        the result                     scores/       numbers for each record
        report.html   the report                     data.key      key of the HMACs of the user's data
        scores.csv    its numbers, every digit       scores.tex    and as a LaTeX table
        attacks/      what each attack found         rendering.json  system prompt and template, if any were given
        checkpoints/  helpers/                       models on the way and beside it: their weights hold the forget set
        shadows/                                     of expunge shadows: models with other seeds; some hold it too
        keep-text/    generated text, only on request
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast, get_args

from expunge.errors import InputError
from expunge.storage.atomic import create_bytes, read_json, recover_tree
from expunge.storage.digests import KEY_NAME
from expunge.storage.disk import disk_errors, is_leftover, make_folder
from expunge.storage.events import EVENTS_LOCK, EVENTS_NAME, EventLog, Listener, SilentLog, read_events
from expunge.storage.inventory import InventoryItem, inventory, purge
from expunge.storage.lock import LOCK_NAME, lock
from expunge.storage.plain import from_json, to_json
from expunge.storage.progress import PHASE, Phases

State = Literal["created", "running", "interrupted", "failed", "diverged", "done"]
CONFIG_NAME = "config.json"
_FORMAT = "expunge-run"
_VERSION = 1
_SHOWN = 12  # differing settings that a message names
_WIDTH = 80  # characters of a value in a message


class RunFolder:
    """One run on disk. Made by ``create`` or ``open``; nothing is held in memory but the path.

    Args:
        root: the folder.
        listeners: called with each event that this object logs.
    """

    def __init__(self, root: Path, listeners: tuple[Listener, ...] = ()) -> None:
        self.root = root
        self.model = root / "model"
        self.record = root / "record.json"
        self.scores = root / "scores"
        self.report = root / "report.html"
        self.config_path = root / CONFIG_NAME
        self.events_path = root / EVENTS_NAME
        self.checkpoints = root / "checkpoints"
        self.helpers = root / "helpers"
        self.keep_text = root / "keep-text"
        self.rendering = root / "rendering.json"
        self.key_path = root / KEY_NAME
        self._listeners = listeners

    @classmethod
    def create(cls, path: Path, config: Mapping[str, Any], listeners: tuple[Listener, ...] = ()) -> RunFolder:
        """Makes a run folder (mode 0700), or opens the one of an earlier run with the same settings, to go on with it.

        Args:
            path: a place where nothing is, an empty folder, or a run folder.
            config: every setting, as plain data; never record text, since messages show differing values.
            listeners: called with each event that the returned object logs.

        Raises:
            InputError: the folder holds something else, or a run with other settings (named in the message). It is
                unchanged.
            ResourceError: the disk is full.
        """
        run = cls(path, listeners)
        header = {"format": _FORMAT, "version": _VERSION, "settings": config}
        text = to_json(header, indent=2) + "\n"
        with disk_errors(path):
            run._refuse_foreign()
            make_folder(path)
        # Of two processes that come here at once one writes its settings and the other is compared with them.
        if not run.config_path.exists():
            create_bytes(run.config_path, text.encode())
        run._refuse_other_version()
        run._refuse_other(from_json(text)["settings"])
        with disk_errors(path):
            path.chmod(0o700)
        if not read_events(run.events_path):
            run.set_state("created")
        return run

    @classmethod
    def open(cls, path: Path, listeners: tuple[Listener, ...] = ()) -> RunFolder:
        """Returns the run folder at ``path``.

        Raises:
            InputError: there is none; the message says what is missing.
        """
        run = cls(path, listeners)
        if not path.is_dir():
            raise InputError(f"There is no run folder {path}; give the folder that --out named.")
        if not run.config_path.is_file():
            raise InputError(f"{path} is not a run folder: it has no {CONFIG_NAME}. Give the folder that --out named.")
        if not cls.is_run(path):
            raise InputError(f"{path} is not a run folder: its {CONFIG_NAME} is not ours. Give what --out named.")
        run._refuse_other_version()
        return run

    @classmethod
    def watch(cls, path: Path) -> RunFolder:
        """Returns the run folder at ``path`` for a process that reads along and logs nothing."""
        run = cls.open(path)
        run.events = SilentLog(run.events_path)
        return run

    @staticmethod
    def is_run(path: Path) -> bool:
        """Whether ``path`` is a run folder; a model folder, which also has a ``config.json``, is not."""
        try:
            header = read_json(path / CONFIG_NAME)
        except InputError:
            return False
        return isinstance(header, dict) and header.get("format") == _FORMAT

    @property
    def config(self) -> dict[str, Any]:
        """Every setting of the run, as plain data."""
        settings = read_json(self.config_path).get("settings")
        if not isinstance(settings, dict):
            raise InputError(f"{CONFIG_NAME} in {self.root} does not hold settings; restore it or start a new run.")
        return settings

    @cached_property
    def events(self) -> EventLog:
        """The log of the run, for appending; ``read_events(run.events_path)`` reads it."""
        return EventLog(self.events_path, self._listeners)

    @cached_property
    def phases(self) -> Phases:
        """The parts of the run's work: each is logged when it begins, and its steps are shown to the listeners."""

        def tell(kind: str, data: Mapping[str, Any]) -> None:
            if kind == PHASE:
                self.events.append(kind, **data)
            else:
                self.events.show(kind, data)

        return Phases(tell)

    @property
    def state(self) -> State:
        """How the run stands: the last state logged."""
        states = [event.data.get("state") for event in read_events(self.events_path) if event.kind == "state"]
        return cast(State, states[-1]) if states else "created"

    def set_state(self, state: State, **data: Any) -> None:
        """Logs a new state of the run, with plain data that explains it.

        Raises:
            InputError: a state that does not exist.
        """
        if state not in get_args(State):
            raise InputError(f"A run has no state {state!r}; known: {', '.join(get_args(State))}.")
        self.events.append("state", state=state, **data)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the folder while the block works in it, and first clears up what a killed process left.

        Raises:
            LockedError: another process is working in the folder.
        """
        with lock(self.root, "the run folder"):
            recover_tree(self.root)
            yield

    def inventory(self) -> list[InventoryItem]:
        """Returns everything in the folder, file by file: what it holds and whether that tells of the user's data."""
        return inventory(self.root)

    def purge(self, names: list[str]) -> list[InventoryItem]:
        """Removes files of the run, named as in ``inventory`` (or by a folder of them); returns what went.

        A run folder keeps ``config.json`` and ``events.jsonl``; to lose these, delete the folder. The bytes are
        released to the file system, which may keep copies (snapshots, backups, flash memory).

        Raises:
            InputError: a name that is not in the folder or must stay. Then nothing is removed.
        """
        removed = purge(self.root, names, keep=(CONFIG_NAME, EVENTS_NAME, LOCK_NAME, EVENTS_LOCK))
        self.events.append("purge", files=len(removed), bytes=sum(item.bytes for item in removed))
        return removed

    def _refuse_foreign(self) -> None:
        """An own creation that was killed leaves nothing but temporary files and locks; anything else is not ours."""
        if not os.path.lexists(self.root) or self.is_run(self.root):
            return
        if not self.root.is_dir():
            raise InputError(f"{self.root} is not a folder; choose another --out.")
        foreign = any(not is_leftover(child.name) and child.name != LOCK_NAME for child in self.root.iterdir())
        # Another process may have made the run folder since the first look.
        if foreign and not self.is_run(self.root):
            raise InputError(
                f"{self.root} holds files and is not a run folder; choose another --out. Nothing was changed."
            )

    def _refuse_other_version(self) -> None:
        version = read_json(self.config_path).get("version")
        if version != _VERSION:
            raise InputError(
                f"{self.root} is a run folder of version {version}; this Expunge reads {_VERSION}. Use the Expunge "
                "that wrote it."
            )

    def _refuse_other(self, config: dict[str, Any]) -> None:
        there, now = _flat(self.config), _flat(config)
        keys = [key for key in {**there, **now} if there.get(key) != now.get(key)]
        if not keys:
            return
        shown = "; ".join(f"{key}: {_short(there, key)} there, {_short(now, key)} now" for key in keys[:_SHOWN])
        more = f"; and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
        raise InputError(
            f"{self.root} holds a run with other settings ({shown}{more}). Use the same settings to go on with it, or "
            f"choose another --out."
        )


def _short(flat: Mapping[str, str], key: str) -> str:
    text = flat.get(key, "not set")
    return text if len(text) <= _WIDTH else f"{text[:_WIDTH]}..."


def harden_umask() -> None:
    """Makes every file that this process creates from now on, by whatever library, readable by its owner only."""
    os.umask(0o077)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as dotted names with their values as JSON, in which NaN equals NaN and 1 differs from true."""
    flat: dict[str, str] = {}
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = to_json(value)
    return flat
