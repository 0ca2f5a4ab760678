"""The shapes that a record may have, and the one that a given record has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from expunge.data.files import Unusable
from expunge.data.record import Kind, Message
from expunge.data.turns import read_tools, read_turns
from expunge.data.values import is_empty, read_text
from expunge.storage.secret import Secret

SHAPES: dict[Kind, tuple[str, ...]] = {
    "text": ("text",),
    "completion": ("prompt", "completion"),
    "qa": ("question", "answer"),
    "messages": ("messages",),
}


def _braced(kind: Kind) -> str:
    return "{" + ", ".join(f'"{field}"' for field in SHAPES[kind]) + "}"


LISTING = f"{', '.join(_braced(kind) for kind in SHAPES if kind != 'messages')} or {_braced('messages')}"


class AmbiguousShape(Unusable):
    """A record has several shapes, and which one must be forgotten cannot be known.

    Args:
        kinds: the shapes.
    """

    def __init__(self, kinds: list[Kind]) -> None:
        super().__init__(f"more than one shape: {' and '.join(map(_braced, kinds))}")
        choice = ",".join(f"{field}={field}" for field in SHAPES[kinds[-1]])
        self.way_out = f"Name the columns to read, such as --columns {choice}, or remove the others."


class Body(NamedTuple):
    """What the shape of a record decides."""

    kind: Kind
    answer: Secret
    prompt: Secret | None = None
    messages: tuple[Message, ...] = ()
    tools: Secret | None = None


def read_body(item: Mapping[str, Any], label: str) -> Body:
    """Reads the fields of the one shape that a record has.

    Args:
        item: the record.
        label: what to call it in messages.

    Raises:
        AmbiguousShape: it has more than one shape.
        Unusable: it has none, or a field of its shape is missing or not text.
    """
    kind = _shape(item)
    if kind == "messages":
        turns = read_turns(item["messages"], label)
        return Body(kind, turns[-1].content, messages=turns[:-1], tools=read_tools(item, label))
    *asked, answer = (read_text(item[key], key, label) for key in SHAPES[kind])
    return Body(kind, answer, asked[0] if asked else None)


def _shape(item: Mapping[str, Any]) -> Kind:
    """The shape whose fields are all there; one that has only empty fields does not count beside another."""
    whole = [kind for kind, fields in SHAPES.items() if all(field in item for field in fields)]
    filled = [kind for kind in whole if not all(is_empty(item[field]) for field in SHAPES[kind])]
    if len(filled) > 1:
        raise AmbiguousShape(filled)
    if not whole:
        raise Unusable(f"none of the shapes {LISTING}")
    return (filled or whole)[0]
