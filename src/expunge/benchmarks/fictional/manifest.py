"""What was generated, by digest: whoever has preset, seed and version can make it again and compare."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from expunge.benchmarks.fictional.generate import VERSION, Rows
from expunge.storage import atomic
from expunge.storage.digests import text_digest


def lines(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as JSON lines; the text that is written and whose digest is in the manifest."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def manifest(preset: str, seed: int, rows: Rows, tokenizer: Any) -> dict[str, Any]:
    """Returns preset, seed, version, and for every split its rows, subjects and SHA-256."""
    return {
        "benchmark": "fictional",
        "version": VERSION,
        "preset": preset,
        "seed": seed,
        "tokenizer_sha256": text_digest(tokenizer.backend_tokenizer.to_str()),
        "splits": {
            split: {
                "rows": len(found),
                "subjects": len({row["subject"] for row in found if "subject" in row}),
                "sha256": text_digest(lines(found)),
            }
            for split, found in rows.items()
        },
    }


def write_rows(folder: Path, rows: Rows, made: Mapping[str, Any]) -> None:
    """Writes every split and the manifest."""
    for split, found in rows.items():
        atomic.write_text(folder / f"{split}.jsonl", lines(found))
    atomic.write_json(folder / "manifest.json", dict(made))
