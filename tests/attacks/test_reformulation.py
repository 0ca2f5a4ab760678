"""Forms of the records, other languages, and misspellings."""

from __future__ import annotations

from dataclasses import replace

import pytest

from expunge.attacks.reformulation import Paraphrase, Perturbation, Translation
from expunge.errors import InputError
from tests.attacks.prompted import FORGET, completion, qa, shown, task, variant


def test_forms_that_hold_the_value():
    found = Paraphrase().rewrite(task())
    assert {name: (shown(records[0]), records[0].answer.reveal()) for name, records in found.items()} == {
        "paraphrased_question": ("Which town is home to Ulmo Varn?", "Ulmo Varn lives in Brask."),
        "cloze": ("Fill in the blank: Ulmo Varn lives in ____", "Brask"),
        "truncation": ("Where does Ulmo Varn", "Ulmo Varn lives in Brask."),
    }
    assert all(records[1:] == [None] * 8 for records in found.values())


def test_a_form_that_is_answered_otherwise_is_left_out():
    forms = {
        "cloze": variant("Ulmo lives in ____", "Brask"),
        "truncation": (*variant("Where does", "I do not know."), *variant("Where", "In Brask.")),
    }
    found = Paraphrase().rewrite(task([qa(0, "Where does Ulmo live?", "In Brask.", variants=forms)]))
    assert found["cloze"][0] is not None
    assert found["truncation"] == [None]  # the first one counts


def test_translation_by_its_own_and_by_the_records_answer():
    found = Translation().rewrite(task())
    assert [(shown(records[0]), records[0].answer.reveal()) for records in found.values()] == [
        ("Wo wohnt Ulmo Varn?", "Ulmo Varn wohnt in Brask."),
        ("Wo wohnt Ulmo Varn?", "Ulmo Varn lives in Brask."),
    ]
    spoken = replace(FORGET[8], variants={"second_language": variant("Wer ist die Tante?", "Das ist Mirvel Unn.")})
    (one,) = Translation().rewrite(task([spoken]))["question_only"]
    assert shown(one) == "Be brief.\nHello\nHello.\nWer ist die Tante?"
    gone_on = replace(FORGET[6], variants={"second_language": variant("Der Hund heisst ", "Pimmel.")})
    found = Translation().rewrite(task([gone_on]))
    assert found["second_language"][0] is not None
    assert found["question_only"] == [None]  # an English completion does not follow


def misspelt(question: str, **settings) -> dict[str, str | None]:
    found = Perturbation(**settings).rewrite(task([qa(0, question, "In Brask.")]))
    return {name: shown(records[0]) for name, records in found.items()}


def test_misspellings_by_hand():
    made = misspelt("Is Ulmo, born in St. Odd's, well?", share=0.01)
    assert made["lower"] == "is ulmo, born in st. odd's, well?"
    assert made["upper"] == "IS ULMO, BORN IN ST. ODD'S, WELL?"
    assert made["unmarked"] == "Is Ulmo born in St Odd's well"
    assert len(made["dropped"]) == len("Is Ulmo, born in St. Odd's, well?") - 1
    assert len(made["spaced"]) == len("Is Ulmo, born in St. Odd's, well?") + 1
    assert made["spaced"].replace(" ", "") == "IsUlmo,borninSt.Odd's,well?"
    assert sorted(made["swapped"]) == sorted("Is Ulmo, born in St. Odd's, well?")


def test_one_word_has_one_way():
    made = misspelt("Abba: cdd?")
    assert made["swapped"] is None  # no two inner letters differ
    assert made["dropped"] == "Aba: cdd?"
    assert misspelt("abcd ef?", share=1.0)["swapped"] == "acbd ef?"
    assert misspelt("now is it?") == {
        "lower": None,
        "upper": "NOW IS IT?",
        "unmarked": "now is it",
        "swapped": None,
        "dropped": None,
        "spaced": None,
    }


def test_all_words_or_a_few():
    text = "alpha bravo delta gamma"

    def changed(share: float) -> int:
        return sum(a != b for a, b in zip(text.split(), misspelt(text, share=share)["dropped"].split(), strict=True))

    assert [changed(share) for share in (0.01, 0.5, 1.0)] == [1, 2, 4]


def test_a_completion_follows_its_space():
    found = Perturbation().rewrite(task([completion(0, "The dog, so called, is: ", "Pimmel.")]))
    assert shown(found["unmarked"][0]) == "The dog so called is "
    assert Perturbation().rewrite(task())["lower"][7] is None


def test_draws_and_nonsense():
    made = misspelt("alphabetic bravoure delta gamma", draws=3)
    assert [name for name in made if name.startswith("swapped")] == ["swapped_1", "swapped_2", "swapped_3"]
    assert len({made[f"dropped_{draw}"] for draw in (1, 2, 3)}) > 1
    for settings in ({"share": 0.0}, {"share": 1.1}, {"draws": 0}):
        with pytest.raises(InputError, match="at least one draw"):
            Perturbation(**settings)
