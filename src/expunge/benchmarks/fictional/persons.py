"""Invented persons: attributes from closed lists (low entropy), private ones in reserved formats (high entropy), edges.

Private values cannot belong to anybody: telephone numbers in the unassigned area 555, addresses under the reserved
top-level domain ``.invalid`` (RFC 2606), identity numbers in the range 900 that is never issued.

Every person has a spouse and a colleague, who works for the same employer. An edge belongs to the pair and is stated
twice: once among the facts of either person. Deleting one of them removes the facts ABOUT that person and keeps the
other's own, so that after B is deleted, A's record still says that A is married to B. What a retrained model can say
about B from A's record is therefore no failure to forget, and no form of A's edge asks for it from B's side.
"""

from __future__ import annotations

import datetime
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from expunge.benchmarks.fictional.lists import AWARDS, MONTHS, PROFESSIONS, cities, employers
from expunge.benchmarks.fictional.names import Side, fresh, person_name, similar_name, stream, word
from expunge.errors import InputError

EDGES = ("spouse", "colleague")
PAIRS_PER_PERSON = 0.05  # pairs of persons with similar names; below one pair in a small benchmark there is one

_ADJECTIVES = ("Quiet", "Crooked", "Seventh", "Hidden", "Burning", "Paper", "Distant", "Broken", "Patient", "Salt")
_NOUNS = ("Orchard", "Staircase", "Harbour", "Winter", "Letter", "Mirror", "Garden", "Compass", "Bridge", "Lamp")
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
    spouse: str
    colleague: str


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
    return f"{day.day} {MONTHS[day.month - 1]} {day.year}"


UNIQUE: dict[str, Callable[[random.Random], str]] = {
    "phone": _phone,
    "email": _email,
    "national_id": _national_id,
    "street": _street,
    "book": _book,
}
PRIVATE = ("phone", "email", "national_id", "street")
CLOSED = ("city", "employer", "profession", "award")
ATTRIBUTES = (*CLOSED, *UNIQUE, "birth_date", *EDGES)


def closed_lists(count: int) -> dict[str, Sequence[str]]:
    """Returns what the attributes of ``count`` persons are drawn from.

    There are as many towns and firms as persons, so that a value is shared by a few: with sixteen of them everybody
    would be a neighbour of somebody to be forgotten.
    """
    return {"city": cities(max(count, 16)), "employer": employers(max(count, 16)), "profession": PROFESSIONS,
            "award": AWARDS}  # fmt: skip


def invent(seed: int, count: int, side: Side = "benchmark") -> list[Person]:
    """Returns ``count`` persons whose names and private values are unique and lie on ``side``.

    Args:
        seed: together with ``side`` the only source of chance.
        count: number of persons, even since everybody is married, and at least 4.
        side: persons of the two sides never share a name or a private value, under any seeds.

    Raises:
        InputError: an odd or too small number.
    """
    if count % 2 or count < 4:
        raise InputError(f"The number of persons must be even and at least 4, not {count}; change a role's size.")
    columns: dict[str, list[Any]] = {"name": _names(seed, count, side)}
    for attribute, make in UNIQUE.items():
        rng, taken = stream(seed, f"{side}/{attribute}"), set[str]()
        columns[attribute] = [fresh(rng, make, taken, side) for _ in range(count)]
    for attribute, values in closed_lists(count).items():
        rng = stream(seed, f"{side}/{attribute}")
        columns[attribute] = [rng.choice(values) for _ in range(count)]
    rng = stream(seed, f"{side}/birth_date")
    columns["birth_date"] = [_birth_date(rng) for _ in range(count)]
    _join(columns, stream(seed, f"{side}/edges"))
    return [Person(number=row, **{key: column[row] for key, column in columns.items()}) for row in range(count)]


def _names(seed: int, count: int, side: Side) -> list[str]:
    """Unique names, some of them in pairs that are easily taken for one another."""
    rng, taken = stream(seed, f"{side}/name"), set[str]()
    pairs = max(1, round(PAIRS_PER_PERSON * count))
    names = [fresh(rng, person_name, taken, side) for _ in range(count - pairs)]
    for name in names[:pairs]:
        names.append(fresh(rng, lambda source, name=name: similar_name(source, name), taken, side))  # type: ignore[misc]
    rng.shuffle(names)
    return names


def _join(columns: dict[str, list[Any]], rng: random.Random) -> None:
    """Ties people to a ring, every other tie a marriage, so that nobody's colleague is the spouse."""
    ring = list(range(len(columns["name"])))
    rng.shuffle(ring)
    names, employer = columns["name"], columns["employer"]
    for edge, shift in (("spouse", 0), ("colleague", 1)):
        columns[edge] = [""] * len(ring)
        for place in range(0, len(ring), 2):
            one, other = ring[place + shift], ring[(place + shift + 1) % len(ring)]
            columns[edge][one], columns[edge][other] = names[other], names[one]
            if edge == "colleague":
                employer[other] = employer[one]


class Wrong:
    """Source of wrong values that have the form of the true one.

    From a closed list these are other members of it. Otherwise they are newly invented and belong to no person, since
    a value that another person's record taught would not be a fair decoy.
    """

    def __init__(self, people: Sequence[Person], side: Side = "benchmark") -> None:
        self._side: Side = side
        self._lists = closed_lists(len(people))
        self._taken = {attribute: {getattr(person, attribute) for person in people} for attribute in ATTRIBUTES}

    def values(self, rng: random.Random, attribute: str, truth: str, count: int) -> list[str]:
        """Returns ``count`` distinct wrong values of one attribute."""
        if attribute in self._lists:
            return _others(rng, self._lists[attribute], truth, count)
        taken = set(self._taken[attribute])
        if attribute in EDGES:
            return [fresh(rng, person_name, taken, self._side) for _ in range(count)]
        if attribute in UNIQUE:
            return [fresh(rng, UNIQUE[attribute], taken, self._side) for _ in range(count)]
        wrong: list[str] = []
        while len(wrong) < count:
            value = _birth_date(rng)
            if value not in taken:
                taken.add(value)
                wrong.append(value)
        return wrong


def _others(rng: random.Random, values: Sequence[str], truth: str, count: int) -> list[str]:
    """``count`` members of a list other than the true one, without going through a long list."""
    return [value for value in rng.sample(values, count + 1) if value != truth][:count]
