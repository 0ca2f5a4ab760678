"""Words of a text in any script, with their places, and what can be told of a word by its look."""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

from expunge.functional import porter

JOINERS = frozenset("-.@/:+_'’,\u2010\u2011")  # between letters or digits they belong to the word: 12/05/1990, a@b.org
NUMBER_ONLY = frozenset(",:")  # these join digits only
# Words that carry no fact, in the languages most data is in; they are left out at the edges of a value only.
_STOP = (
    "a an the of on in at to for by with as and or is was are were be been his her its their has had from under",
    "de la le les el los las un una une du des da do dos di il y e et en del",
    "van von der die das den dem im am ist war und zu zum zur",
    "في من على إلى هو هي و",
)
STOP = frozenset(" ".join(_STOP).split())
_MONTH_NAMES = (
    "january february march april may june july august september october november december",
    "jan feb mar apr may jun jul aug sep oct nov dec",
    "januar februar märz april mai juni juli august september oktober november dezember",
    "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
    "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro",
    "января февраля марта апреля мая июня июля августа сентября октября ноября декабря",
    "يناير فبراير مارس أبريل مايو يونيو يوليو أغسطس سبتمبر أكتوبر نوفمبر ديسمبر",
)
MONTHS: tuple[tuple[str, ...], ...] = tuple(tuple(names.split()) for names in _MONTH_NAMES)


class Word(NamedTuple):
    """A word and its place: ``text[start:stop]``."""

    start: int
    stop: int
    text: str

    @property
    def key(self) -> str:
        """What two wordings of one word share: its stem in lower case."""
        return porter.stem(self.text.casefold())

    @property
    def specific(self) -> bool:
        """Whether it looks like a number, a date, an address or a code."""
        return "@" in self.text or any(character.isdigit() for character in self.text)

    @property
    def marked(self) -> bool:
        """Whether it stands out by its look: specific, a capital, or the name of a month."""
        return self.specific or self.text[0].isupper() or months_like(self.text) is not None

    @property
    def stops(self) -> bool:
        """Whether it is a function word."""
        return self.text.casefold() in STOP


def scan(text: str) -> list[Word]:
    """Splits a text into words; a Chinese or Japanese character is a word of its own.

    Letters, digits and marks make up words in every script; ``-``, ``.``, ``@`` and the like belong to a word where
    they stand between two of them.
    """
    found: list[Word] = []
    start: int | None = None
    for place, character in enumerate(text):
        if _is_ideograph(character):
            found += _word(text, start, place)
            found.append(Word(place, place + 1, character))
            start = None
        elif _is_part(character) or (start is not None and _joins(text, place)):
            start = place if start is None else start
        else:
            found += _word(text, start, place)
            start = None
    return found + _word(text, start, len(text))


def months_like(text: str) -> tuple[str, ...] | None:
    """Returns the twelve names that ``text`` is one of, whatever its case; None if it is no month."""
    folded = text.casefold()
    return next((names for names in MONTHS if folded in names), None)


def _word(text: str, start: int | None, stop: int) -> list[Word]:
    return [] if start is None else [Word(start, stop, text[start:stop])]


def _is_part(character: str) -> bool:
    return unicodedata.category(character)[0] in "LNM"


def _is_ideograph(character: str) -> bool:
    if character < "\u2e80":
        return False
    name = unicodedata.name(character, "")
    return name.startswith(("CJK UNIFIED", "CJK COMPATIBILITY IDEOGRAPH", "HIRAGANA", "KATAKANA"))


def _joins(text: str, place: int) -> bool:
    if text[place] not in JOINERS or place + 1 >= len(text):
        return False
    before, after = text[place - 1], text[place + 1]
    if text[place] in NUMBER_ONLY:
        return before.isdigit() and after.isdigit()
    return _is_part(before) and _is_part(after) and not _is_ideograph(after)
