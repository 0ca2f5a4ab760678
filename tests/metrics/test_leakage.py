"""leak@k by hand, and on draws of a tiny model."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from expunge.data.record import Variant
from expunge.errors import InputError
from expunge.evaluation.answering import answer_needs
from expunge.evaluation.replies import Asking, generate_replies
from expunge.functional.answers import is_correct
from expunge.functional.text import SCORERS, Reply
from expunge.metrics.base import Answers
from expunge.metrics.leakage import LeakAtK
from expunge.storage.secret import Secret
from tests.evaluation.worlds import Source, make_splits, words
from tests.metrics.numbers import answers
from tests.support.tiny import llama

EXACT = 1e-12


def test_by_hand():
    """C of N = 4, k = 2: 1 - C(4 - c, 2) / 6."""
    metric = LeakAtK(k=2, samples=4)
    drawn = [[0.0] * 4, [1.0, 0, 0, 0], [0, 1.0, 1.0, 0], [1.0, 1.0, 0, 1.0], []]
    score = metric.compute(answers(metric, drawn))
    assert score.samples[0].values[:4] == pytest.approx([0, 1 / 2, 5 / 6, 1], abs=EXACT)
    assert math.isnan(score.samples[0].values[4])
    assert score.value == pytest.approx((0 + 1 / 2 + 5 / 6 + 1) / 4, abs=EXACT)
    assert score.details == {"at_1": pytest.approx(6 / 16), "at_all": 0.75}


def test_forms_of_a_record_are_kept_apart():
    """Draw by draw, two forms side by side: the first leaks both times and the second never."""
    metric = LeakAtK(k=1, samples=2)
    assert metric.compute(answers(metric, [[1.0, 0.0, 1.0, 0.0]])).value == pytest.approx(0.5, abs=EXACT)
    both = LeakAtK(k=2, samples=2)
    assert both.compute(answers(both, [[1.0, 0.0, 1.0, 0.0]])).value == pytest.approx(0.5, abs=EXACT)


def test_a_draw_without_a_reply_leaks_nothing():
    """Three replies of five draws, one of them a leak: c = 1 of N = 5, k = 2: 1 - C(4, 2) / C(5, 2)."""
    metric = LeakAtK(k=2, samples=5)
    assert metric.compute(answers(metric, [[0.0, 1.0, 0.0]])).value == pytest.approx(1 - 6 / 10, abs=EXACT)


class Moody:
    """Speaks itself where the model cannot, to every prompt in its second draw and to the first one in its third."""

    def __init__(self, text: str) -> None:
        self.text, self.draw = text, 0

    def generate(self, prompts, answer):
        self.draw += 1
        answer(list(enumerate(prompts)))
        count = {2: len(prompts), 3: 1}.get(self.draw, 0)
        return [self.text if row < count else "" for row in range(len(prompts))]


def test_a_policy_that_speaks_in_some_draws_leaks_in_those_only():
    """Four draws; two forms, both too long for the model: one leaks in two draws, the other in one."""
    record = make_splits(1)["forget"][0]
    long = Secret(words(*range(70)), "forget record 0")
    forms = tuple(Variant(answer=record.answer, prompt=long) for _ in range(2))
    records = [replace(record, variants={"casing": forms})]
    metric = LeakAtK(form="casing", k=1, samples=4, max_new_tokens=4)
    (need,), policy = metric.needs(), Moody(record.answer.reveal())
    loaded = Source(llama())()
    found = answer_needs(loaded, {"forget": records}, [need], max_length=64, batch_size=2, policy=policy)
    assert [list(map(float, drawn)) for drawn in found[need]] == [[0, 0, 1, 1, 1, 0, 0, 0]]
    assert metric.compute(Answers(found)).value == pytest.approx((2 / 4 + 1 / 4) / 2, abs=EXACT)


def test_label_need_and_direction():
    metric = LeakAtK(k=3, samples=5, temperature=0.7, draw_seed=9)
    assert metric.label == (
        "leak_at_k(split=forget, form=trained, max_new_tokens=64, k=3, samples=5, temperature=0.7, top_p=1.0, "
        "draw_seed=9, rule=heuristic_1)"
    )
    need = metric.needs()[0]
    assert dict(need.params)["scorer"] == "correct"
    assert Asking.of(need).sampling.samples == 5
    assert LeakAtK(k=1, samples=5, temperature=0.7, draw_seed=9).needs() == (need,)  # the draws are shared
    assert (metric.aim, LeakAtK(split="retain").aim) == ("closer", "higher")


def test_the_value_of_the_fact_leaks():
    said = [
        Reply(text="She was born in Oslo.", truth="In Bergen, Norway", values=("Oslo",)),
        Reply(text="In Bergen, Norway.", truth="In Bergen, Norway", values=("Oslo",)),
        Reply(text="in bergen norway", truth="In Bergen, Norway"),
        Reply(text="nowhere", truth="In Bergen, Norway"),
    ]
    assert SCORERS["correct"](said, rule="heuristic_1") == [1.0, 0.0, 1.0, 0.0]


def test_draws_of_a_model_are_scored_one_by_one():
    records = make_splits(3)["forget"]
    value = Variant(answer=Secret(words(4), "forget record 1"), prompt=Secret(words(1, 2), "forget record 1"))
    records[1] = replace(records[1], variants={"cloze": (value,)})
    metric = LeakAtK(k=2, samples=6, max_new_tokens=20)
    need, loaded = metric.needs()[0], Source(llama(2))()
    found = answer_needs(loaded, {"forget": records}, [need], max_length=64, batch_size=2)[need]
    asking = Asking.of(need)
    heard = generate_replies(loaded, {"forget": records}, asking, max_length=64, batch_size=2, policy=None)
    expected = [
        [
            float(is_correct(text.reveal(), record.answer.reveal(), record.prompt.reveal(), values))
            for owner, text, values in zip(heard.owners, heard.texts, heard.values, strict=True)
            if owner == row
        ]
        for row, record in enumerate(records)
    ]
    assert [list(map(float, drawn)) for drawn in found] == expected
    assert [len(drawn) for drawn in found] == [6, 6, 6]
    assert heard.values[6:12] == ((words(4),),) * 6
    assert 0 < np.sum(expected) < 18


@pytest.mark.parametrize("settings", [{"k": 0}, {"k": 17}, {"samples": 4}])
def test_choices_that_cannot_be(settings):
    name, value = next(iter(settings.items()))
    with pytest.raises(InputError, match=f"{name}={value}"):
        LeakAtK(**settings)
    with pytest.raises(InputError, match="draw at least once"):
        LeakAtK(temperature=0.0)
