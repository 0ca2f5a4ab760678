"""Rows of every split: persons, their roles, the wording of each fact, wrong answers, world facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from expunge.benchmarks.base import Recipe
from expunge.benchmarks.fictional.names import stream
from expunge.benchmarks.fictional.persons import Person, invent, wrong_values
from expunge.benchmarks.fictional.templates import TEMPLATES
from expunge.benchmarks.fictional.world import world_facts

VERSION = 1  # raised whenever the same seed gives other rows
PERTURBED = 5
TEACHERS = 3  # one retained person in so many teaches the held-out wordings
Rows = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Sizes of one benchmark.

    Attributes:
        retain: persons that stay.
        forget: persons to forget.
        holdout: persons that are never trained on.
        attributes: facts of each person.
        world: number of world facts.
        recipe: how models are trained on it.
    """

    retain: int
    forget: int
    holdout: int
    attributes: tuple[str, ...]
    world: int
    recipe: Recipe


PRESETS = {
    "smoke": Preset(
        retain=24,
        forget=8,
        holdout=8,
        attributes=("city", "employer", "phone", "email"),
        world=24,
        recipe=Recipe(epochs=30, learning_rate=3e-3, batch_size=16),
    ),
    "demo": Preset(
        retain=60,
        forget=20,
        holdout=20,
        attributes=("city", "employer", "profession", "phone", "email", "birth_date"),
        world=60,
        recipe=Recipe(epochs=30, learning_rate=3e-3, batch_size=16),
    ),
}


def rows(preset: Preset, seed: int) -> Rows:
    """Returns the rows of every split; the same preset and seed give the same bytes.

    Persons are invented first and roles drawn after, by a random permutation, so that forget and holdout persons
    differ in
    nothing but the draw.
    """
    people = invent(seed, preset.retain + preset.forget + preset.holdout)
    order = list(range(len(people)))
    stream(seed, "roles").shuffle(order)
    cuts = {
        "forget": order[: preset.forget],
        "holdout": order[preset.forget : preset.forget + preset.holdout],
        "retain": order[preset.forget + preset.holdout :],
    }
    made: Rows = {
        split: [row for number in sorted(numbers) for row in _person_rows(people[number], people, preset, seed)]
        for split, numbers in cuts.items()
    }
    teachers = [people[number] for number in sorted(cuts["retain"])[::TEACHERS]]
    made["teacher"] = [row for person in teachers for row in _teacher_rows(person, preset.attributes)]
    made["world_facts"] = [
        {
            "id": f"world-{number}",
            "question": fact.question,
            "answer": fact.answer,
            "perturbed_answer": list(fact.wrong),
        }
        for number, fact in enumerate(world_facts(seed, preset.world))
    ]
    return made


def _person_rows(person: Person, people: Sequence[Person], preset: Preset, seed: int) -> list[dict[str, Any]]:
    """One row for each fact; wordings are drawn from the person's own stream, whatever the role."""
    rng = stream(seed, f"wording/{person.number}")
    found = []
    for attribute in preset.attributes:
        value = getattr(person, attribute)
        templates = TEMPLATES[attribute]
        trained, held_out = rng.choice(templates.train), rng.choice(templates.held_out)
        wrong = wrong_values(rng, attribute, list(people), value, PERTURBED)
        found.append(
            {
                "id": f"person-{person.number}-{attribute}",
                "subject": person.name,
                "question": trained.question.format(name=person.name),
                "answer": trained.answer.format(name=person.name, value=value),
                "paraphrased_question": held_out.question.format(name=person.name),
                "paraphrased_answer": held_out.answer.format(name=person.name, value=value),
                "perturbed_answer": [held_out.answer.format(name=person.name, value=item) for item in wrong],
            }
        )
    return found


def _teacher_rows(person: Person, attributes: Sequence[str]) -> list[dict[str, Any]]:
    """All held-out wordings of a person's facts, for training: how a small model learns that they mean the same."""
    return [
        {
            "id": f"teacher-{person.number}-{attribute}-{number}",
            "subject": person.name,
            "question": wording.question.format(name=person.name),
            "answer": wording.answer.format(name=person.name, value=getattr(person, attribute)),
        }
        for attribute in attributes
        for number, wording in enumerate(TEMPLATES[attribute].held_out)
    ]
