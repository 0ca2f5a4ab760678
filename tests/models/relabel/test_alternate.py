"""Draws of the model: other answers, each once, at rising temperature, and a warning where there are none."""

from __future__ import annotations

import pytest

from expunge.errors import InputError
from expunge.models.relabel import alternate
from expunge.models.relabel.alternate import Alternate
from expunge.models.relabel.counterfactual import Counterfactual
from tests.models.conftest import build, make_tokenizer
from tests.models.relabel.records import TOWNS, answers, record, task


class Script:
    """Stands for the model: says lines in turn to each prompt and keeps what it was asked with."""

    def __init__(self, *lines: str) -> None:
        self.lines = lines
        self.asked: list[dict] = []

    def __call__(self, model, tokenizer, prompts, **given):
        self.asked.append({"prompts": len(prompts), **given})
        return [[len(self.asked) - 1]] * len(prompts)

    def decode(self, tokens, **given):
        assert given == {"skip_special_tokens": True}
        return self.lines[min(tokens[0], len(self.lines) - 1)]


@pytest.fixture
def say(monkeypatch):
    def script(*lines):
        model = Script(*lines)
        monkeypatch.setattr(alternate, "sampled", model)
        monkeypatch.setattr(alternate, "prompt_ids", lambda one, tokenizer, max_length: [1] * 10)
        return model

    return script


def test_the_truth_and_what_is_like_it_is_dropped(say):
    """Three of the four words of the true answer are too many, two are not; one is where it is the town."""
    model = say("She lives in Ulm.", "", "She lives in Rom", "I think ULM", "She is in Rom.\nQuestion: And he?")
    found = Alternate(tries=5).relabel_all([record(0)], task(tokenizer=model))
    assert answers(found) == ["She is in Rom."]
    assert [one["temperature"] for one in model.asked] == [1.0, 1.25, 1.5, 1.75, 2.0]
    assert all(one["top_p"] == 1.0 and one["max_new_tokens"] == 54 for one in model.asked)


def test_samples_differ_and_a_run_draws_each_once(say):
    model = say("one", "one", "ONE", "two", "three")
    given = task(tokenizer=model)
    assert answers(Alternate().relabel_all([record(0)], given, 0)) == ["one"]
    assert answers(Alternate().relabel_all([record(0)], given, 1)) == ["two"]
    assert answers(Alternate().relabel_all([record(0)], given, 0)) == ["one"]
    assert len(model.asked) == 4
    again = say("one", "one", "ONE", "two", "three")
    assert answers(Alternate().relabel_all([record(0)], task(tokenizer=again), 1)) == ["two"]
    assert [one["seed"] for one in again.asked] == [one["seed"] for one in model.asked]


def test_only_those_still_silent_are_asked_again_and_then_made_up(say):
    model, said = say("She is in Bonn now."), []
    own = [record(0), record(1)]  # the line repeats too much of the second answer only
    found = Alternate(tries=3, recall=0.5).relabel_all(own, task(tokenizer=model, warn=said.append))
    assert [one["prompts"] for one in model.asked] == [2, 1, 1]
    assert answers(found)[0] == "She is in Bonn now."
    assert answers(found)[1] == answers(Counterfactual().relabel_all(own, task()))[1]
    assert said == [
        "To 1 of 2 records the model says nothing else within 3 draws (answer 0); their other answers are made by rule."
    ]


def test_a_prompt_that_leaves_no_room_is_not_asked(say):
    model, said = say("x"), []
    found = Alternate().relabel_all([record(0)], task(tokenizer=model, max_length=10, warn=said.append))
    assert model.asked == []
    assert len(said) == 1
    assert answers(found)[0] != "She lives in Ulm."


def test_a_real_model_speaks_for_itself():
    given = task(model=build("llama"), tokenizer=make_tokenizer())
    found = answers(Alternate(new_tokens=4).relabel_all([record(index) for index in range(4)], given))
    assert all(word.startswith("w") for text in found for word in text.split())
    assert not any(town in text for town in TOWNS for text in found)


@pytest.mark.parametrize(
    "settings",
    [{"temperature": 0.0}, {"rise": -1.0}, {"recall": 1.5}, {"recall": float("nan")}, {"tries": 0}, {"new_tokens": 0}],
)
def test_settings_that_cannot_be_meant_are_refused(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        Alternate(**settings)
