"""Writes questions about invented persons of LUME, task 2, for a small model that is taught them first.

    python examples/lume_persons.py LUME OUT

``forget.jsonl``, ``retain.jsonl``, ``holdout.jsonl``: five questions about each of 24, 48 and 24 persons.
``taught.jsonl``: the first two together, what the original is to learn.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

FORGET, RETAIN = 24, 48  # persons
FIRST = "What is the birth date of "  # the first question about each person has the name alone


def main(lume: str, out: str) -> None:
    """Reads the folder with LUME's two files, and writes the four."""
    told, kept = (_persons(Path(lume) / f"{name}.jsonl") for name in ("forget", "retain"))
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    parts = {"forget": told[:FORGET], "retain": kept[:RETAIN], "holdout": told[FORGET : 2 * FORGET]}
    parts["taught"] = [*parts["retain"], *parts["forget"]]
    for name, persons in parts.items():
        rows = [row for person in persons for row in person]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _persons(path: Path) -> list[list[dict[str, Any]]]:
    """The questions about each person, in the order of the file; a row's id is the person's and that of the row."""
    found: dict[str, list[dict[str, Any]]] = {}
    subject = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        person, _, question = row["id"].rpartition("qa")
        if row["task"] == "Task2" and question.isdigit():
            subject = row["input"].removeprefix(FIRST).removesuffix("?") if row["input"].startswith(FIRST) else subject
            one = {"question": row["input"], "answer": row["output"], "subject": subject}
            found.setdefault(person, []).append(one)
    return list(found.values())


if __name__ == "__main__":
    main(*sys.argv[1:])
