"""What a relabeller could not do as asked is in the events of the run, without any record text."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from expunge.methods.base import ViewSpec
from expunge.methods.recipe import resolve
from expunge.workflows.produce import Work
from tests.models.conftest import build, make_tokenizer
from tests.models.relabel.records import record


def work(run, **changes) -> Work:
    return Work(
        recipe=resolve("counterfactual", changes),
        model=build("llama"),
        build=lambda: None,
        tokenizer=make_tokenizer(),
        splits={
            "forget": [record(index, answer="Rom ?!" if index else "...") for index in range(2)],
            "retain": [record(5)],
        },
        run=run,
        max_length=64,
        stop_requested=lambda: False,
        secret=b"",
        checkpoints=Path(),
    )


def test_counts_reach_the_events():
    said: list[dict[str, str]] = []
    run = SimpleNamespace(events=SimpleNamespace(append=lambda kind, **data: said.append({"kind": kind, **data})))
    made = work(run)
    assert made.relabel_task is made.relabel_task  # one for the run, so that later samples know the earlier ones
    made.viewed(ViewSpec(name="forget", relabel=True), main=True)
    assert said == [
        {"kind": "warning", "text": "1 of 2 records have no value to be exchanged and got another's answer."}
    ]
