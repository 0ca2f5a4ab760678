"""The shape of a value, and other text of the same shape: digits for digits, letters for letters, signs kept."""

from __future__ import annotations

import random
import re
import string
import unicodedata
from collections.abc import Sequence
from functools import cache
from itertools import groupby
from typing import Literal, NamedTuple

from expunge.data.forms.words import months_like

Kind = Literal["digits", "letters", "signs"]
VOWELS, CONSONANTS = "aeiou", "bdfgklmnprstvz"
# Ideographs that are common anywhere; a random one from the whole block would be rare, and show it.
IDEOGRAPHS = (
    "一二三大小中上下天地人山水火木金土日月年东西南北高长平安明文成国家"
    "海江河湖林石田马王李张陈杨黄赵周吴徐孙胡朱何郭罗梁宋郑谢"
)
_NEAR = 48  # code points on either side that letters of one script are looked for in
_YEARS, _YEAR_DEFAULT = range(1900, 2100), range(1930, 2030)
_DAYS = 28  # every month has as many


class Segment(NamedTuple):
    """A run of characters of one kind."""

    kind: Kind
    text: str


def segments(text: str) -> tuple[Segment, ...]:
    """Splits a text into runs of digits, of letters with their marks, and of other signs."""
    return tuple(Segment(kind, "".join(run)) for kind, run in groupby(text, key=_kind))


def skeleton(parts: Sequence[Segment]) -> tuple[str, ...]:
    """What values of one shape have in common: signs to the letter, letters by their case and digits by being there."""
    return tuple(
        part.text if part.kind == "signs" else "0" if part.kind == "digits" else case_of(part.text) for part in parts
    )


def case_of(text: str) -> str:
    """Returns ``upper``, ``lower``, ``title`` or ``mixed``; ``none`` where the script has no cases."""
    if text.upper() == text.lower():
        return "none"
    if text.istitle() and len(text) > 1:
        return "title"
    return "upper" if text.isupper() else "lower" if text.islower() else "mixed"


def is_code(parts: Sequence[Segment], place: int) -> bool:
    """Whether letters are part of a code, such as ``AB12`` or ``a3f9``: without meaning, so that any do as well."""
    text = parts[place].text
    if months_like(text) is not None or not any(part.kind == "digits" for part in parts):
        return False
    beside = [parts[near] for near in (place - 1, place + 1) if 0 <= near < len(parts)]
    touches = any(part.kind == "digits" for part in beside)
    return (text.isupper() and (len(text) <= 3 or touches)) or (touches and len(text) <= 2)


def random_code(text: str, rng: random.Random) -> str:
    """Any letters of the same case and script."""
    return "".join(rng.choice(_alphabet(character)) for character in text)


def other_month(text: str, rng: random.Random) -> str:
    """One of the twelve months in the same language and case, possibly the same one.

    Raises:
        ValueError: ``text`` is no month.
    """
    names = months_like(text)
    if names is None:
        raise ValueError("not a month")
    return _in_case(rng.choice(names), case_of(text))


def made_up(text: str, rng: random.Random) -> str:
    """A word of the same length, script and case; of Latin letters one that can be pronounced."""
    vowel = rng.random() < 0.5
    made = []
    for character in text:
        base = unicodedata.normalize("NFD", character)[0]
        if base.isascii() and base.isalpha():
            letter = rng.choice(VOWELS if vowel else CONSONANTS)
            made.append(letter.upper() if character.isupper() else letter)
            vowel = not vowel
        else:
            made.append(rng.choice(_alphabet(character)))
    return "".join(made)


def other_digits(parts: Sequence[Segment], place: int, years: Sequence[int], rng: random.Random) -> str:
    """Digits of the same script and number: a year stays one, days and months of a date stay within their bounds.

    Args:
        parts: the whole value.
        place: the segment to replace.
        years: years that stand at this place in other values; they bound the new one.
        rng: source of chance.
    """
    text = parts[place].text
    plain = "".join(str(unicodedata.digit(character)) for character in text)
    bounds = _date_bounds(parts, place, plain, years)
    if bounds is not None:
        named = any(part.kind == "letters" for part in parts)
        # 12/05/1990 pads its days, and 12 May 1990 does not.
        made = str(rng.randint(*bounds)).zfill(len(plain) if plain.startswith("0") or not named else 0)
    else:
        made = "".join(str(rng.randrange(10)) for _ in plain)
        if plain[0] != "0" or len(plain) > 1:
            # A leading zero is a matter of format: kept where it stands, made nowhere else.
            made = ("0" if plain[0] == "0" else str(rng.randint(1, 9))) + made[1:]
    zero = ord(text[0]) - unicodedata.digit(text[0])
    return "".join(chr(zero + int(digit)) for digit in made)


def _date_bounds(parts: Sequence[Segment], place: int, plain: str, years: Sequence[int]) -> tuple[int, int] | None:
    """Least and largest number at a place of a date; None where the value is no date."""
    named = any(part.kind == "letters" and months_like(part.text) is not None for part in parts)
    sizes = [len(part.text) for part in parts if part.kind == "digits"]
    written = len(parts) == 5 and sizes in ([1, 1, 4], [1, 2, 4], [2, 1, 4], [2, 2, 4], [4, 2, 2], [4, 1, 1])
    written = written and all(re.fullmatch(r"[-./年月日]", part.text) for part in parts if part.kind != "digits")
    lone = len(sizes) == 1 and len(plain) == 4 and len(parts) == 1
    if not (named or written or lone):
        return None
    if len(plain) == 4:
        if int(plain) not in _YEARS:
            return None
        known = [*years, int(plain)] if years else [*_YEAR_DEFAULT, int(plain)]
        return min(known), max(known)
    if len(plain) > 2:
        return None
    return 1, 12 if written and int(plain) <= 12 else _DAYS


def _kind(character: str) -> Kind:
    category = unicodedata.category(character)
    return "digits" if category == "Nd" else "letters" if category[0] in "LM" else "signs"


def _in_case(text: str, case: str) -> str:
    return {"upper": text.upper(), "title": text.title()}.get(case, text)


@cache
def _alphabet(character: str) -> str:
    """Letters of the same script and case; a mark or a lone letter is only itself."""
    name, category = unicodedata.name(character, ""), unicodedata.category(character)
    if category[0] != "L":
        return character
    if name.startswith("CJK UNIFIED"):
        return IDEOGRAPHS
    if character.isascii():
        return string.ascii_uppercase if character.isupper() else string.ascii_lowercase
    near = (chr(place) for place in range(max(0, ord(character) - _NEAR), min(0x110000, ord(character) + _NEAR)))
    return "".join(
        one
        for one in near
        if unicodedata.category(one) == category and unicodedata.name(one, "").split(" ")[0] == name.split(" ")[0]
    )
