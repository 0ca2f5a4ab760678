"""Generated rows as records, the same as the reader makes of the written files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from expunge.data.record import Kind, Record, Variant
from expunge.storage.secret import Secret


def record(split: str, index: int, row: Mapping[str, Any]) -> Record:
    """Returns the record of one row: a question, a completion or a text."""
    label = f"{split} record {index}"

    def secret(key: str) -> Secret | None:
        return Secret(row[key], label) if key in row else None

    kind, prompt, answer = _body(row)
    return Record(
        index=index,
        split=split,
        kind=kind,
        prompt=None if prompt is None else Secret(prompt, label),
        answer=Secret(answer, label),
        id=secret("id"),
        subject=secret("subject"),
        paraphrased_question=secret("paraphrased_question"),
        paraphrased_answer=secret("paraphrased_answer"),
        perturbed_answers=tuple(Secret(text, label) for text in row.get("perturbed_answer", ())),
        variants={
            form: tuple(_variant(variant, label) for variant in variants)
            for form, variants in row.get("forms", {}).items()
        },
    )


def _body(row: Mapping[str, Any]) -> tuple[Kind, str | None, str]:
    if "text" in row:
        return "text", None, row["text"]
    if "completion" in row:
        return "completion", row["prompt"], row["completion"]
    return "qa", row["question"], row["answer"]


def _variant(row: Mapping[str, Any], label: str) -> Variant:
    _, prompt, answer = _body(row)
    return Variant(answer=Secret(answer, label), prompt=None if prompt is None else Secret(prompt, label))
