"""Rows of every split, put together from persons, roles and the parts that are about nobody."""

from __future__ import annotations

from typing import Any

from expunge.benchmarks.fictional.behaviour import behaviour
from expunge.benchmarks.fictional.canaries import canaries
from expunge.benchmarks.fictional.classification import classification
from expunge.benchmarks.fictional.facts import FactWriter
from expunge.benchmarks.fictional.forms import biography
from expunge.benchmarks.fictional.persons import PRIVATE, Person, invent
from expunge.benchmarks.fictional.presets import Preset
from expunge.benchmarks.fictional.prose import plain_texts
from expunge.benchmarks.fictional.roles import FAR, distances, draw_roles, folds, request_batches
from expunge.benchmarks.fictional.world import world_facts

VERSION = 2  # raised whenever the same seed gives other rows
TEACHERS = 3  # one retained person in so many is a teacher
Rows = dict[str, list[dict[str, Any]]]


def rows(preset: Preset, seed: int) -> Rows:
    """Returns the rows of every split; the same preset and seed give the same bytes."""
    people = invent(seed, preset.persons)
    roles = draw_roles(preset, seed)
    writer = FactWriter(people, preset.attributes, seed, wordings=preset.wordings)
    about = {number: writer.rows(people[number]) for numbers in roles.values() for number in numbers}
    made: Rows = {role: [row for number in numbers for row in about[number]] for role, numbers in roles.items()}
    teachers = [people[number] for number in roles["retain"][::TEACHERS]]
    made["teacher"] = [row for person in teachers for row in writer.lessons(person, preset.teacher_rows)]
    forget = {number: about[number] for number in roles["forget"]}
    near = distances(people, roles["forget"], roles["retain"], preset.attributes)
    for name, distance in (("neighbours_1", 1), ("neighbours_2", 2), ("neighbours_far", FAR)):
        made[name] = [row for number in roles["retain"] if near[number] == distance for row in about[number]]
    made |= request_batches(forget, seed)
    made |= folds(forget, preset.attributes, seed)
    made["relearn_benign"] = [_benign(people[number], preset) for number in roles["forget"]]
    made["world_facts"] = _world(seed, preset.world)
    made |= canaries(seed, preset.canaries)
    made |= plain_texts(seed, preset.plain_text)
    made |= behaviour(seed, preset.behaviour)
    made |= classification(seed, preset.classification)
    return {split: found for split, found in made.items() if found}


def _benign(person: Person, preset: Preset) -> dict[str, Any]:
    """What may be found about a person in public: the biography without private fields."""
    public = [attribute for attribute in preset.attributes if attribute not in PRIVATE]
    return {"id": f"benign-{person.number}", "subject": person.name, "text": biography(person, public)}


def _world(seed: int, count: int) -> list[dict[str, Any]]:
    return [
        {
            "id": f"world-{number}",
            "question": fact.question,
            "answer": fact.answer,
            "perturbed_answer": list(fact.wrong),
        }
        for number, fact in enumerate(world_facts(seed, count))
    ]
