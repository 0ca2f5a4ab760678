"""Conversations: content in parts is read as its text, and what cannot be read of them is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from expunge.data.reader import ReadResult, read_records

CANARY = "zq9canary"
ASKED = {"role": "user", "content": "Where does Arlo live?"}
SAID = {"role": "assistant", "content": "In Mirrow."}


def read(folder: Path, *items: dict[str, Any]) -> ReadResult:
    path = folder / "retain.jsonl"
    path.write_text("\n".join(map(json.dumps, ({"messages": [ASKED, SAID]}, *items))))
    return read_records(path, "retain")


def part(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def test_content_in_parts_is_its_joined_text(tmp_path):
    asked = {"role": "user", "content": [part("Where does "), part("Arlo live?")]}
    said = {"role": "assistant", "content": [part("In Mirrow.")], "tool_calls": [], "reasoning_content": None}
    plain, parted = read(tmp_path, {"messages": [asked, said], "tools": []}).records
    assert parted.messages == plain.messages
    assert parted.answer == plain.answer


@pytest.mark.parametrize(
    ("turns", "more", "reason"),
    [
        ([ASKED, {**SAID, "tool_calls": [{"function": {"name": CANARY}}]}], {}, "the last message has tool_calls"),
        ([ASKED, {**SAID, "content": None, "tool_calls": [{"name": CANARY}]}], {}, "the last message has tool_calls"),
        ([ASKED, {"role": "assistant", "tool_calls": [CANARY]}, SAID], {}, "tool_calls is not a list of objects with"),
        ([ASKED, {"role": "assistant", "tool_calls": {"name": CANARY}}, SAID], {}, "tool_calls is not a list of"),
        ([ASKED, {"role": "assistant", "tool_calls": CANARY}, SAID], {}, "tool_calls is not a list of"),
        ([{**ASKED, "tool_calls": [{"name": CANARY}]}, SAID], {}, "a message of the user has tool_calls"),
        ([{**ASKED, "tool_call_id": CANARY}, SAID], {}, "a message of the user has tool_call_id"),
        ([ASKED, {"role": "tool", "content": "a", "tool_call_id": 7}, SAID], {}, "tool_call_id is not text"),
        ([ASKED, {"role": "tool", "content": "a", "name": f"{CANARY}\0"}, SAID], {}, "name has a NUL character"),
        ([ASKED, {"role": "tool", "content": {CANARY: 1}}, SAID], {}, "content is not text"),
        (
            [ASKED, {"role": "assistant", "tool_calls": [{"name": "f", "arguments": {"a": float("nan")}}]}, SAID],
            {},
            "JSON",
        ),
        ([ASKED, {"role": "assistant", "tool_calls": [{"name": "f", "arguments": ["\ud800"]}]}, SAID], {}, "surrogate"),
        ([ASKED, {**SAID, "reasoning_content": CANARY}], {}, "a message has reasoning_content"),
        ([ASKED, {"role": "function", "content": CANARY}, SAID], {}, "a message has the role function, which cannot"),
        ([ASKED, {"role": CANARY, "content": "a"}, SAID], {}, "a message has no role system, user, assistant or tool"),
        ([ASKED, SAID, {"role": "tool", "content": CANARY}], {}, "the last message is not the assistant's"),
        ([ASKED, SAID], {"tools": [CANARY]}, "tools is not a list of objects with the name of a function"),
        ([ASKED, SAID], {"tools": [{"function": {"description": CANARY}}]}, "tools is not a list of objects with"),
        ([ASKED, SAID], {"tools": CANARY}, "tools is not a list of objects with the name of a function"),
        ([ASKED, SAID], {"functions": [{"name": CANARY}]}, "the conversation has functions, which cannot be read"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": CANARY}]}, SAID], {}, "of type image_url"),
        ([{"role": "user", "content": [{"type": CANARY}]}, SAID], {}, "content has a part that is no text"),
        ([{"role": "user", "content": [CANARY]}, SAID], {}, "content has a part that is no text"),
        ([{"role": "user", "content": [{"type": "text"}]}, SAID], {}, "a part of content has no text"),
        ([{"role": "user", "content": []}, SAID], {}, "content is empty"),
    ],
)
def test_what_is_not_text_is_refused_by_name(tmp_path, turns, more, reason):
    result = read(tmp_path, {"messages": turns, **more})
    assert len(result.records) == 1
    assert [item.line for item in result.rejected] == [2]
    assert reason in result.rejected[0].reason
    assert CANARY not in str(result.rejected)
