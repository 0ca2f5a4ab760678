"""A probe finds what is planted in the states of retain subjects, also in those of others; its control does not."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from expunge.attacks.base import AttackTask
from expunge.attacks.probes import (
    CHOSEN,
    Found,
    Labelled,
    LinearProbe,
    held_out,
    informative,
    labelled,
    permuted,
    shared_classes,
)
from expunge.errors import InputError, MissingNeedError
from expunge.models.load import LoadedModel
from tests.attacks.lookup import record
from tests.models.conftest import build, make_tokenizer

ANSWERS = {40: 60, 41: 61, 42: 62}  # the last word of a name decides the answer
ATTACK = LinearProbe(scored="answer", layers="0-1", least=3)


def persons(split, numbers, answers=None):
    """One record of each; everybody is asked the same."""
    found = []
    for index, number in enumerate(numbers):
        second = 40 + number % 3
        name = f"w{3 + number % 30} w{80 + number // 30} w{second}"
        answer = ANSWERS[second] if answers is None else answers[index]
        found.append(record(index, f"{name} w50", f" w{answer} w70", split=split, subject=name))
    return found


def task(retain, forget, **settings):
    return AttackTask(splits={"retain": retain, "forget": forget}, max_length=32, **settings)


def loaded():
    return LoadedModel(build("llama"), make_tokenizer(), "")


def test_a_planted_feature_is_found_and_the_control_is_not():
    found = ATTACK.probe(loaded(), task(persons("retain", range(90)), persons("forget", range(90, 120))))
    chosen = int(found.details["chosen_layer"])
    assert found.best == CHOSEN
    assert found.values[CHOSEN].mean() > 0.8
    assert found.values[CHOSEN].tolist() == found.values[f"layer {chosen}"].tolist()
    assert found.details[f"control_layer_{chosen}"] < 0.6
    assert found.details[f"selectivity_layer_{chosen}"] > 0.3
    assert found.details[f"accuracy_layer_{chosen}"] == found.values[CHOSEN].mean()
    assert found.details["classes"] == 3
    assert found.at == {"layer 0": 0, "layer 1": 1}


def test_what_is_not_in_the_states_is_not_found():
    draw = random.Random(0)
    answers = [draw.choice((60, 61, 62)) for _ in range(120)]
    retain, forget = persons("retain", range(90), answers[:90]), persons("forget", range(90, 120), answers[90:])
    assert ATTACK.probe(loaded(), task(retain, forget)).values[CHOSEN].mean() < 0.6


def test_only_answers_that_are_classes_count():
    forget = persons("forget", range(24, 36), [60, 61, 77, 62, 78, 60, *[61] * 6])
    found = ATTACK.probe(loaded(), task(persons("retain", range(24)), forget))
    assert np.flatnonzero(np.isnan(found.values[CHOSEN])).tolist() == [2, 4]


def test_whole_values_as_classes():
    """All answers begin with the same word."""
    retain = [record(n, f"w{3 + n} w50", f" w60 w{70 + n % 2}", split="retain", subject=f"w{3 + n}") for n in range(12)]
    forget = [record(n, f"w{20 + n} w50", f" w60 w{70 + n}", subject=f"w{20 + n}") for n in range(2)] * 5
    whole = LinearProbe(scored="answer", classes="value", layers="0", least=3)
    assert whole.probe(loaded(), task(retain, forget)).details["classes"] == 2
    with pytest.raises(MissingNeedError):
        ATTACK.probe(loaded(), task(retain, forget))


def test_too_few_shared_answers():
    with pytest.raises(MissingNeedError, match="here are 3 and 9"):
        ATTACK.probe(loaded(), task(persons("retain", range(24)), persons("forget", range(24, 33))))
    with pytest.raises(MissingNeedError, match="here are 0 and 0"):
        ATTACK.probe(loaded(), task(persons("retain", range(24)), persons("forget", [30], [77])))
    with pytest.raises(MissingNeedError, match="9 or more retain subjects"):
        LinearProbe(scored="answer", least=9).probe(
            loaded(), task(persons("retain", range(24)), persons("forget", range(24, 30)))
        )


def test_classes_are_counted_by_subject():
    once = [labelled(record(n, "w3", " w9", subject=f"w{n}"), "a") for n in range(3)]
    often = [labelled(record(0, "w3", " w9", subject="w1"), "b")] * 9
    other = [labelled(record(n, "w3", " w9", subject=f"w{n}"), "c") for n in range(3)]
    classes = shared_classes([*once, *often, *other], [once[0], often[0], other[0]] * 5, 3)
    assert classes == {once[0].answer: 0, other[0].answer: 1}


def test_questions_without_the_name_are_alike_and_no_text_stays():
    first = labelled(record(0, "Who is  Ada?", " x", subject="Ada"), "Some Value")
    second = labelled(record(1, "who is Bob?", " x", subject="Bob"), "some  value ")
    assert (first.asked, first.answer) == (second.asked, second.answer)
    assert first.subject != second.subject
    assert not any(word in "".join((*first, *second)).casefold() for word in ("ada", "bob", "value", "who"))
    # Without a subject a record is its own.
    assert labelled(record(0, "a", "b"), "v").subject != labelled(record(1, "a", "b"), "v").subject


def test_questions_that_all_answer_alike_tell_nothing():
    same = [labelled(record(n, "w3", " x", subject=f"w{n}"), "a") for n in range(3)]
    single = [labelled(record(5, "w4", " x", subject="w5"), "a")]
    varied = [labelled(record(n, "w5", " x", subject=f"w{n}"), "ab"[n % 2]) for n in range(3)]
    found = informative({"retain": [*same, *single, *varied], "forget": [same[0], varied[0]]})
    assert [one.answer for one in found["retain"][:3]] == [""] * 3
    assert found["retain"][3:] == [*single, *varied]
    assert [bool(one.answer) for one in found["forget"]] == [False, True]


def test_the_control_stays_with_the_question():
    records = [labelled(record(n, f"w{3 + n % 2}", " x", subject=f"s{n}"), f"{n % 2} {n}") for n in range(20)]
    records += [labelled(record(n, f"w{n}", " x", subject=f"s{n}"), f"single {n}") for n in range(20, 30)]
    moved = permuted(records, 0)
    own = [one.answer for one in records]
    assert moved != own
    for rows in (range(0, 20, 2), range(1, 20, 2), range(20, 30)):
        assert sorted(moved[row] for row in rows) == sorted(own[row] for row in rows)
        assert [moved[row] for row in rows] != [own[row] for row in rows]
    assert permuted(records, 0) == moved != permuted(records, 1)


def test_whole_subjects_are_held_out():
    subjects = [f"s{n // 3}" for n in range(45)]
    out = held_out(subjects, 0).tolist()
    assert sum(out) == 9
    assert all(len(set(out[start : start + 3])) == 1 for start in range(0, 45, 3))
    assert held_out(subjects, 1).tolist() != out


def test_retain_subjects_choose_the_first_of_the_best_layers(monkeypatch):
    """The layer that forget records are read best from has no say; records without a class have no part in a mean."""
    nan = np.nan
    layers = [
        Found(0.5, np.array([1.0, 1.0, nan]), np.array([0.0, 0.0, nan])),
        Found(0.75, np.array([0.0, 1.0, nan]), np.array([0.0, 0.5, nan])),
        Found(0.75, np.array([0.0, 0.0, nan]), np.array([1.0, 1.0, nan])),
    ]
    given = iter(layers)
    monkeypatch.setattr(LinearProbe, "_one_layer", lambda *_: next(given))
    model = LoadedModel(build("llama", num_hidden_layers=3), make_tokenizer(), "")
    attack = LinearProbe(scored="answer", layers="0-2", least=3)
    found = attack.probe(model, task(persons("retain", range(24)), persons("forget", range(24, 36))))
    assert found.details["chosen_layer"] == 1
    np.testing.assert_array_equal(found.values[CHOSEN], layers[1].right_N)
    assert found.details["retain_layer_1"] == 0.75
    assert (found.details["accuracy_layer_1"], found.details["control_layer_1"]) == (0.5, 0.25)


def test_held_out_subjects_choose_and_are_learnt_from_in_the_end():
    """Each record has a feature of its own, and only the held-out ones have the answer b."""
    subjects = [f"s{n}" for n in range(10)]
    out_N = held_out(subjects, 0)
    retain = [Labelled(one, "", "b" if out else "a") for one, out in zip(subjects, out_N.tolist(), strict=True)]
    states = torch.eye(10), torch.eye(10)[out_N]
    parts = {"retain": retain, "forget": [one for one in retain if one.answer == "b"]}
    found = LinearProbe(penalties=(0.01,))._one_layer(states, parts, {"a": 0, "b": 1}, ["a"] * 10, 0)
    assert found.chosen_by == 0  # whoever is learnt from has a
    assert found.right_N.tolist() == [1, 1]
    assert found.control_N.tolist() == [0, 0]


def test_a_broken_model_gives_an_answer():
    broken = loaded()
    broken.model.model.layers[0].mlp.down_proj.weight.data.fill_(float("nan"))
    found = ATTACK.probe(broken, task(persons("retain", range(24)), persons("forget", range(24, 36))))
    assert found.values[CHOSEN].mean() <= 0.5


@pytest.mark.parametrize("settings", [{"least": 1}, {"penalties": ()}, {"penalties": (0.0,)}, {"classes": "word"}])
def test_settings_that_make_no_sense(settings):
    with pytest.raises(InputError):
        LinearProbe(**settings)
