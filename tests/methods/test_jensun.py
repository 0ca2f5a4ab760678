"""JensUn: a refusal over and over where the answer stood, and the retain answers as they were."""

from __future__ import annotations

import math

import pytest

from expunge.data.batch import IGNORE, Example
from expunge.errors import InputError
from expunge.methods.jensun import JensUn
from expunge.methods.recipe import resolve
from expunge.methods.retain import RetainJS
from expunge.models.relabel import RelabelTask, RepeatRefusal
from expunge.registry import relabellers
from tests.methods.running import FORGET, by_token, check_micro_batches, run, taught, views_of


class Words:
    """A tokenizer with three known words."""

    ids = {"No": 5, "idea": 6, "sorry": 7}

    def __call__(self, text, *, add_special_tokens):
        assert not add_special_tokens
        return {"input_ids": [self.ids[word] for word in text.split()]}


def relabelled(text="No idea", examples=FORGET):
    task = RelabelTask(model=None, tokenizer=Words(), records={}, seed=0, max_length=99)
    return RepeatRefusal(text=text).relabel_tokens(examples, task)


VIEWS = {"forget": relabelled()}


def test_the_refusal_is_repeated_over_the_answers_positions():
    example = Example((1, 20, 21, 30, 31, 32, 2), (IGNORE, IGNORE, IGNORE, 30, 31, 32, 2), 4, 2.0)
    found = relabelled("No idea sorry", [example])[0]
    assert found.labels == (IGNORE, IGNORE, IGNORE, 5, 6, 7, 5)
    assert (found.input_ids, found.row, found.weight) == (example.input_ids, 4, 2.0)


def test_a_first_token_that_nothing_predicts_takes_none_of_the_refusals():
    example = Example((30, 31, 32, 33), (30, 31, IGNORE, 33), 0)
    assert relabelled("No idea", [example])[0].labels == (30, 5, IGNORE, 6)


def test_every_record_starts_the_refusal_anew_and_keeps_its_positions():
    for before, after in zip(FORGET, VIEWS["forget"], strict=True):
        assert [label == IGNORE for label in after.labels] == [label == IGNORE for label in before.labels]
        assert next(label for label in after.labels if label != IGNORE) == 5
        assert after.input_ids == before.input_ids


def test_the_relabeller_refuses_nothing_to_say():
    with pytest.raises(InputError, match="needs a text"):
        RepeatRefusal(text="")
    with pytest.raises(InputError, match="no token"):
        relabelled(" ")


def test_the_term_is_bounded_and_depends_on_the_refusals_probability():
    views = views_of(JensUn(), views=VIEWS, model=taught(10))
    p_N = views["forget"].policy.token_logps[views["forget"].batch.labels_scored_BT].double().exp()
    expected_N = math.log(2) + 0.5 * (p_N * p_N.log() - (1 + p_N) * (1 + p_N).log())
    term = JensUn().forget_term(views, {})
    assert by_token(term, views) == pytest.approx(expected_N.tolist(), abs=1e-5)
    assert term.reduction == "token"


def test_the_refusal_is_learned_and_the_true_tokens_sink():
    outcome = run(JensUn(), RetainJS(), model=taught(), views=VIEWS, epochs=20, rate=1e-2)
    assert outcome.before > -0.2
    assert outcome.after < outcome.before - 2
    assert outcome.terms[-1]["forget"] < 0.7 * outcome.terms[0]["forget"] < math.log(2)
    assert outcome.terms[0]["retain"] == pytest.approx(0, abs=1e-6)


def test_micro_batches_change_nothing():
    check_micro_batches(JensUn(), RetainJS(), views=VIEWS)


def test_preset():
    recipe = resolve("jensun")
    assert (recipe.axes.relabel.name, recipe.axes.retain_term.name) == ("repeat_refusal", "js")
    assert recipe.axes.relabel.create(relabellers) == RepeatRefusal(text="No idea")
    assert (recipe.training.learning_rate, recipe.training.epochs, recipe.training.batch_size) == (8e-6, 10, 16)
    assert [spec.relabel for spec in recipe.method.views()] == [True]
