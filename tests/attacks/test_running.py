"""How an attack is run and read: folds, records that it has shown, wordings, probes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from expunge.attacks.base import AttackTask, Point, Threat
from expunge.attacks.running import BEST, MEAN, _lengths, limited, measures, plain, run_attack
from expunge.data.transforms import with_lead
from expunge.errors import InputError, MissingNeedError
from expunge.models.load import LoadedModel, load_model
from tests.support.attacks import Half, Scaling, Wordings, register

ES = measures(spoken=False)[0].label


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    register(monkeypatch)


@pytest.fixture
def task(splits) -> AttackTask:
    return AttackTask(splits=splits, max_length=64)


def test_a_model_attack_is_read_at_each_point_and_leaves_out_what_it_has_shown(world, task):
    found = run_attack(Scaling(), lambda: load_model(world.model), task)
    before = plain(lambda: load_model(world.model), task, measures(spoken=False))
    assert list(found) == ["0", "1"]
    np.testing.assert_allclose(found["0"].values[ES], before[ES])  # each record by the fold that did not show it
    assert found["1"].values[ES].mean() < before[ES].mean() - 0.3
    assert not found["0"].headline
    assert found["1"].headline
    assert (found["0"].plain, found["1"].plain) == (True, False)
    assert found["1"].details["factor"] == 0.5  # mean over folds
    assert found["0"].details["retain"] > 0.9
    assert found["1"].details["retain"] < 0.5


def test_what_is_no_amount_has_the_untouched_model_beside_its_curve(world, task):
    class Placed(Scaling):
        from_zero = False

    found = run_attack(Placed(), lambda: load_model(world.model), task)
    assert list(found) == ["as it is", "1"]
    assert (found["as it is"].at, found["as it is"].plain, found["as it is"].headline) == (None, True, False)
    assert (found["1"].at, found["1"].plain, found["1"].headline) == (1.0, False, True)


def test_a_record_that_every_fold_has_shown_has_no_number(world, task):
    class Telling(Scaling):
        def act(self, loaded: LoadedModel, task: AttackTask, fold: int) -> Iterator[Point]:
            yield Point(0.0, frozenset({0, 1 + fold}))

    values = run_attack(Telling(), lambda: load_model(world.model), task)["0"].values[ES]
    assert np.flatnonzero(np.isnan(values)).tolist() == [0]


def test_wordings_are_read_each_and_together(world, task):
    found = run_attack(Wordings(), lambda: load_model(world.model), task)
    assert list(found) == [BEST, MEAN, "same", "led"]
    same, led = found["same"].values[ES], found["led"].values[ES]
    assert np.isnan(led[0])
    np.testing.assert_allclose(found[BEST].values[ES], np.fmax(same, led))
    np.testing.assert_allclose(found[MEAN].values[ES][1:], (same[1:] + led[1:]) / 2)
    assert found[MEAN].values[ES][0] == same[0]
    assert [name for name, outcome in found.items() if outcome.headline] == [MEAN, "same", "led"]


def test_wordings_that_would_cut_an_answer_are_left_out_and_said(world, task):
    said: list[str] = []
    loaded = load_model(world.model)
    led = _lengths([with_lead(record, "Well. ") for record in task.forget], loaded)
    limit = min(led)  # the plain records fit
    long = [place for place, length in enumerate(led) if place and length > limit]
    assert 0 < len(long) < 11
    found = run_attack(Wordings(), lambda: loaded, replace(task, max_length=limit, warn=said.append))
    assert np.isnan(found["led"].values[ES]).nonzero()[0].tolist() == [0, *long]
    assert not np.isnan(found["same"].values[ES]).any()
    assert said == [f"Asked as led, {len(long)} forget records are longer than {limit} tokens and left out."]


def test_a_probe_keeps_its_places(world, task):
    found = run_attack(Half(), lambda: load_model(world.model), task)
    assert [(name, one.at, one.headline) for name, one in found.items()] == [("a", 1.0, False), ("b", 2.0, True)]
    assert found["b"].details == {"tried": 2.0}
    assert found["b"].values["half"].tolist() == [0.6] * len(task.forget)


def test_a_limit_takes_all_subjects_in_turn(task):
    few = limited(task, 4)
    assert len(few.forget) == 4
    assert len({record.subject for record in few.forget}) == min(4, len({one.subject for one in task.forget}))
    assert limited(task, 1000) is task


def test_budgets_and_settings():
    assert Scaling.at("quick").factor == 0.0
    assert Scaling.at("paper").factor == 7.0
    assert Scaling.at("paper", factor="2").factor == 2.0
    assert Scaling.at("quick").label == "test_scaling(factor=0.0)"
    with pytest.raises(InputError, match="factr"):
        Scaling.at("quick", factr=1)


def test_records_that_an_attack_takes_are_asked_for_by_flag(task):
    class Greedy(Scaling):
        threat = Threat(family="weights", access="weights", paper="none", splits=("poems",), original=True)

    with pytest.raises(MissingNeedError, match="--split poems=FILE"):
        Greedy().check(task)
    with pytest.raises(MissingNeedError, match="--original"):
        Greedy().check(AttackTask(splits={**task.splits, "poems": task.forget}, max_length=64))
