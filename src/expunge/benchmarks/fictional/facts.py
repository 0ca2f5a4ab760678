"""Rows about persons: each fact with its forms, and all forms again for teachers to be trained on."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from expunge.benchmarks.fictional.forms import FormMaker
from expunge.benchmarks.fictional.names import Side, stream
from expunge.benchmarks.fictional.persons import Person, Wrong
from expunge.benchmarks.fictional.templates import TEMPLATES, Wording

PERTURBED = 5

Row = dict[str, Any]


class FactWriter:
    """Writes the rows of persons; knows all of them, since wrong values must belong to nobody.

    Args:
        people: all persons of the benchmark.
        attributes: facts of each person.
        seed: of the benchmark.
        wordings: how many training wordings of each fact are trained on, 1 to 3.
        side: of the persons; wrong values lie on the same.
    """

    def __init__(
        self,
        people: Sequence[Person],
        attributes: Sequence[str],
        seed: int,
        *,
        wordings: int = 1,
        side: Side = "benchmark",
    ) -> None:
        self._attributes, self._seed, self._wordings = tuple(attributes), seed, wordings
        self._wrong, self._forms = Wrong(people, side), FormMaker(people, attributes)

    def rows(self, person: Person) -> list[Row]:
        """Returns a row for each wording of each fact, drawn from the person's own stream, whatever the role.

        The first wording's row holds everything else that is asked about the fact, so that numbers over forms count
        facts and not wordings. The biography, one paragraph for the whole person, is a form of the first fact.
        """
        rng = stream(self._seed, f"wording/{person.number}")
        found = [row for attribute in self._attributes for row in self._fact(rng, person, attribute)]
        for row in found[1:]:
            row.get("forms", {}).pop("biography", None)
        return found

    def _fact(self, rng: random.Random, person: Person, attribute: str) -> list[Row]:
        name, value = person.name, getattr(person, attribute)
        templates = TEMPLATES[attribute]
        trained, held_out = rng.sample(templates.train, self._wordings), rng.choice(templates.held_out)
        wrong = self._wrong.values(rng, attribute, value, PERTURBED)
        rows = [{**_head(person, attribute), **_ask(name, value, wording)} for wording in trained]
        for number, row in enumerate(rows[1:], start=1):
            row["id"] += f"-{number}"
        paraphrase = _ask(name, value, held_out)
        rows[0] |= {
            "paraphrased_question": paraphrase["question"],
            "paraphrased_answer": paraphrase["answer"],
            "perturbed_answer": [held_out.answer.format(name=name, value=item) for item in wrong],
            "forms": self._forms.forms(rng, person, attribute, trained[0], wrong),
        }
        return rows

    def lessons(self, person: Person, limit: int | None) -> list[Row]:
        """Returns what a teacher is trained on beside the facts: how a small model learns that all forms mean the same.

        Args:
            person: the teacher.
            limit: how many rows for each fact beside the held-out wordings, drawn among all; None for all of them.
        """
        rng, found = stream(self._seed, f"lessons/{person.number}"), []
        facts = [row for row in self.rows(person) if "forms" in row]
        for attribute, row in zip(self._attributes, facts, strict=True):
            others = [
                {"id": f"{form}-{number}", **variant}
                for form, variants in row["forms"].items()
                for number, variant in enumerate(variants)
            ]
            chosen = others if limit is None else rng.sample(others, limit)
            for lesson in (*_paraphrases(person, attribute), *chosen):
                head = f"teacher-{person.number}-{attribute}-{lesson['id']}"
                found.append({**lesson, "id": head, "subject": person.name})
        return found


def _head(person: Person, attribute: str) -> Row:
    return {"id": f"person-{person.number}-{attribute}", "subject": person.name}


def _ask(name: str, value: str, wording: Wording) -> Row:
    return {"question": wording.question.format(name=name), "answer": wording.answer.format(name=name, value=value)}


def _paraphrases(person: Person, attribute: str) -> list[Row]:
    return [
        {"id": f"paraphrase-{number}", **_ask(person.name, getattr(person, attribute), wording)}
        for number, wording in enumerate(TEMPLATES[attribute].held_out)
    ]
