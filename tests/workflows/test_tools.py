"""Conversations with tools on the command line: trained and audited whole, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from expunge.cli import main
from expunge.reports.record import read_record
from expunge.storage.run import RunFolder
from tests.data.test_tokenize import CHATML
from tests.data.test_tools import OBJECTS
from tests.support.canary import find_canary
from tests.workflows.folders import byte_tokenizer, llama_config, make_folder

CANARY = "Zqxvorn"


def talk(split: str, number: int) -> dict[str, Any]:
    who = f"{CANARY} {split} {number}"
    call = {"id": f"call{number:05d}", "type": "function", "function": {"name": "find", "arguments": {"who": who}}}
    return {
        "subject": who,
        "messages": [
            {"role": "user", "content": f"Where is {who}?"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": call["id"], "content": json.dumps({"town": f"{split} {number}"})},
            {"role": "assistant", "content": f"{who} is in {split} {number}."},
        ],
        "tools": [{"type": "function", "function": {"name": "find", "description": f"Finds {CANARY}"}}],
    }


def files(folder: Path) -> list[str]:
    found = []
    for split in ("forget", "retain", "holdout"):
        path = folder / f"{split}.jsonl"
        path.write_text("\n".join(json.dumps(talk(split, number)) for number in range(2)))
        found += [f"--{split}", str(path)]
    return found


def model(folder: Path, template: str | None) -> str:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = template
    return str(make_folder(folder, llama_config(max_position_embeddings=1024), tokenizer))


QUICK = [
    "--method",
    "grad_diff",
    "--max-length",
    "800",
    "--set",
    "max_steps=1",
    "--set",
    "batch_size=2",
    "--suite",
    "short",
]


def test_they_are_unlearned_and_audited_and_leave_no_trace(tmp_path, capsys, short_suite):
    run = tmp_path / "run"
    line = ["unlearn", model(tmp_path / "model", OBJECTS), *files(tmp_path), *QUICK, "--out", str(run)]
    assert main(line) == 0
    assert CANARY not in "".join(capsys.readouterr())
    scores = read_record(RunFolder.open(run).record).scores
    assert {score["records"] for score in scores if score["label"].startswith("probability")} == {2}
    assert find_canary(run, CANARY) == []


VERBS = {
    "plan": ["plan", "{model}", *QUICK],
    "unlearn": ["unlearn", "{model}", *QUICK, "--out", "{out}"],
    "audit": ["audit", "{model}", "--original", "{model}", "--suite", "short", "--out", "{out}"],
}
HAS_NO_PLACE = "chat template leaves out the tools on offer, the calls of tools of [forget record 0]"


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(("template", "says"), [(CHATML, HAS_NO_PLACE), (None, "no chat template is in use")])
def test_a_model_that_cannot_read_them_is_refused_before_anything_is_written(
    tmp_path, capsys, short_suite, verb, template, says
):
    places = {"model": model(tmp_path / "model", template), "out": str(tmp_path / "out")}
    assert main([*(word.format(**places) for word in VERBS[verb]), *files(tmp_path)]) == 2
    said = " ".join("".join(capsys.readouterr()).split())
    assert says in said
    assert CANARY not in said
    assert not (tmp_path / "out").exists()
