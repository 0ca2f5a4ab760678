"""Answers on disk: one file for each need of each model, found by everything that decides its numbers. No text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expunge.errors import InputError
from expunge.metrics.base import TOKENS, Answer, Need
from expunge.storage import atomic


@dataclass(frozen=True)
class Store:
    """Answers below one folder.

    Attributes:
        folder: ``scores/`` of a run.
        digests: HMAC of the records of each split.
        max_length: longest record, tokens.
        code: digest of the source that computes the numbers; other code computes them anew.
        surroundings: what sampled replies hang on beside all that; see ``expunge.evaluation.surroundings``.
        known: folders of other runs whose records have HMACs under the same key; what one of them stored is copied
            rather than computed.
    """

    folder: Path
    digests: Mapping[str, str]
    max_length: int
    code: str = ""
    surroundings: Mapping[str, Any] = field(default_factory=dict)
    known: tuple[Path, ...] = ()

    def key(self, identity: Mapping[str, str], need: Need, second: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Everything that decides the numbers of one need.

        Args:
            identity: of the model.
            need: the numbers.
            second: identity of the model ``need.second``, for needs that depend on one.

        Raises:
            InputError: the split has no digest, so that its answers could not be told from those of other records; or a
                need without the second model that it depends on.
        """
        if need.second is not None and second is None:
            raise InputError(f"These numbers depend on the {need.second} model too; hand it in.")
        # Only where numbers hang on it: greedy replies and log-probabilities are found whatever the batches were.
        drawn = {"drawn": dict(sorted(self.surroundings.items()))} if need.drawn else {}
        return {
            "version": 3,
            "code": self.code,
            "subject": dict(sorted(identity.items())) if need.reads_model else {},
            "records": self._digest(need.split),
            "split": need.split,
            "form": need.form,
            "kind": need.kind,
            "params": [list(pair) for pair in need.params],
            "transform": need.transform.label if need.transform else "",
            "other_records": self._digest(need.beside) if need.beside else "",
            "max_length": self.max_length,
            "second": dict(sorted(second.items())) if need.second is not None and second is not None else {},
            **drawn,
        }

    def get(self, identity: Mapping[str, str], need: Need, second: Mapping[str, str] | None = None) -> Answer | None:
        """Returns a stored answer; None if there is none, or one that is damaged."""
        key = self.key(identity, need, second)
        answer = read_answer(self.folder, key)
        if answer is None:
            found = (read_answer(folder, key) for folder in self.known)
            answer = next((other for other in found if other is not None), None)
            if answer is not None:
                write_answer(self.folder, key, answer)
        return None if answer is None else [[_array(form, need) for form in record] for record in answer]

    def put(
        self, identity: Mapping[str, str], need: Need, answer: Answer, second: Mapping[str, str] | None = None
    ) -> None:
        """Stores an answer."""
        key = self.key(identity, need, second)
        plain = [[np.asarray(form, dtype=np.float64).tolist() for form in record] for record in answer]
        write_answer(self.folder, key, plain)

    def path(self, identity: Mapping[str, str], need: Need, second: Mapping[str, str] | None = None) -> Path:
        """Where an answer is stored, or would be; errors as ``key``."""
        return _path(self.folder, self.key(identity, need, second))

    def _digest(self, split: str) -> str:
        if split not in self.digests:
            raise InputError(f"The {split} records have no digest; bind them to the run before they are scored.")
        return self.digests[split]


def read_answer(folder: Path, key: Mapping[str, Any]) -> Any:
    """Returns what is stored under everything that decides it; None if there is nothing, or something damaged."""
    path = _path(folder, key)
    if not path.is_file():
        return None
    try:
        stored = atomic.read_json(path)
    except InputError:
        return None
    if not isinstance(stored, dict) or stored.get("key") != key or "answer" not in stored:
        return None
    return stored["answer"] if stored.get("digest") == _digest(stored["answer"]) else None


def write_answer(folder: Path, key: Mapping[str, Any], answer: Any) -> None:
    """Stores numbers as plain data."""
    atomic.write_json(_path(folder, key), {"key": key, "digest": _digest(answer), "answer": answer})


def _path(folder: Path, key: Mapping[str, Any]) -> Path:
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return folder / f"{name}.json"


def _array(numbers: Any, need: Need) -> NDArray[np.float64]:
    array = np.asarray(numbers, dtype=np.float64)
    return (
        array.reshape(-1, 2) if need.kind in ("moments", *TOKENS) else array
    )  # a record without scored tokens is (0, 2), not (0,)


def _digest(plain: Any) -> str:
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()
