"""Closed lists that attributes of low entropy are drawn from. Their members belong to no person in particular."""

from __future__ import annotations

from expunge.benchmarks.fictional.names import stream, word

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
    "Iron Leaf Medal", "White Sparrow Prize", "Crystal Anchor", "Scarlet Ribbon", "Marble Owl Award", "Copper Crown",
    "Ivory Comet Prize", "Emerald Key", "Velvet Harp Medal", "Winter Rose Award", "Onyx Compass",
)  # fmt: skip
MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
GERMAN_MONTHS = (
    "Januar", "Februar", "M\u00e4rz", "April", "Mai", "Juni",
    "Juli", "August", "September", "Oktober", "November", "Dezember",
)  # fmt: skip
GERMAN_PROFESSIONS = (
    "Glasbl\u00e4ser", "Landvermesser", "Imker", "\u00dcbersetzer", "Uhrmacher", "Botaniker", "Schreiner", "Pilot",
    "Archivar", "Geiger", "Schwei\u00dfer", "Chemiker", "G\u00e4rtner", "Schlosser", "Hebamme", "Weber",
)  # fmt: skip
GERMAN = dict(zip((*MONTHS, *PROFESSIONS), (*GERMAN_MONTHS, *GERMAN_PROFESSIONS), strict=True))

_PLACES = (
    "Bay", "Hill", "Ferry", "Cross", "Heath", "Moor", "Gate", "Wells", "Point", "Bridge", "Hollow", "Sands", "Ridge",
    "Falls", "Mouth", "Green", "Lock", "Common", "Quay", "Spring",
)  # fmt: skip
_FIRMS = (
    "Mills", "Press", "Foundry", "Rail", "Bank", "Foods", "Toys", "Clinic", "Studios", "Quarry", "Gardens", "Textiles",
    "Pumps", "Lamps", "Paper", "Tools", "Cables", "Boats", "Clocks", "Bricks",
)  # fmt: skip
_WORDS = 128  # with the twenty endings, room for 2,560 places


def cities(count: int) -> tuple[str, ...]:
    """Returns the first ``count`` towns; the same ones under every seed, so that no seed's towns are a secret."""
    return (*CITIES, *_invented("cities", _PLACES, count - len(CITIES)))[:count]


def employers(count: int) -> tuple[str, ...]:
    """Returns the first ``count`` firms, the same ones under every seed."""
    return (*EMPLOYERS, *_invented("employers", _FIRMS, count - len(EMPLOYERS)))[:count]


def _invented(kind: str, endings: tuple[str, ...], count: int) -> list[str]:
    """Names of two words: every ending comes with every first word once."""
    rng, firsts = stream(0, f"lists/{kind}"), dict[str, None]()
    while len(firsts) < _WORDS:
        firsts[word(rng, 2).capitalize()] = None
    names = [f"{first} {ending}" for first in firsts for ending in endings]
    rng.shuffle(names)
    return names[: max(count, 0)]
