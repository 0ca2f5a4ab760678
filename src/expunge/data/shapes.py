"""The shapes that a record may have, and the one that a given record has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from expunge.data.files import Unusable
from expunge.data.record import Kind, Message
from expunge.storage.secret import Secret

SHAPES: dict[Kind, tuple[str, ...]] = {
    "text": ("text",),
    "completion": ("prompt", "completion"),
    "qa": ("question", "answer"),
    "messages": ("messages",),
}
ROLES = ("system", "user", "assistant")
# What is refused by its name; other words of a file stand in no message.
OTHER_ROLES = ("tool", "function", "developer", "ipython")
OTHER_PARTS_OF_A_TURN = ("tool_calls", "function_call", "tool_call_id", "reasoning_content", "reasoning", "thinking")
OTHER_TYPES = (
    *("image", "image_url", "audio", "input_audio", "video", "file", "tool_use", "tool_result", "thinking"),
    *("input_text", "output_text", "input_image", "refusal", "document"),
)
TOOLS = ("tools", "functions")


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
        _refuse_tools(item)
        turns = _messages(item["messages"], label)
        return Body(kind, turns[-1].content, messages=turns[:-1])
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


def read_text(value: Any, key: str, label: str) -> Secret:
    """Reads a field that must have text.

    Raises:
        Unusable: it is not text, is empty, or has characters that no file can store.
    """
    if not isinstance(value, str):
        raise Unusable(f"{key} is not text")
    if not value.strip():
        raise Unusable(f"{key} is empty")
    if "\0" in value:
        raise Unusable(f"{key} has a NUL character")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise Unusable(f"{key} has half of a surrogate pair")
    return Secret(value, label)


def is_empty(value: Any) -> bool:
    """Whether an optional field reads as absent: exports write null or an empty string where there is no value."""
    return value is None or (isinstance(value, str) and not value.strip())


def _messages(value: Any, label: str) -> tuple[Message, ...]:
    if not isinstance(value, list) or len(value) < 2:
        raise Unusable("messages is not a list of at least two turns")
    turns = [_turn(turn, label) for turn in value]
    if turns[-1].role != "assistant":
        raise Unusable("the last message is not the assistant's")
    return tuple(turns)


def _turn(turn: Any, label: str) -> Message:
    role = turn.get("role") if isinstance(turn, Mapping) else None
    if role not in ROLES:
        named = f"the role {role}, which cannot be read; it needs" if role in OTHER_ROLES else "no role"
        raise Unusable(f"a message has {named} {', '.join(ROLES[:-1])} or {ROLES[-1]}")
    extra = next((name for name in OTHER_PARTS_OF_A_TURN if not _is_nothing(turn.get(name))), None)
    if extra is not None:
        raise Unusable(f"a message has {extra}, which cannot be read")
    return Message(role=role, content=read_text(_joined(turn.get("content")), "content", label))


def _joined(content: Any) -> Any:
    """The text of content in parts, which follow one another as in chat templates; other content as it is."""
    if not isinstance(content, list):
        return content
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind != "text":
            named = f"of type {kind}" if kind in OTHER_TYPES else "that is no text"
            raise Unusable(f"content has a part {named}, which cannot be read")
        if not isinstance(part.get("text"), str):
            raise Unusable("a part of content has no text")
        texts.append(part["text"])
    return "".join(texts)


def _refuse_tools(item: Mapping[str, Any]) -> None:
    """Refuses a conversation with descriptions of tools: the chat template would not get them."""
    for name, value in item.items():
        field = name.strip().casefold()
        if field in TOOLS and not _is_nothing(value):
            raise Unusable(f"the conversation has {field}, which cannot be read")


def _is_nothing(value: Any) -> bool:
    return is_empty(value) or value in ([], {}, "[]", "{}", "null")
