"""Porter's stemmer with the extensions that ROUGE implementations use. Porter, "An algorithm for suffix stripping", 1980.

The extensions (short words kept, a few irregular forms, ``-ies``/``-ied`` after one letter, ``-fulli``, ``-logi``) are those of NLTK's
default mode, which rouge-score applies; the tests hold this file against it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

Condition = Callable[[str], bool]
Rule = tuple[str, str, Condition]

IRREGULAR = {
    "skies": "sky",
    "sky": "sky",
    "dying": "die",
    "lying": "lie",
    "tying": "tie",
    "news": "news",
    "innings": "inning",
    "inning": "inning",
    "outings": "outing",
    "outing": "outing",
    "cannings": "canning",
    "canning": "canning",
    "howe": "howe",
    "proceed": "proceed",
    "exceed": "exceed",
    "succeed": "succeed",
}


def _is_consonant(word: str, place: int) -> bool:
    letter = word[place]
    if letter == "y":
        return place == 0 or not _is_consonant(word, place - 1)
    return letter not in "aeiou"


def _measure(stem: str) -> int:
    """Number of vowel-consonant sequences."""
    kinds = [_is_consonant(stem, place) for place in range(len(stem))]
    return sum(not before and after for before, after in zip(kinds, kinds[1:], strict=False))


def _has_vowel(stem: str) -> bool:
    return any(not _is_consonant(stem, place) for place in range(len(stem)))


def _double_consonant(word: str) -> bool:
    return len(word) > 1 and word[-1] == word[-2] and _is_consonant(word, len(word) - 1)


def _short_syllable(word: str) -> bool:
    """Ends consonant, vowel, consonant other than w, x, y; or is vowel and consonant alone."""
    kinds = [_is_consonant(word, place) for place in range(len(word))]
    if len(word) == 2:
        return kinds == [False, True]
    return kinds[-3:] == [True, False, True] and word[-1] not in "wxy"


def _positive(stem: str) -> bool:
    return _measure(stem) > 0


def _above_one(stem: str) -> bool:
    return _measure(stem) > 1


STEP_2: Sequence[Rule] = [
    (suffix, replacement, _positive)
    for suffix, replacement in (
        ("ational", "ate"),
        ("tional", "tion"),
        ("enci", "ence"),
        ("anci", "ance"),
        ("izer", "ize"),
        ("bli", "ble"),
        ("alli", "al"),
        ("entli", "ent"),
        ("eli", "e"),
        ("ousli", "ous"),
        ("ization", "ize"),
        ("ation", "ate"),
        ("ator", "ate"),
        ("alism", "al"),
        ("iveness", "ive"),
        ("fulness", "ful"),
        ("ousness", "ous"),
        ("aliti", "al"),
        ("iviti", "ive"),
        ("biliti", "ble"),
        ("fulli", "ful"),
    )
] + [("logi", "log", lambda stem: _positive(stem + "l"))]
STEP_3: Sequence[Rule] = [
    (suffix, replacement, _positive)
    for suffix, replacement in (
        ("icate", "ic"),
        ("ative", ""),
        ("alize", "al"),
        ("iciti", "ic"),
        ("ical", "ic"),
        ("ful", ""),
        ("ness", ""),
    )
]
STEP_4: Sequence[Rule] = [
    *((suffix, "", _above_one) for suffix in "al ance ence er ic able ible ant ement ment ent".split()),
    ("ion", "", lambda stem: _above_one(stem) and stem[-1] in "st"),
    *((suffix, "", _above_one) for suffix in "ou ism ate iti ous ive ize".split()),
]


def _apply(word: str, rules: Sequence[Rule]) -> str:
    """The first rule whose suffix fits decides, whether or not its condition holds."""
    for suffix, replacement, condition in rules:
        if word.endswith(suffix):
            stem = word[: len(word) - len(suffix)]
            return stem + replacement if condition(stem) else word
    return word


def _plurals(word: str) -> str:
    if word.endswith("ies") and len(word) == 4:
        return word[:-1]
    always: Condition = lambda stem: True  # noqa: E731
    return _apply(word, [("sses", "ss", always), ("ies", "i", always), ("ss", "ss", always), ("s", "", always)])


def _past_and_gerund(word: str) -> str:
    if word.endswith("ied"):
        return word[:-1] if len(word) == 4 else word[:-2]
    if word.endswith("eed"):
        return word[:-1] if _positive(word[:-3]) else word
    stem = next((word[: -len(suffix)] for suffix in ("ed", "ing") if word.endswith(suffix)), "")
    if not _has_vowel(stem):
        return word
    if stem.endswith(("at", "bl", "iz")):
        return stem + "e"
    if _double_consonant(stem):
        return stem if stem[-1] in "lsz" else stem[:-1]
    return stem + "e" if _measure(stem) == 1 and _short_syllable(stem) else stem


def _final_y(word: str) -> str:
    if word.endswith("y") and len(word) > 2 and _is_consonant(word, len(word) - 2):
        return word[:-1] + "i"
    return word


def _derivations(word: str) -> str:
    if word.endswith("alli") and _positive(word[:-4]):
        return _derivations(word[:-2])
    return _apply(word, STEP_2)


def _final_e(word: str) -> str:
    if word.endswith("e"):
        stem = word[:-1]
        measure = _measure(stem)
        if measure > 1 or (measure == 1 and not _short_syllable(stem)):
            return stem
    return word


def _final_l(word: str) -> str:
    return word[:-1] if word.endswith("ll") and _above_one(word[:-1]) else word


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """Returns the stem of a lower-case word."""
    if word in IRREGULAR:
        return IRREGULAR[word]
    if len(word) <= 2:
        return word
    word = _derivations(_final_y(_past_and_gerund(_plurals(word))))
    return _final_l(_final_e(_apply(_apply(word, STEP_3), STEP_4)))
