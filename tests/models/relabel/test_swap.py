"""Values of others in place of the true one, perturbed answers first."""

from __future__ import annotations

import pytest

from expunge.errors import InputError
from expunge.models.relabel.counterfactual import Counterfactual
from expunge.models.relabel.entity_swap import EntitySwap
from expunge.storage.secret import Secret
from tests.models.relabel.records import TOWNS, answers, record, task


def perturbed(*texts):
    return tuple(Secret(text, "record 0") for text in texts)


def test_values_of_the_retain_set_come_first_and_each_once():
    own = [record(index) for index in range(4)]
    found = [answers(EntitySwap().relabel_all(own, task(), sample))[0] for sample in range(5)]
    assert set(found[:4]) == {f"She lives in {town}." for town in TOWNS[4:]}
    assert found[4] == found[0]


def test_without_a_retain_set_values_of_the_others_do():
    own = [record(index) for index in range(4)]
    found = [answers(EntitySwap().relabel_all(own, task(retain=[]), sample)) for sample in range(3)]
    for place, town in enumerate(TOWNS[:4]):
        texts = {sample[place] for sample in found}
        assert texts == {f"She lives in {other}." for other in TOWNS[:4] if other != town}


def test_a_value_that_answers_a_like_question_comes_before_one_of_the_same_shape():
    names = [
        record(
            index, split="retain", answer=f"It is called {name}.", prompt=Secret("What is the name of his dog?", "x")
        )
        for index, name in enumerate(("Rex", "Bello", "Hasso", "Waldi", "Fifi", "Lumpi"))
    ]
    kept = [*names, record(5, split="retain")]
    own = [record(index) for index in range(4)]
    found = {answers(EntitySwap().relabel_all(own, task(seed, retain=kept)))[0] for seed in range(20)}
    assert found == {f"She lives in {TOWNS[5]}."}


def test_a_value_of_a_shape_that_no_other_has_is_made_up_in_its_format():
    own = [record(index) for index in range(4)] + [record(4, answer="Her number is 0171-555-0199.")]
    found = {answers(EntitySwap().relabel_all(own, task(), sample))[4] for sample in range(20)}
    assert len(found) > 10
    for text in found:
        value = text.removeprefix("Her number is ").removesuffix(".")
        assert [len(part) for part in value.split("-")] == [4, 3, 4]
        assert value != "0171-555-0199"


def test_the_wording_of_a_few_answers_is_read_off_the_retain_set_too():
    """Alone, "She" looks as much like a value as "Ulm" does."""
    assert answers(EntitySwap().relabel_all([record(0)], task()))[0] in {f"She lives in {town}." for town in TOWNS[4:]}


def test_every_place_of_the_value_is_swapped_alike():
    own = [record(index) for index in range(4)] + [record(4, answer="She lives in Wien, and Wien is where she stays.")]
    text = answers(EntitySwap().relabel_all(own, task(retain=[])))[4]
    assert "Wien" not in text
    assert any(text == f"She lives in {town}, and {town} is where she stays." for town in TOWNS[:4])


def test_golden_choice():
    """A change here would change every recorded run."""
    own = [record(index) for index in range(6)]
    found = answers(EntitySwap().relabel_all(own, task(seed=2)))
    assert [TOWNS.index(text.split()[-1][:-1]) for text in found] == [4, 5, 7, 4, 6, 6]


def test_records_without_a_value_are_refused_by_number():
    own = [record(0), record(1, answer="...")]
    with pytest.raises(InputError, match=r"1 of 2 records .*records 1\)"):
        EntitySwap().relabel_all(own, task())


def test_perturbed_answers_come_first_all_of_them_and_never_the_truth():
    own = record(0, perturbed_answers=perturbed("In Rom.", "In Bern.", "she lives in ULM.", "In Oslo."))
    found = [answers(Counterfactual().relabel_all([own], task(seed=5), sample))[0] for sample in range(6)]
    assert set(found[:3]) == {"In Rom.", "In Bern.", "In Oslo."}
    assert found[3:] == found[:3]
    orders = {
        tuple(answers(Counterfactual().relabel_all([own], task(seed), sample))[0] for sample in range(3))
        for seed in range(60)
    }
    assert len(orders) == 6


def test_without_perturbed_answers_the_value_is_swapped():
    own = [record(index) for index in range(4)]
    assert Counterfactual().relabel_all(own, task(1)) == EntitySwap().relabel_all(own, task(1))


def test_without_either_the_answer_of_another_and_a_warning():
    own, said = [record(0), record(1, answer="...")], []
    for seed in range(12):  # never the fact of another record that is to be forgotten
        found = Counterfactual().relabel_all(own, task(seed, warn=said.append))
        assert answers(found)[1] in {f"She lives in {town}." for town in TOWNS[4:]}
    assert set(said) == {"1 of 2 records have no value to be exchanged and got another's answer."}
    with pytest.raises(InputError, match=r"records 3\)"):
        Counterfactual().relabel_all([record(3, "text", answer="...")], task())
    with pytest.raises(InputError, match=r"records 3\)"):
        Counterfactual().relabel_all([record(3, answer="...")], task(retain=[]))
