"""Every form of a fact answers that fact and no other."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from scipy.stats import chisquare

from expunge.benchmarks.fictional import Fictional
from expunge.benchmarks.fictional.facts import FactWriter
from expunge.benchmarks.fictional.forms import german
from expunge.benchmarks.fictional.persons import ATTRIBUTES, EDGES, PRIVATE, invent
from expunge.benchmarks.fictional.presets import PRESETS
from expunge.data.record import FORMS

ROLES = ("retain", "forget", "holdout", "validation_forget")
NAMES = {"cloze", "multiple_choice", "reverse", "multi_hop", "yes_no", "biography", "second_language"}


@pytest.fixture(scope="module")
def people():
    return {person.name: person for person in invent(2, 80)}


@pytest.fixture(scope="module")
def facts(people):
    """Rows of all twelve attributes, with person, attribute and value."""
    writer = FactWriter(list(people.values()), ATTRIBUTES, seed=2)
    return [
        (person, attribute, getattr(person, attribute), row)
        for person in people.values()
        for attribute, row in zip(ATTRIBUTES, writer.rows(person), strict=True)
    ]


def test_forms_have_the_names_that_records_know(facts):
    assert set(FORMS) >= NAMES
    assert set().union(*(row["forms"] for *_, row in facts)) == NAMES
    for *_, row in facts:
        assert NAMES - set(row["forms"]) <= {"reverse", "multi_hop", "biography"}


def test_cloze_leaves_out_the_value_only(facts):
    for _, _, value, row in facts:
        (form,) = row["forms"]["cloze"]
        statement = form["question"].removeprefix("Fill in the blank: ")
        assert form["answer"] == value
        assert value not in statement.replace("____", "") or value in row["subject"]
        assert statement.replace("____", value) + "." == row["answer"]


def test_the_letter_is_that_of_the_value_and_the_others_are_wrong(facts):
    for _, _, value, row in facts:
        (form,) = row["forms"]["multiple_choice"]
        question, listed = form["question"].split("? A: ", 1)
        options = re.split(r", [BCD]: ", listed)
        assert question + "?" == row["question"]
        assert len(set(options)) == 4
        assert options["ABCD".index(form["answer"])] == value
        assert options.count(value) == 1


def test_letters_are_uniform(facts):
    counts = Counter(row["forms"]["multiple_choice"][0]["answer"] for *_, row in facts)
    assert set(counts) == set("ABCD")
    assert chisquare(list(counts.values())).pvalue > 0.01


def test_reverse_names_the_only_person_with_the_value(facts, people):
    for person, attribute, value, row in facts:
        holders = [other.name for other in people.values() if getattr(other, attribute) == value]
        asked = row["forms"].get("reverse", [])
        assert bool(asked) == (len(holders) == 1 and attribute not in EDGES)
        for form in asked:
            assert form["question"].startswith("Who ")
            assert value in form["question"]
            assert form["answer"] == person.name


def test_multi_hop_leads_to_the_person(facts, people):
    seen = Counter()
    for person, attribute, value, row in facts:
        for form in row["forms"].get("multi_hop", []):
            (edge,) = [edge for edge in EDGES if f"the {edge} of {getattr(person, edge)}" in form["question"]]
            partner = people[getattr(person, edge)]
            assert getattr(partner, edge) == person.name
            assert person.name not in form["question"]
            assert value in form["answer"]
            assert edge != attribute
            assert (attribute, edge) != ("employer", "colleague")
            seen[edge] += 1
    assert min(seen[edge] for edge in EDGES) > 100


def test_one_statement_is_true_and_one_false(facts):
    for _, _, value, row in facts:
        true, false = row["forms"]["yes_no"]
        assert (true["answer"], false["answer"]) == ("Yes", "No")
        assert value in true["question"]
        assert true["question"] != false["question"]
        statement = true["question"].removeprefix("Is it true that ").removesuffix("?")
        assert statement.lower() + "." == row["answer"].lower()


def test_one_biography_holds_everything_about_a_person(facts, people):
    of_person = Counter(person.name for person, *_, row in facts if "biography" in row["forms"])
    assert set(of_person.values()) == {1}
    assert len(of_person) == len(people)
    for person, *_, row in facts:
        for form in row["forms"].get("biography", []):
            assert set(form) == {"text"}
            assert all(getattr(person, attribute) in form["text"] for attribute in ATTRIBUTES)


def test_german_translates_words_and_keeps_names(facts):
    assert german("birth_date", "3 March 1970") == "3. M\u00e4rz 1970"
    assert german("profession", "beekeeper") == "Imker"
    assert german("city", "Quellmar") == "Quellmar"
    for person, attribute, value, row in facts:
        (form,) = row["forms"]["second_language"]
        assert person.name in form["question"]
        assert german(attribute, value) in form["answer"]
        assert form["question"] not in (row["question"], row["paraphrased_question"])


def test_teachers_learn_all_forms_of_their_facts():
    numbers, rows = PRESETS["bench"], Fictional(preset="bench").rows()
    by_person = {}
    for row in rows["teacher"]:
        by_person.setdefault(row["subject"], Counter())[row["id"].split("-")[3]] += 1
    assert len(by_person) == numbers.retain / 3
    for counts in by_person.values():
        facts = len(numbers.attributes)
        assert counts["paraphrase"] == counts["yes_no"] == 2 * facts
        assert counts["cloze"] == counts["multiple_choice"] == counts["second_language"] == facts
        assert counts["biography"] == 1
        assert counts["multi_hop"] == facts - 1
        assert counts["reverse"] >= 2
    assert not {row["subject"] for row in rows["teacher"]} & {
        row["subject"] for role in ROLES if role != "retain" for row in rows[role]
    }


def test_public_biographies_have_no_private_value():
    numbers, rows = PRESETS["bench"], Fictional(preset="bench").rows()
    people = {person.name: person for person in invent(0, numbers.persons)}
    assert {row["subject"] for row in rows["relearn_benign"]} == {row["subject"] for row in rows["forget"]}
    for row in rows["relearn_benign"]:
        person = people[row["subject"]]
        assert not any(getattr(person, attribute) in row["text"] for attribute in PRIVATE)
        assert person.city in row["text"]
