"""The turns of a conversation, as exports write them, with calls of tools, their results, and the tools on offer.

Turns with calls: https://huggingface.co/docs/transformers/chat_extras and the format of OpenAI's chat completions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from expunge.data.files import Unusable
from expunge.data.record import Message
from expunge.data.values import is_empty, is_nothing, read_json, read_text
from expunge.storage.secret import Secret

ROLES = ("system", "user", "assistant", "tool")
# What is refused by its name; other words of a file stand in no message.
OTHER_ROLES = ("function", "developer", "ipython")
OTHER_PARTS_OF_A_TURN = ("function_call", "reasoning_content", "reasoning", "thinking")
OTHER_TYPES = (
    *("image", "image_url", "audio", "input_audio", "video", "file", "tool_use", "tool_result", "thinking"),
    *("input_text", "output_text", "input_image", "refusal", "document"),
)
FUNCTIONS = "functions"  # an older way to write ``tools``
_TOOL_NAMES = ("name", "tool_call_id")  # what a tool's turn may have beside its content


def read_turns(value: Any, label: str) -> tuple[Message, ...]:
    """Reads the turns of a conversation; the last one is the assistant's answer.

    Raises:
        Unusable: no conversation that ends with text of the assistant, or a turn with what cannot be read.
    """
    if not isinstance(value, list) or len(value) < 2:
        raise Unusable("messages is not a list of at least two turns")
    turns = [_turn(turn, label) for turn in value]
    if turns[-1].role != "assistant":
        raise Unusable("the last message is not the assistant's")
    if turns[-1].fields is not None:
        raise Unusable("the last message has tool_calls, and only text is scored; end with what the assistant says")
    return tuple(turns)


def read_tools(item: Mapping[str, Any], label: str) -> Secret | None:
    """Reads the tools that a conversation offers: a list of JSON schemas, or JSON of one. None where it has none.

    Raises:
        Unusable: something else, or ``functions``.
    """
    for name, value in item.items():
        if name.strip().casefold() == FUNCTIONS and not is_nothing(value):
            raise Unusable("the conversation has functions, which cannot be read; write them as tools")
    given = item.get("tools")
    if is_nothing(given):
        return None
    tools = _parsed(given)
    if not isinstance(tools, list) or not all(map(_function_name, tools)):
        raise Unusable("tools is not a list of objects with the name of a function")
    return read_json(tools, "tools", label)


def _turn(turn: Any, label: str) -> Message:
    role = turn.get("role") if isinstance(turn, Mapping) else None
    if role not in ROLES:
        named = f"the role {role}, which cannot be read; it needs" if role in OTHER_ROLES else "no role"
        raise Unusable(f"a message has {named} {', '.join(ROLES[:-1])} or {ROLES[-1]}")
    extra = next((name for name in OTHER_PARTS_OF_A_TURN if not is_nothing(turn.get(name))), None)
    if extra is not None:
        raise Unusable(f"a message has {extra}, which cannot be read")
    fields = _fields(turn, role, label)
    content = _joined(turn.get("content"))
    if is_empty(content) and role == "assistant" and fields is not None:
        return Message(role=role, content=Secret("", label), fields=fields)
    return Message(role=role, content=read_text(content, "content", label), fields=fields)


def _fields(turn: Mapping[str, Any], role: str, label: str) -> Secret | None:
    """The calls of an assistant's turn, or what a tool's turn says of itself; JSON."""
    calls = turn.get("tool_calls")
    if role != "assistant" and not is_nothing(calls):
        raise Unusable(f"a message of the {role} has tool_calls, which only the assistant makes")
    if role != "tool" and not is_empty(turn.get("tool_call_id")):
        raise Unusable(f"a message of the {role} has tool_call_id, which belongs to a tool")
    found: dict[str, Any] = {}
    if role == "tool":
        present = [name for name in _TOOL_NAMES if not is_empty(turn.get(name))]
        found = {name: read_text(turn[name], name, label).reveal() for name in present}
    elif not is_nothing(calls):
        found = {"tool_calls": _calls(calls)}
    return read_json(found, "tool_calls", label) if found else None


def _calls(value: Any) -> list[Any]:
    calls = _parsed(value)
    if not isinstance(calls, list) or not all(map(_function_name, calls)):
        raise Unusable("tool_calls is not a list of objects with the name of a function")
    return [_with_object(call) for call in calls]


def _function_name(one: Any) -> bool:
    """Whether a call or a schema names a function, by itself or under ``function``."""
    function = one.get("function", one) if isinstance(one, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    return isinstance(name, str) and bool(name.strip())


def _with_object(call: Mapping[str, Any]) -> dict[str, Any]:
    """A call whose arguments are an object where they were JSON of one, so that both ways to write it are equal."""
    if "function" in call:
        return {**call, "function": _with_object(call["function"])}
    arguments = call.get("arguments")
    parsed = _parsed(arguments)
    return {**call, "arguments": parsed} if isinstance(parsed, dict) else dict(call)


def _parsed(value: Any) -> Any:
    """What a text is JSON of; other values, and other texts, as they are."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


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
