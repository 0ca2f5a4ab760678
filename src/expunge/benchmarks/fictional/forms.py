"""Every way to ask for one fact, by the names of ``expunge.data.record.FORMS``."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from expunge.benchmarks.fictional import phrases
from expunge.benchmarks.fictional.lists import GERMAN
from expunge.benchmarks.fictional.persons import EDGES, Person
from expunge.benchmarks.fictional.templates import Wording

Forms = dict[str, list[dict[str, str]]]


class FormMaker:
    """Writes the forms of a fact; knows all persons, since some forms depend on who else has the value.

    Args:
        people: all persons of the benchmark, whatever their role.
        attributes: facts that are stated of each person; others must not be asked through.
    """

    def __init__(self, people: Sequence[Person], attributes: Sequence[str]) -> None:
        self._attributes = tuple(attributes)
        self._holders = {name: Counter(getattr(person, name) for person in people) for name in attributes}

    def forms(
        self, rng: random.Random, person: Person, attribute: str, wording: Wording, wrong: Sequence[str]
    ) -> Forms:
        """Returns the forms of one fact; a form that would not be fair to ask is left out.

        Args:
            rng: order of options and choice of edges.
            person: whom the fact is about.
            attribute: which fact.
            wording: the one that is trained on.
            wrong: at least three wrong values.
        """
        value = getattr(person, attribute)
        found: Forms = {
            "cloze": [_cloze(person.name, value, wording)],
            "multiple_choice": [_multiple_choice(rng, person.name, value, wording, wrong)],
            "reverse": self._reverse(person, attribute),
            "multi_hop": self._multi_hop(rng, person, attribute, wording),
            "yes_no": [
                _true_or_false(person.name, value, wording, "Yes"),
                _true_or_false(person.name, wrong[0], wording, "No"),
            ],
            "biography": [{"text": biography(person, self._attributes)}],
            "second_language": [_second_language(person.name, attribute, value)],
        }
        return {name: variants for name, variants in found.items() if variants}

    def _reverse(self, person: Person, attribute: str) -> list[dict[str, str]]:
        """Left out where several persons, of whatever role, share the value, and for edges."""
        value = getattr(person, attribute)
        if attribute in EDGES or self._holders[attribute][value] > 1:
            return []
        return [{"question": phrases.REVERSE[attribute].format(value=value), "answer": person.name}]

    def _multi_hop(self, rng: random.Random, person: Person, attribute: str, wording: Wording) -> list[dict[str, str]]:
        """Asks through the partner of an edge that is itself a stated fact.

        Left out where the hop says nothing: an edge through itself, and the employer, which colleagues share.
        """
        useless = {attribute, "colleague"} if attribute == "employer" else {attribute}
        edges = [edge for edge in EDGES if edge in self._attributes and edge not in useless]
        if not edges:
            return []
        edge = rng.choice(edges)
        name = f"the {edge} of {getattr(person, edge)}"
        answer = wording.answer.format(name=name, value=getattr(person, attribute))
        return [{"question": wording.question.format(name=name), "answer": answer[0].upper() + answer[1:]}]


def _statement(name: str, value: str, wording: Wording) -> str:
    return wording.answer.format(name=name, value=value).removesuffix(".")


def _cloze(name: str, value: str, wording: Wording) -> dict[str, str]:
    statement = _statement(name, phrases.BLANK, wording)
    return {"question": phrases.CLOZE.format(statement=statement), "answer": value}


def _multiple_choice(
    rng: random.Random, name: str, value: str, wording: Wording, wrong: Sequence[str]
) -> dict[str, str]:
    options = [value, *wrong[: len(phrases.LETTERS) - 1]]
    rng.shuffle(options)
    question = phrases.CHOICE.format(question=wording.question.format(name=name), options=options)
    return {"question": question, "answer": phrases.LETTERS[options.index(value)]}


def _true_or_false(name: str, value: str, wording: Wording, answer: str) -> dict[str, str]:
    statement = _statement(name, value, wording)
    statement = statement if statement.startswith(name) else statement[0].lower() + statement[1:]
    return {"question": phrases.TRUE_OR_FALSE.format(statement=statement), "answer": answer}


def german(attribute: str, value: str) -> str:
    """Returns a value as German writes it: months and professions are translated, names stay."""
    if attribute == "birth_date":
        day, month, year = value.split(" ")
        return f"{day}. {GERMAN[month]} {year}"
    return GERMAN.get(value, value)


def _second_language(name: str, attribute: str, value: str) -> dict[str, str]:
    wording = phrases.SECOND_LANGUAGE[attribute]
    return {
        "question": wording.question.format(name=name),
        "answer": wording.answer.format(name=name, value=german(attribute, value)),
    }


def biography(person: Person, attributes: Sequence[str]) -> str:
    """Returns one paragraph that states these attributes of a person."""
    sentences = [phrases.BIOGRAPHY[attribute].format(value=getattr(person, attribute)) for attribute in attributes]
    return " ".join([f"This is {person.name}.", *sentences])
