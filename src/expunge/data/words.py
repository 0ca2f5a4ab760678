"""Words and scripts of texts in any language, and which texts a record has."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from expunge.data.record import Record
from expunge.data.values import leaves
from expunge.storage.secret import Secret

# Scripts that write no spaces between words, as in the first word of a letter's Unicode name.
SPACELESS = frozenset(
    {"CJK", "HIRAGANA", "KATAKANA", "BOPOMOFO", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN", "YI", "JAVANESE"}
)
_SHOWN = {"CJK": "Han"}  # names that a reader would not know
_WIDTHS = ("FULLWIDTH ", "HALFWIDTH ")
# Latin letters with a stroke, which have no decomposition; invisible characters that may stand inside a word.
_PLAIN = str.maketrans(
    {"ł": "l", "ø": "o", "đ": "d", "ı": "i", "æ": "ae", "œ": "oe"}
    | dict.fromkeys("\u00ad\u200b\u200c\u200d\u2060\ufeff", "")
)
_LATIN_MARKS = re.compile("[\u0300-\u036f]")
_LATE_IDEOGRAPHS, _LATE_MARKS = range(0x20000, 0x40000), range(0xE0100, 0xE01F0)  # all that is above the second plane
_ASCII_WORD = re.compile(r"[^\W_]+", re.ASCII)


def prompt_texts(record: Record) -> list[Secret]:
    """The prompt of a record, or all that is said in a conversation before the answer, calls of tools included."""
    return [text for turn in record.messages for text in turn.texts] if record.prompt is None else [record.prompt]


def trained_text(record: Record) -> str:
    """Prompt and answer of a record as one text, whatever its shape.

    Without the tools that a conversation offers: many have the same, and would all seem near duplicates.
    """
    return "\n".join(secret.reveal() for secret in (*prompt_texts(record), record.answer))


def wordings(record: Record) -> Iterator[Record]:
    """The record as it was trained on, then with the question and with the answer in other words."""
    for form in ("trained", "paraphrased_question", "paraphrased_answer"):
        yield from record.forms(form)


def secrets_of(record: Record) -> Iterator[Secret]:
    """Every text of a record but its id and its subject."""
    yield from (text for turn in record.messages for text in turn.texts)
    if record.tools is not None:
        yield from map(record.answer.relabel, leaves(json.loads(record.tools.reveal())))
    for one in (record.prompt, record.answer, record.paraphrased_question, record.paraphrased_answer):
        yield from () if one is None else (one,)
    yield from record.perturbed_answers
    for variants in record.variants.values():
        for variant in variants:
            yield from (one for one in (variant.prompt, variant.given, variant.answer) if one is not None)


def fold(text: str) -> str:
    """Text for finding names: compatibility form, case folded, without Latin accents and invisible characters."""
    bare = _LATIN_MARKS.sub("", unicodedata.normalize("NFKD", text).casefold()).translate(_PLAIN)
    return unicodedata.normalize("NFKC", bare)


def word_matches(text: str) -> Iterator[re.Match[str]]:
    """Finds the words of a text; each character of a script without spaces is a word of its own."""
    return (_ASCII_WORD if text.isascii() else _any_word()).finditer(text)


def words(text: str) -> list[str]:
    """The words that ``word_matches`` finds."""
    return [match[0] for match in word_matches(text)]


def script_letters(texts: Iterable[str]) -> dict[str, int]:
    """Numbers of letters by Unicode script, the most frequent first; Han, Hiragana and Katakana are separate."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    found: Counter[str] = Counter()
    for character, count in counts.items():
        if character.isalpha():
            name = _script(character)
            found[_SHOWN.get(name, name.capitalize())] += count
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def shares(counts: Mapping[str, int]) -> dict[str, float]:
    """Counts as shares of their sum, rounded to four digits."""
    total = sum(counts.values())
    return {name: round(count / total, 4) for name, count in counts.items()}


def _script(character: str) -> str:
    name = unicodedata.name(character, "UNKNOWN")
    for width in _WIDTHS:
        name = name.removeprefix(width)
    return name.partition(" ")[0].partition("-")[0]


@lru_cache(maxsize=1)
def _any_word() -> re.Pattern[str]:
    """A word in any script. The library's own class of word characters lacks vowel signs, which are marks."""
    marks, spaceless = [*_LATE_MARKS], [*_LATE_IDEOGRAPHS]
    for code in range(_LATE_IDEOGRAPHS.start):
        character = chr(code)
        category = unicodedata.category(character)
        if category[0] == "M":
            marks.append(code)
        elif category in ("Lo", "Lm") and _script(character) in SPACELESS:
            spaceless.append(code)
    mark, single = _ranges(sorted(marks)), _ranges(sorted(spaceless))
    return re.compile(f"[{single}][{mark}]*|[^\\W_{single}](?:[^\\W_{single}]|[{mark}])*")


def _ranges(codes: list[int]) -> str:
    """Sorted code points as the inside of a character class."""
    starts = [code for place, code in enumerate(codes) if not place or codes[place - 1] != code - 1]
    ends = [code for place, code in enumerate(codes) if place + 1 == len(codes) or codes[place + 1] != code + 1]
    return "".join(f"\\U{start:08x}-\\U{end:08x}" for start, end in zip(starts, ends, strict=True))
