"""Conversations: content in parts is read as its text, and what a template would not get is refused by name."""

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
        ([ASKED, {**SAID, "tool_calls": [{"function": {"name": CANARY}}]}], {}, "a message has tool_calls, which"),
        ([ASKED, {"role": "assistant", "content": None, "tool_calls": [CANARY]}], {}, "a message has tool_calls"),
        ([ASKED, {**SAID, "reasoning_content": CANARY}], {}, "a message has reasoning_content"),
        ([ASKED, {"role": "tool", "content": CANARY}, SAID], {}, "a message has the role tool, which cannot be read"),
        ([ASKED, {"role": CANARY, "content": "a"}, SAID], {}, "a message has no role system, user or assistant"),
        ([ASKED, SAID], {"tools": [{"name": CANARY}]}, "the conversation has tools, which cannot be read"),
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
