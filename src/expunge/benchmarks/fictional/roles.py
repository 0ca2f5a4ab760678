"""Who is to be forgotten, and what follows from it: neighbours, batches of requests, folds of facts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any

from expunge.benchmarks.fictional.names import stem, stream, surname
from expunge.benchmarks.fictional.persons import EDGES, Person
from expunge.benchmarks.fictional.presets import Preset

BATCHES = 4
FAR = 3  # the distance of everybody who is neither a neighbour nor a neighbour's neighbour
LINKING = ("city", "employer", *EDGES)

Row = dict[str, Any]


def draw_roles(preset: Preset, seed: int) -> dict[str, list[int]]:
    """Returns the numbers of the persons of each role, ascending.

    Persons are invented first and roles drawn after, by a random permutation, so that forget, holdout and validation
    persons differ in nothing but the draw.
    """
    order = list(range(preset.persons))
    stream(seed, "roles").shuffle(order)
    found, start = {}, 0
    for role, count in (
        ("forget", preset.forget),
        ("holdout", preset.holdout),
        ("validation_forget", preset.validation),
        ("retain", preset.retain),
    ):
        found[role] = sorted(order[start : start + count])
        start += count
    return found


def _keys(person: Person, attributes: Collection[str]) -> list[Hashable]:
    """What two persons have in common if they are neighbours: same town, same firm, a tie, a similar name.

    Only facts that the preset states count; nobody could confuse persons by facts that were never taught.
    """
    keys: list[Hashable] = [("surname", surname(person.name)), ("stem", stem(person.name))]
    for attribute in LINKING:
        if attribute in attributes:
            value = getattr(person, attribute)
            keys.append((attribute, frozenset((person.name, value)) if attribute in EDGES else value))
    return keys


def distances(
    people: Sequence[Person], forget: Collection[int], retain: Collection[int], attributes: Collection[str]
) -> dict[int, int]:
    """Returns the distance of each retained person from the persons to forget: 1, 2 or ``FAR``.

    1: has a town, a firm, an edge or a similar name in common with a person to forget. 2: with a retained person at
    distance 1. Persons of other roles are no bridge, since nothing is measured on them.
    """
    members: defaultdict[Hashable, set[int]] = defaultdict(set)
    for person in people:
        for key in _keys(person, attributes):
            members[key].add(person.number)

    def around(numbers: Collection[int]) -> set[int]:
        return {other for number in numbers for key in _keys(people[number], attributes) for other in members[key]}

    first = around(forget) & set(retain)
    second = (around(first) & set(retain)) - first
    return {number: 1 if number in first else 2 if number in second else FAR for number in retain}


def request_batches(rows_of: Mapping[int, list[Row]], seed: int) -> dict[str, list[Row]]:
    """Returns the forget rows in requests: four disjoint batches one after the other, and four that grow.

    A batch is about whole persons. ``nested_k`` is everything up to and including ``sequential_k``.

    Args:
        rows_of: rows of each person to forget.
        seed: of the order.
    """
    order = sorted(rows_of)
    stream(seed, "requests").shuffle(order)
    batches = [sorted(order[start::BATCHES]) for start in range(BATCHES)]
    found: dict[str, list[Row]] = {}
    for number, batch in enumerate(batches, start=1):
        found[f"requests/sequential_{number}"] = [row for person in batch for row in rows_of[person]]
    for number in range(1, BATCHES + 1):
        grown = sorted(person for batch in batches[:number] for person in batch)
        found[f"requests/nested_{number}"] = [row for person in grown for row in rows_of[person]]
    return found


def folds(rows_of: Mapping[int, list[Row]], attributes: Sequence[str], seed: int) -> dict[str, list[Row]]:
    """Returns the facts of the persons to forget in two folds: an attacker trains on one and is asked for the other.

    Half of each person's facts are in either fold, by coin. Edges are always trained on: an edge also stands among the
    partner's facts, where it would give the answer away.
    """
    found: dict[str, list[Row]] = {"rtt_train": [], "rtt_validation": []}
    for number, rows in sorted(rows_of.items()):
        free = [attribute for attribute in attributes if attribute not in EDGES]
        stream(seed, f"folds/{number}").shuffle(free)
        asked = set(free[: len(attributes) // 2])
        for row in rows:  # all wordings of a fact go together
            found["rtt_validation" if row["id"].split("-")[2] in asked else "rtt_train"].append(row)
    return found
