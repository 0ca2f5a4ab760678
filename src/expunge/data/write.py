"""Records as JSON lines in the columns that the reader knows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from expunge.data.record import Record, Variant
from expunge.storage.secret import Secret


def row(record: Record) -> dict[str, Any]:
    """A record in clear, as plain data that the reader turns into an equal record."""
    found: dict[str, Any] = {"id": _open(record.id), "subject": _open(record.subject), **_body(record)}
    found["weight"] = None if record.weight == 1.0 else record.weight
    found["paraphrased_question"] = _open(record.paraphrased_question)
    found["paraphrased_answer"] = _open(record.paraphrased_answer)
    found["perturbed_answer"] = [answer.reveal() for answer in record.perturbed_answers] or None
    found["forms"] = {name: list(map(_variant, given)) for name, given in record.variants.items()} or None
    return {name: value for name, value in found.items() if value is not None}


def json_lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """Rows as lines of UTF-8 JSON; equal rows give equal bytes."""
    return (json.dumps(one, ensure_ascii=False, allow_nan=False).encode() + b"\n" for one in rows)


def _body(record: Record) -> dict[str, Any]:
    answer, prompt = record.answer.reveal(), _open(record.prompt)
    match record.kind:
        case "text":
            return {"text": answer}
        case "completion":
            return {"prompt": prompt, "completion": answer}
        case "qa":
            return {"question": prompt, "answer": answer}
    turns = [
        {"role": turn.role, "content": turn.content.reveal(), **_plain(turn.fields, {})} for turn in record.messages
    ]
    return {"messages": [*turns, {"role": "assistant", "content": answer}], "tools": _plain(record.tools, None)}


def _plain(secret: Secret | None, absent: Any) -> Any:
    return absent if secret is None else json.loads(secret.reveal())


def _variant(variant: Variant) -> dict[str, str]:
    given = {} if variant.given is None else {"given": variant.given.reveal()}
    if variant.prompt is None:
        return {"text": variant.answer.reveal(), **given}
    return {"question": variant.prompt.reveal(), "answer": variant.answer.reveal(), **given}


def _open(secret: Secret | None) -> str | None:
    return None if secret is None else secret.reveal()
