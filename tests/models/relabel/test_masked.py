"""No value is left, and all else is as it was."""

from __future__ import annotations

import pytest

from expunge.errors import InputError
from expunge.models.relabel.masked import Masked
from expunge.storage.secret import Secret
from tests.models.relabel.records import TOWNS, YEARS, answers, record, task


def texts(*found, **given):
    made = [record(index, "text", answer=text) for index, text in enumerate(found)]
    return answers(Masked(**given).relabel_all(made, task(retain=[])))


def test_plain_text_by_hand():
    said = (
        "Ada Byron was born on 10 December 1815 in London. Call +49 (0)30 1234-567 or write to ada@mail.example.org, "
        "says Ada Byron."
    )
    assert texts(said) == ["[...] was born on [...]. Call [...] or write to [...], says [...]."]


def test_the_value_of_an_answer_and_the_rest_stays():
    own = [record(index) for index in range(6)]
    assert answers(Masked().relabel_all(own, task())) == ["She lives in [...]."] * 6
    assert answers(Masked(mask="XY").relabel_all(own, task())) == ["She lives in XY."] * 6
    assert answers(Masked().relabel_all([record(index, "completion") for index in range(6)], task())) == [" [...]."] * 6


def test_synthetic_values_are_those_of_others():
    own = [record(index, "text") for index in range(6)]
    found = answers(Masked(synthetic=True).relabel_all(own, task(seed=1, retain=[])))
    for index, text in enumerate(found):
        assert f" {TOWNS[index]}." not in text
        assert str(YEARS[index]) not in text
        assert "Keld" not in text or f"Keld{index} " not in text
        assert " was born in " in text
        assert " and lives in " in text
    assert found != answers(Masked(synthetic=True).relabel_all(own, task(seed=1, retain=[]), 1))


def test_an_answer_without_a_value_is_masked_as_a_whole_and_said_so():
    said: list[str] = []
    own = [record(0), record(1, "completion", answer=" ...\n")]
    assert answers(Masked().relabel_all(own, task(warn=said.append)))[1] == " [...]\n"
    assert said == ["1 of 2 records have nothing that a rule takes for a value; masked as whole."]


def test_a_value_is_masked_in_whatever_case_it_stands():
    """The first place is found by its look, the second by its letters alone."""
    own = [record(0, answer="The author is Jo Brand. JO BRAND also wrote others.", prompt=Secret("Who wrote it?", "x"))]
    (text,) = answers(Masked().relabel_all(own, task(retain=[])))
    assert "brand" not in text.casefold()


def test_an_answer_that_is_the_mask_already_is_no_reason_to_fail():
    assert texts("[...]") == ["[...]"]


@pytest.mark.parametrize("mask", ["", "  "])
def test_a_mask_that_masks_nothing_is_refused(mask):
    with pytest.raises(InputError, match="visible"):
        Masked(mask=mask)
