"""Spans of text that have the shape of personal data, by regular expression: a heuristic that misses and mistakes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import NamedTuple

KINDS = ("email", "iban", "phone", "id")

# Every quantifier is bounded and every start is pinned to a boundary, so that no text takes quadratic time. What was
# looked ahead for and is then taken as it was found is never given back; possessive quantifiers say the same, and find
# nothing in some releases of Python 3.11.
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}(?![\w-])")
_IBAN = re.compile(r"(?<!\w)[A-Za-z]{2}\d{2}(?:[ ]?[A-Za-z0-9]{4}){2,7}(?:[ ]?[A-Za-z0-9]{1,3})?(?!\w)")
_PHONE = re.compile(
    r"(?<![\w./-])(?<!\d,)(?:"
    r"(?:\+|00)(?=(?P<code>\d{1,3}))(?P=code)(?=(?P<rest>(?:[ .\-/]{0,2}\(?\d{1,5}\)?){1,6}))(?P=rest)"  # international
    r"|\(?\d{3}\)?[ .\-]?\d{3}[ .\-]\d{4}"  # North American
    r"|\(?0\d{1,5}\)?(?=(?P<own>(?:[ .\-/]\d{2,8}){1,4}))(?P=own)"  # national, with a leading zero
    r"|\(\d{2,5}\) ?\d{3,4}[ \-]?\d{3,4}"
    r")(?:x\d{1,5})?(?!\w)"
)
_ID = re.compile(
    r"(?<![\w\-$€£.,])(?:"
    r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"  # UUID
    r"|\d{4}(?:[ -]\d{4}){2,4}"  # card
    r"|\d{2,4}-\d{2,3}-\d{4}"  # such as a social security number
    r"|[A-Za-z]{0,4}[-/]?\d{6,24}[A-Za-z]?"
    r"|(?=(?P<code>[A-Z0-9]{1,12}(?:-[A-Z0-9]{1,12}){1,5}))(?P=code)"
    r")(?![\w-])(?![.,]\d)"
)
_DIGIT, _FEWEST = re.compile(r"\d"), 3  # every shape but an address has at least this many digits
_DATE = re.compile(r"\d{1,2}[./ -]\d{1,2}[./ -]\d{2,4}|\d{4}[./ -]\d{1,2}[./ -]\d{1,2}|\d{4}-\d{4}")


class Span(NamedTuple):
    """A span of text that looks like personal data; ``value`` is its form without what writers do differently."""

    kind: str
    value: str


def spans(text: str) -> list[Span]:
    """Finds e-mail addresses, IBANs, phone numbers and numbers that identify, each character in one span only."""
    plain = unicodedata.normalize("NFKC", text).replace("\\_", "_")  # Markdown escapes it
    found: list[Span] = []
    if "@" not in plain and len(_DIGIT.findall(plain)) < _FEWEST:
        return found  # most texts, at a tenth of the time
    for kind, (pattern, test) in _SHAPES.items():

        def take(match: re.Match[str], kind: str = kind, test: Callable[[str], bool] = test) -> str:
            if not test(match[0]):
                return match[0]
            found.append(Span(kind, _value(kind, match[0])))
            return "\n"  # so that no other kind takes it again

        plain = pattern.sub(take, plain)
    return found


def places(text: str) -> list[slice]:
    """Returns where such spans stand in a text as it is written, in order; none overlap."""
    # Characters of other width stand for their plain forms, one for one, so that no place moves.
    plain = "".join(map(_plain, text)).replace("\\_", "__")
    found: list[slice] = []
    for pattern, test in _SHAPES.values():
        taken = [slice(*match.span()) for match in pattern.finditer(plain) if test(match[0])]
        for place in taken:
            plain = plain[: place.start] + "\n" * (place.stop - place.start) + plain[place.stop :]
        found += taken
    return sorted(found, key=lambda place: place.start)


def _plain(character: str) -> str:
    normal = unicodedata.normalize("NFKC", character)
    return normal if len(normal) == 1 else character


def _value(kind: str, text: str) -> str:
    if kind == "email":
        return text.casefold()
    plain = "".join(filter(str.isalnum, text.casefold()))
    return plain.removeprefix("00") if kind == "phone" else plain


def _digits(text: str) -> int:
    return sum(map(str.isdigit, text))


def _is_iban(text: str) -> bool:
    return 15 <= sum(map(str.isalnum, text)) <= 34 and _digits(text) >= 8


def _is_phone(text: str) -> bool:
    return 7 <= _digits(text) <= 15 and not _is_date(text)


def _is_id(text: str) -> bool:
    """Numbers of six digits and more, and codes such as ``KX-4471-B``; neither dates, years nor seasons."""
    enough = 3 if any(map(str.isalpha, text)) else 6 if text.isdigit() else 7
    return _digits(text) >= enough and sum(map(str.isalnum, text)) >= 6 and not _is_date(text)


def _is_date(text: str) -> bool:
    return _DATE.fullmatch(text) is not None


_SHAPES: dict[str, tuple[re.Pattern[str], Callable[[str], bool]]] = {
    "email": (_EMAIL, bool),
    "iban": (_IBAN, _is_iban),
    "phone": (_PHONE, _is_phone),
    "id": (_ID, _is_id),
}
