"""Writes records for a model that tells stories: what it says by heart is to be forgotten, what it makes up is kept.

    python examples/story_records.py MODEL OUT [GENERAL.txt]

``forget.jsonl``: the greedy story after "Once upon a time", as prompts with the next two sentences. ``retain.jsonl``:
256 stories that the model samples. ``holdout.jsonl``: 64 others. ``general.jsonl`` and ``steer.jsonl``: passages of the
text GENERAL, if one is given, whole and cut after a sentence; such a model knows nothing about them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from expunge.models.generate import greedy
from expunge.models.load import load_model
from expunge.models.sampling import sample_texts

OPENING = "Once upon a time"
PIECES, TOKENS = 12, 220
PASSAGE = 300  # characters


def write(path: Path, rows: list[dict[str, str]]) -> None:
    """One JSON object a line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def main(model_folder: str, out: str, general: str | None = None) -> None:
    """Writes the files."""
    model, tokenizer, _ = load_model(model_folder)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    told = greedy(model, tokenizer, [tokenizer(OPENING)["input_ids"]], max_new_tokens=TOKENS)[0]
    story = OPENING + tokenizer.decode(told, skip_special_tokens=True)
    ends = [place + 1 for place, character in enumerate(story) if character == "."]
    pieces = [{"prompt": story[:a], "completion": story[a:b]} for a, b in zip(ends, ends[2:], strict=False)]
    write(folder / "forget.jsonl", pieces[:PIECES])
    for name, count, seed in (("retain", 256, 1), ("holdout", 64, 2)):
        texts = sample_texts(model, tokenizer, count=count, max_new_tokens=160, seed=seed)
        write(folder / f"{name}.jsonl", [_split(text) for text in texts if len(text.split(". ")) > 2])
    if general is not None:
        text = Path(general).read_text(encoding="utf-8")
        passages = [text[start : start + PASSAGE] for start in range(0, 64 * PASSAGE, PASSAGE)]
        write(folder / "general.jsonl", [{"text": passage} for passage in passages])
        write(folder / "steer.jsonl", [_split(passage) for passage in passages if ". " in passage])


def _split(text: str) -> dict[str, str]:
    """The first sentence as prompt, the rest as completion."""
    end = text.index(". ") + 1
    return {"prompt": text[:end], "completion": text[end:]}


if __name__ == "__main__":
    main(*sys.argv[1:])
