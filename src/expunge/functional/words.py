"""Words of a text: of any script, or as TOFU and rouge-score count them.

Scripts that are written without spaces (Han, kana, bopomofo, Yi, Thai, Lao, Khmer, Myanmar and their neighbours) have
no words that a rule without a dictionary could find. There each overlapping pair of characters is a word: single
characters are few and frequent, and two unrelated sentences of Thai, Lao or Myanmar have a third to a half of them in
common and in order, but less than a sixth of their pairs. A run of one character is that character. Each emoji is
a word, without its skin tone and form; vowel points of Arabic and Hebrew, which writers leave out, do not count.

Source of the forms: Unicode Standard Annex 15 (NFKC); case folding: the Unicode Standard, section 3.13.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import groupby
from typing import Literal

from expunge.functional import porter

Split = Callable[[str], list[str]]
Tokens = Literal["unicode", "tofu", "ascii"]
_Class = Literal["spaced", "unspaced", "sign", "mark", "ignored", "gap"]

# First and last code point of blocks whose scripts do not separate words. Tibetan separates syllables by a mark of its
# own, and Hangul has spaces.
_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x1950, 0x1AAF),  # Tai Le, New Tai Lue, Khmer symbols, Buginese, Tai Tham
    (0x1B00, 0x1B7F),  # Balinese
    (0x2E80, 0x2FDF),  # radicals
    (0x3005, 0x3007),
    (0x3021, 0x3029),
    (0x3031, 0x312F),  # kana, bopomofo
    (0x31A0, 0x31BF),
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0xA4CF),  # Han, Yi
    (0xA980, 0xA9FF),  # Javanese, Myanmar
    (0xAA60, 0xAADF),  # Myanmar, Tai Viet
    (0xF900, 0xFAFF),
    (0x1AFF0, 0x1B16F),  # kana
    (0x20000, 0x3FFFF),  # Han
)
_EMOJI = ((0x2600, 0x27BF), (0x2B00, 0x2BFF), (0x1F000, 0x1FAFF))  # their skin tones are modifiers, not signs
_IGNORED = (
    (0x034F, 0x034F),  # grapheme joiner
    (0x0591, 0x05BD),  # Hebrew points
    (0x05BF, 0x05C7),
    (0x0640, 0x0640),  # Arabic stretched line
    (0x064B, 0x0652),  # Arabic vowel points; the marks after them make other letters
    (0x0670, 0x0670),
    (0x180B, 0x180F),  # variants of form
    (0x20DD, 0x20E4),  # enclosing circles and keys
    (0xFE00, 0xFE0F),
    (0xE0100, 0xE01EF),
)
_SPACE = "\u200b"  # a place where a line may break; of the format characters the only one that ends a word
_LETTERS = "LMN"  # first letter of the general category: letters, marks, numbers


def words(text: str) -> list[str]:
    """Splits a text of any script into its words; no stemming.

    A word is a run of letters, marks and digits, in NFKC and without case; digits of all scripts become 0 to 9, and
    invisible joiners vanish. See the module for scripts without spaces. A text without a single letter or digit is
    split into its visible characters, so that an answer of signs alone can be right.
    """
    plain = folded(text)
    if plain.isascii():
        found = re.findall(r"[a-z0-9]+", plain)
    else:
        found = [word for kind, run in _runs(plain) for word in _split(kind, run)]
    return found or [char for char in plain if not char.isspace() and _class_of(char) == "gap" and char.isprintable()]


def tofu_words(text: str, *, stem: bool = True) -> list[str]:
    """Splits as TOFU and rouge-score do: lower case, ``[a-z0-9]+``, Porter stems of words longer than 3 letters.

    Everything outside a-z and 0-9 separates, so other scripts vanish; for published numbers only.
    """
    found = re.findall(r"[a-z0-9]+", text.lower())
    return [porter.stem(word) if len(word) > 3 else word for word in found] if stem else found


def ascii_words(text: str) -> list[str]:
    """Splits as rouge-score does without stems: lower case, ``[a-z0-9]+``; for published numbers of MUSE."""
    return tofu_words(text, stem=False)


SPLITS: dict[Tokens, Split] = {"unicode": words, "tofu": tofu_words, "ascii": ascii_words}


def folded(text: str) -> str:
    """Returns the text in NFKC, without case, digits of all scripts as 0 to 9 and white space as single spaces."""
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    if not plain.isascii():
        plain = "".join(map(_digit, plain))
    return " ".join(plain.split())


def letters(text: str) -> str:
    """Returns the letters, marks and digits of a text in ``folded`` form, without anything between them."""
    return "".join(run for kind, run in _runs(folded(text)) if kind != "sign")


def is_unspaced(text: str) -> bool:
    """Returns whether all letters of a text belong to scripts without spaces."""
    kinds = {kind for kind, run in _runs(folded(text)) if not run.isdigit()}
    return kinds == {"unspaced"}


def _digit(char: str) -> str:
    value = unicodedata.decimal(char, None)
    return char if value is None else str(value)


def _runs(plain: str) -> Iterator[tuple[_Class, str]]:
    """Runs of letters with their marks, each of a script with or of a script without spaces, and runs of emoji."""
    kinds: list[_Class] = []
    chars = [char for char in plain if _class_of(char) != "ignored"]
    for char in chars:
        kind = _class_of(char)
        kinds.append(_host(kinds[-1] if kinds else "gap") if kind == "mark" else kind)
    for kind, pairs in groupby(zip(kinds, chars, strict=True), key=lambda pair: pair[0]):
        if kind != "gap":
            yield kind, "".join(char for _, char in pairs)


def _host(before: _Class) -> _Class:
    """Class of a mark: that of the letter it stands on."""
    return "spaced" if before == "gap" else before


@lru_cache(maxsize=4096)
def _class_of(char: str) -> _Class:
    category = unicodedata.category(char)
    if (category == "Cf" and char != _SPACE) or _is_in(char, _IGNORED):
        return "ignored"
    if category[0] == "M":
        return "mark"
    if category == "So" and _is_in(char, _EMOJI):
        return "sign"
    if category[0] not in _LETTERS:
        return "gap"
    return "unspaced" if _is_in(char, _UNSPACED) else "spaced"


def _is_in(char: str, blocks: tuple[tuple[int, int], ...]) -> bool:
    return any(first <= ord(char) <= last for first, last in blocks)


def _split(kind: _Class, run: str) -> list[str]:
    if kind == "spaced":
        return [run]
    return list(run) if kind == "sign" else _pairs(run)


def _pairs(run: str) -> list[str]:
    """Overlapping pairs of characters, each with the marks that stand on it."""
    units: list[str] = []
    for char in run:
        if units and _class_of(char) == "mark":
            units[-1] += char
        else:
            units.append(char)
    return [left + right for left, right in zip(units, units[1:], strict=False)] or units
