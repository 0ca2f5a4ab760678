"""Porter's stemmer, as ROUGE counts words. Porter, 1980, "An algorithm for suffix stripping".

https://tartarus.org/martin/PorterStemmer/def.txt. Porter's own later changes (``-bli``, ``-logi``) are in, and so are
the extensions of NLTK's default mode, which rouge-score applies: words of one or two letters and a few irregular ones,
``-ies`` and ``-ied`` after a single letter, ``-alli`` followed by another derivation, ``-fulli``, and a two-letter stem
as a short syllable. The tests hold this file against NLTK.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple


class Rule(NamedTuple):
    """Replaces a suffix where what stands before it meets the condition."""

    suffix: str
    replacement: str
    condition: Callable[[str], bool]


def stem(word: str) -> str:
    """Returns the stem of a lower-case word."""
    if word in IRREGULAR:
        return IRREGULAR[word]
    if len(word) <= 2:
        return word
    for step in (_plurals, _past_and_gerund, _final_y, _derivations, _endings, _residues, _final_e, _final_l):
        word = step(word)
    return word


def _shape(letters: str) -> str:
    """``c`` for each consonant and ``v`` for each vowel; y is a vowel after a consonant."""
    shape = ""
    for letter in letters:
        vowel = letter in "aeiou" or (letter == "y" and shape.endswith("c"))
        shape += "v" if vowel else "c"
    return shape


def _measure(letters: str) -> int:
    """Number of times a vowel is followed by a consonant: Porter's m."""
    return _shape(letters).count("vc")


def _any(_: str) -> bool:
    return True


def _positive(letters: str) -> bool:
    return _measure(letters) > 0


def _above_one(letters: str) -> bool:
    return _measure(letters) > 1


def _before_ion(letters: str) -> bool:
    return letters.endswith(("s", "t")) and _above_one(letters)


def _before_logi(letters: str) -> bool:
    return _positive(letters + "l")


def _short_syllable(letters: str) -> bool:
    """Ends consonant, vowel, consonant other than w, x and y; or is a vowel and a consonant."""
    shape = _shape(letters)
    return shape == "vc" or (shape.endswith("cvc") and not letters.endswith(("w", "x", "y")))


def _double_consonant(letters: str) -> bool:
    return letters[-1:] == letters[-2:-1] and _shape(letters).endswith("c")


def _rules(condition: Callable[[str], bool], text: str) -> Iterable[Rule]:
    """Reads suffix and replacement from both sides of each ``>``; without one, the suffix goes."""
    for item in text.split():
        suffix, _, replacement = item.partition(">")
        yield Rule(suffix, replacement, condition)


# The first suffix that fits decides, whether or not its condition holds.
PLURALS = (*_rules(_any, "sses>ss ies>i ss>ss s>"),)
DERIVATIONS = (
    *_rules(_positive, "ational>ate tional>tion enci>ence anci>ance izer>ize bli>ble entli>ent eli>e ousli>ous"),
    *_rules(_positive, "ization>ize ation>ate ator>ate alism>al iveness>ive fulness>ful ousness>ous aliti>al"),
    *_rules(_positive, "iviti>ive biliti>ble fulli>ful"),
    *_rules(_before_logi, "logi>log"),
)
ENDINGS = (*_rules(_positive, "icate>ic ative> alize>al iciti>ic ical>ic ful> ness>"),)
RESIDUES = (
    *_rules(_above_one, "al ance ence er ic able ible ant ement ment ent"),
    *_rules(_before_ion, "ion"),
    *_rules(_above_one, "ou ism ate iti ous ive ize"),
)
IRREGULAR = {
    "skies": "sky",
    "dying": "die",
    "lying": "lie",
    "tying": "tie",
    "innings": "inning",
    "outings": "outing",
    "cannings": "canning",
} | {word: word for word in ("sky", "news", "inning", "outing", "canning", "howe", "proceed", "exceed", "succeed")}


def _apply(word: str, rules: Iterable[Rule]) -> str:
    for suffix, replacement, condition in rules:
        if word.endswith(suffix):
            before = word.removesuffix(suffix)
            return before + replacement if condition(before) else word
    return word


def _plurals(word: str) -> str:
    if len(word) == 4 and word.endswith("ies"):
        return word[:-1]
    return _apply(word, PLURALS)


def _past_and_gerund(word: str) -> str:
    if word.endswith("ied"):
        return word[:-1] if len(word) == 4 else word[:-2]
    if word.endswith("eed"):
        return word[:-1] if _positive(word[:-3]) else word
    before = next((word.removesuffix(suffix) for suffix in ("ed", "ing") if word.endswith(suffix)), "")
    return _repaired(before) if "v" in _shape(before) else word


def _repaired(letters: str) -> str:
    """Gives back the e that ``-ed`` or ``-ing`` took (hoping), takes back the consonant it doubled (hopping)."""
    if letters.endswith(("at", "bl", "iz")):
        return letters + "e"
    if _double_consonant(letters):
        return letters if letters[-1] in "lsz" else letters[:-1]
    return letters + "e" if _measure(letters) == 1 and _short_syllable(letters) else letters


def _final_y(word: str) -> str:
    after_consonant = len(word) > 2 and word.endswith("y") and _shape(word[:-1]).endswith("c")
    return word[:-1] + "i" if after_consonant else word


def _derivations(word: str) -> str:
    """Applies one rule; but ``-alli`` becomes ``-al``, and what that gives is looked at again."""
    if word.endswith("alli") and _positive(word[:-4]):
        return _derivations(word[:-2])
    return _apply(word, DERIVATIONS)


def _endings(word: str) -> str:
    return _apply(word, ENDINGS)


def _residues(word: str) -> str:
    return _apply(word, RESIDUES)


def _final_e(word: str) -> str:
    before = word.removesuffix("e")
    measure = _measure(before)
    if measure > 1 or (measure == 1 and not _short_syllable(before)):
        return before
    return word


def _final_l(word: str) -> str:
    return word[:-1] if word.endswith("ll") and _above_one(word[:-1]) else word
