"""What a chat template is handed of a record: its turns, and the tools that they use.

Format: https://huggingface.co/docs/transformers/chat_extras. A turn that only calls tools has no content. Arguments are
objects; for the templates that can only add text to text they are JSON, as OpenAI's chat completions send them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from expunge.data.record import Message, Record
from expunge.data.templates import write_turns
from expunge.errors import InputError

Turn = dict[str, Any]
TOOLS, CALLS, RESULTS = "the tools on offer", "the calls of tools", "what the tools said"


class ChatInputs(NamedTuple):
    """The turns before the answer, and the schemas of the tools on offer; None where a record has none."""

    turns: list[Turn]
    tools: list[Any] | None


def chat_inputs(record: Record, prompt: str, tokenizer: Any) -> ChatInputs:
    """Returns what the tokenizer's chat template writes a record from.

    Args:
        record: a conversation, or a question.
        prompt: the question of a record without turns.
        tokenizer: has a chat template.

    Raises:
        InputError: the template leaves out tools, calls or results, so that the model would read another record.
    """
    turns = [_turn(message) for message in record.messages] or [{"role": "user", "content": prompt}]
    if not record.has_tools:
        return ChatInputs(turns, None)
    tools = None if record.tools is None else json.loads(record.tools.reveal())
    as_objects, as_text = ChatInputs(turns, tools), ChatInputs(list(map(_as_text, turns)), tools)
    lost = [_left_out(inputs, tokenizer) for inputs in (as_objects, as_text)]
    for inputs, parts in zip((as_objects, as_text), lost, strict=True):
        if not parts:
            return inputs
    least = min(lost, key=lambda parts: len(parts))
    raise InputError(
        f"The tokenizer's chat template leaves out {', '.join(least)} of {record.answer}, or fails on "
        "them, so the model would read another record. Remove them from the records, or use a model whose chat "
        "template writes them."
    )


def _turn(message: Message) -> Turn:
    content = {"content": message.content.reveal()} if len(message.content) or not message.calls else {}
    fields = {} if message.fields is None else json.loads(message.fields.reveal())
    return {"role": message.role, **content, **fields}


def _as_text(turn: Turn) -> Turn:
    """The turn with the arguments of its calls as JSON."""

    def changed(function: Mapping[str, Any]) -> dict[str, Any]:
        arguments = function.get("arguments")
        is_object = isinstance(arguments, dict)
        return {**function, "arguments": json.dumps(arguments, ensure_ascii=False)} if is_object else {**function}

    return _with_calls(turn, changed)


def _with_calls(turn: Turn, change: Callable[[Mapping[str, Any]], dict[str, Any]]) -> Turn:
    if "tool_calls" not in turn:
        return turn
    return {**turn, "tool_calls": [_with_function(call, change) for call in turn["tool_calls"]]}


def _with_function(one: Mapping[str, Any], change: Callable[[Mapping[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """A call or a schema with its function changed, which stands under ``function`` or is the whole of it."""
    return {**one, "function": change(one["function"])} if "function" in one else change(one)


def _left_out(inputs: ChatInputs, tokenizer: Any) -> list[str]:
    """Parts that are not in what the template writes; a mark stands in for each, as a short one is found anywhere."""
    marks: dict[str, list[str]] = {TOOLS: [], CALLS: [], RESULTS: []}

    def mark(part: str) -> str:
        marks[part].append(f"zq{list(marks).index(part)}x{len(marks[part])}qz")
        return marks[part][-1]

    def named(part: str) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
        return lambda function: {**function, "name": mark(part)}

    tools = inputs.tools and [_with_function(one, named(TOOLS)) for one in inputs.tools]
    turns = [
        {**turn, "content": mark(RESULTS)} if turn["role"] == "tool" else _with_calls(turn, named(CALLS))
        for turn in inputs.turns
    ]
    try:
        text = write_turns(tokenizer, [*turns, {"role": "assistant", "content": "zq"}], tools=tools)
    except Exception:  # a template is a program and may fail in any way; its message may repeat what it was given
        text = ""
    return [part for part, mine in marks.items() if not all(one in text for one in mine)]
