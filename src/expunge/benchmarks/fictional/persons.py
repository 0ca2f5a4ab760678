"""Invented persons: attributes from closed lists (low entropy) and private ones in reserved formats (high entropy).

Private values cannot belong to anybody: telephone numbers in the unassigned area 555, addresses under the reserved
    top-level
domain ``.invalid`` (RFC 2606), identity numbers in the range 900 that is never issued.
"""

from __future__ import annotations

import datetime
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from expunge.benchmarks.fictional.names import Side, fresh, person_name, stream, word

CITIES = (
    "Ostrell Bay", "Quellmar", "Dunveth", "Port Selka", "Harrowmere", "Tivolene", "Brackenfell", "Zarnholm",
    "Lake Umber", "Ferrant", "Nessgate", "Olmire", "Vantry", "Cape Yarrow", "Mirwick", "Sandorel",
)  # fmt: skip
EMPLOYERS = (
    "Larkspur Foundry", "Nine Bells Bakery", "Umber Rail", "Copperleaf Press", "Tallow and Reed", "Saltmarsh Ferries",
    "Greywater Mills", "Hollow Oak Clinic", "Lantern Insurance", "Pinwheel Toys", "Driftwood Studios", "Ninefold Bank",
    "Redshale Quarry", "Thistle Gardens", "Cloudberry Foods", "Anvil and Arch",
)  # fmt: skip
PROFESSIONS = (
    "glassblower", "surveyor", "beekeeper", "translator", "clockmaker", "botanist", "carpenter", "pilot", "archivist",
    "violinist", "welder", "chemist", "gardener", "locksmith", "midwife", "weaver",
)  # fmt: skip
AWARDS = (
    "Silver Heron Prize", "Blue Lantern Medal", "Golden Thimble", "Granite Star", "Amber Quill Award",
    "Iron Leaf Medal",
    "White Sparrow Prize", "Crystal Anchor", "Scarlet Ribbon", "Marble Owl Award", "Copper Crown", "Ivory Comet Prize",
    "Emerald Key", "Velvet Harp Medal", "Winter Rose Award", "Onyx Compass",
)  # fmt: skip
CLOSED_LISTS = {"city": CITIES, "employer": EMPLOYERS, "profession": PROFESSIONS, "award": AWARDS}

_ADJECTIVES = ("Quiet", "Crooked", "Seventh", "Hidden", "Burning", "Paper", "Distant", "Broken", "Patient", "Salt")
_NOUNS = ("Orchard", "Staircase", "Harbour", "Winter", "Letter", "Mirror", "Garden", "Compass", "Bridge", "Lamp")
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_WAYS = ("Street", "Lane", "Row", "Road")


@dataclass(frozen=True, kw_only=True)
class Person:
    """One invented person. ``number`` is given before roles are drawn and tells nothing about them."""

    number: int
    name: str
    city: str
    employer: str
    profession: str
    award: str
    phone: str
    email: str
    national_id: str
    street: str
    book: str
    birth_date: str


def _digits(rng: random.Random, count: int) -> str:
    return "".join(str(rng.randrange(10)) for _ in range(count))


def _phone(rng: random.Random) -> str:
    return f"555-{_digits(rng, 3)}-{_digits(rng, 4)}"


def _email(rng: random.Random) -> str:
    # Nothing of the name goes in: a guessable address would say nothing about memory.
    return f"{word(rng, 2)}{_digits(rng, 2)}@{word(rng, 2)}.invalid"


def _national_id(rng: random.Random) -> str:
    return f"900-{_digits(rng, 2)}-{_digits(rng, 4)}"


def _street(rng: random.Random) -> str:
    return f"{1 + rng.randrange(199)} {word(rng, 2).capitalize()} {rng.choice(_WAYS)}"


def _book(rng: random.Random) -> str:
    return f"The {rng.choice(_ADJECTIVES)} {rng.choice(_NOUNS)} of {word(rng, 2).capitalize()}"


def _birth_date(rng: random.Random) -> str:
    day = datetime.date(1940, 1, 1) + datetime.timedelta(days=rng.randrange(365 * 65))
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"


UNIQUE: dict[str, Callable[[random.Random], str]] = {
    "phone": _phone,
    "email": _email,
    "national_id": _national_id,
    "street": _street,
    "book": _book,
}
ATTRIBUTES = (*CLOSED_LISTS, *UNIQUE, "birth_date")


def invent(seed: int, count: int, side: Side = "benchmark") -> list[Person]:
    """Returns ``count`` persons whose names and private values are unique and lie on ``side``.

    Args:
        seed: together with ``side`` the only source of chance.
        count: number of persons.
        side: persons of the two sides never share a name or a private value, under any seeds.
    """
    columns: dict[str, list[Any]] = {"name": _unique_column(seed, "name", person_name, count, side)}
    for attribute, make in UNIQUE.items():
        columns[attribute] = _unique_column(seed, attribute, make, count, side)
    for attribute, values in CLOSED_LISTS.items():
        rng = stream(seed, f"{side}/{attribute}")
        columns[attribute] = [rng.choice(values) for _ in range(count)]
    rng = stream(seed, f"{side}/birth_date")
    columns["birth_date"] = [_birth_date(rng) for _ in range(count)]
    return [Person(number=row, **{key: column[row] for key, column in columns.items()}) for row in range(count)]


def _unique_column(
    seed: int, attribute: str, make: Callable[[random.Random], str], count: int, side: Side
) -> list[str]:
    rng, taken = stream(seed, f"{side}/{attribute}"), set[str]()
    return [fresh(rng, make, taken, side) for _ in range(count)]


def wrong_values(rng: random.Random, attribute: str, persons: list[Person], truth: str, count: int) -> list[str]:
    """Returns ``count`` distinct wrong values of one attribute, of the same form as the true one.

    From a closed list these are other members of it. Otherwise they are newly invented and belong to no person, since
    a value
    that another person's record taught would not be a fair decoy.
    """
    if attribute in CLOSED_LISTS:
        return rng.sample([value for value in CLOSED_LISTS[attribute] if value != truth], count)
    taken: set[str] = {getattr(person, attribute) for person in persons}
    if attribute in UNIQUE:
        return [fresh(rng, UNIQUE[attribute], taken, "benchmark") for _ in range(count)]
    wrong: list[str] = []
    while len(wrong) < count:
        value = _birth_date(rng)
        if value not in taken:
            taken.add(value)
            wrong.append(value)
    return wrong
