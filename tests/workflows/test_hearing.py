"""Steps of jobs in other processes, as the steps of one phase."""

from __future__ import annotations

from expunge.storage.events import Event
from expunge.storage.progress import Phases
from expunge.workflows.hearing import Heard


def test_optimizer_steps_count_while_they_are_taken_and_the_rest_with_the_end() -> None:
    """A job of two trainings, 4 steps and 3, of which not every step is heard; and one that says nothing."""
    told = []
    steps = Phases(lambda kind, data: told.append(data)).begin("train 2 models", 12)
    heard = Heard(steps, {"pair": 8, "single": 4})
    seen = []
    for kind, data in (
        ("phase", {"name": "train", "total": 4}),
        ("metric", {"step": 2}),
        ("metric", {"step": 4}),
        ("phase", {"name": "unlearn with npo", "total": 3}),
        ("metric", {"step": 2}),
        ("progress", {"step": 7, "total": 9}),
        ("metric", {"step": 3}),
    ):
        heard.hear("pair", Event(0, "", kind, data))
        seen.append(steps.done)
    assert seen == [0, 2, 4, 4, 6, 6, 7]
    assert [data["part"] for data in told[1:]][:3] == ["pair: train", "pair: train 2/4", "pair: train 2/4"]
    heard.ended("pair")
    assert steps.done == 8
    heard.ended("single")
    assert (steps.done, told[-1]["step"]) == (12, 12)


def test_a_job_of_one_step_counts_when_it_ends() -> None:
    steps = Phases().begin("unlearn and audit 2 times", 2)
    heard = Heard(steps, {"npo": 1, "rmu": 1})
    heard.hear("npo", Event(0, "", "phase", {"name": "unlearn with npo", "total": 9}))
    heard.hear("npo", Event(0, "", "metric", {"step": 9}))
    assert steps.done == 0
    heard.ended("npo")
    heard.ended("rmu")
    assert steps.done == 2
