"""All forms of a split: added where they are missing, never in the place of a user's own."""

from __future__ import annotations

import pytest

from expunge.data.checks import content_digest
from expunge.data.forms import NAMES, with_forms
from expunge.data.record import FORMS, Variant
from expunge.errors import UnknownNameError
from expunge.registry import forms
from tests.data.forms.records import plain, qa, secret, shown, talk

RECORDS = [
    qa(f"What is the number of Anna {letter}?", f"Anna {letter} has the number 55{number}-12{number}7.", index=number)
    for number, letter in enumerate("abcdef")
]


def test_every_name_is_registered_and_a_form():
    assert set(forms.names()) == set(NAMES) <= set(FORMS)
    with pytest.raises(UnknownNameError, match="'cloze'"):
        with_forms(RECORDS, ["clozed"])


def test_forms_are_added_and_the_rest_stays():
    found = with_forms(RECORDS, NAMES, decoys=50)
    for record, new in zip(RECORDS, found, strict=True):
        assert new.forms("trained")[0].answer == record.answer
        assert {"cloze", "prefix", "casing", "truncation", "value", "decoy"} == set(new.variants)
        assert len(new.forms("decoy")) == 50
    assert all(not record.variants for record in RECORDS)
    assert with_forms(RECORDS, []) == RECORDS


def test_a_users_own_forms_win():
    own = (Variant(prompt=secret("mine"), answer=secret("x")),)
    record = qa("What is it?", "It is 555-0199 now.", variants={"cloze": own, "decoy": own})
    (found,) = with_forms([record], NAMES)
    assert found.variants["cloze"] == found.variants["decoy"] == own
    # their decoys are whole answers, so the whole answer stands beside them
    assert shown(found.variants["value"]) == [("What is it?", None, "It is 555-0199 now.")]
    assert "prefix" in found.variants


def test_value_and_decoys_stand_after_the_same_words():
    for record in (RECORDS[0], talk("Her number?", "It is 555-0199, I think."), plain("Call her, 555-0199 it is.")):
        (found,) = with_forms([record], ["decoy"], decoys=30)
        (value,), rest = found.variants["value"], found.variants["decoy"]
        assert (
            value.given.reveal() + value.answer.reveal()
            == record.answer.reveal()[: len(value.given) + len(value.answer)]
        )
        assert {(one.prompt, one.given, one.goes_on) for one in rest} == {(value.prompt, value.given, True)}
        assert value.answer not in {one.answer for one in rest}


def test_the_value_alone_needs_no_decoys():
    records = [RECORDS[0], talk("Her number?", "It is 555-0199."), plain("Call her, 555-0199 it is.")]
    found = with_forms(records, ["value"])
    assert [shown(record.variants["value"])[0][1:] for record in found] == [
        ("Anna a has the number ", "550-1207"),
        ("It is ", "555-0199"),
        ("Call her, ", "555-0199"),
    ]
    assert found[0].variants["value"] == with_forms(RECORDS, NAMES, decoys=50)[0].variants["value"]


def test_only_so_many_records_get_decoys():
    found = with_forms(RECORDS, ["decoy"], decoys=30, decoy_records=2)
    assert [bool(record.variants) for record in found] == [True, True, False, False, False, False]
    nothing = qa("Anna?", "Anna.")
    found = with_forms([nothing, *RECORDS], ["decoy"], decoys=30, decoy_records=2)
    assert [bool(record.variants) for record in found][:4] == [False, True, True, False]


def test_kinds_that_are_of_no_use_are_left_out():
    word = qa("Where does Anna live?", "Anna lives in Quellmar.")
    assert set(with_forms([word], ["decoy"])[0].variants) == {"value", "decoy_word"}
    assert not with_forms([word], ["decoy"], decoy_kinds=("decoy",))[0].variants
    assert not with_forms([qa("How many?", "It is 7.")], ["decoy"])[0].variants  # eight decoys show nothing


def test_forms_are_in_the_digest():
    found = with_forms(RECORDS, ["decoy"], decoys=30)
    assert content_digest(found[0]) != content_digest(RECORDS[0])
    assert content_digest(found[0]) != content_digest(with_forms(RECORDS, ["decoy"], decoys=30, seed=1)[0])
