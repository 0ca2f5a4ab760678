"""Finds names of persons and literal phrases in texts, at word boundaries, all of them in one pass over each text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from expunge.data.words import fold, word_matches, words

# Between the parts of a name: blanks, hyphens, apostrophes, points of initials, the middle dot of Japanese.
_GAP = re.compile("[\\s\\-\u2010-\u2015'\u2018\u2019\u02bc._\u00b7\u30fb]*")
_COMMA = re.compile("\\s*[,\u060c\u3001]\\s*")


class _Pattern(NamedTuple):
    """Words to find: those of name ``owner``, the part before ``comma`` (in words) followed by a comma.

    ``literal`` is the folded phrase where everything between the words counts too.
    """

    owner: int
    words: tuple[str, ...]
    comma: int | None = None
    literal: str | None = None


class Finder:
    """Names and phrases, and where they occur.

    Case, Unicode form and accents of Latin letters do not count. A name is found with hyphens, points and blanks
    exchanged and as ``Surname, Given``; a phrase as it stands, but for the amount of white space. In scripts without
    spaces there are no word boundaries. Nicknames, parts of a name, and names with an ending joined to them are not
    found.

    Args:
        names: of persons or things.
        phrases: texts to find as they stand; their positions go on after those of the names.
    """

    def __init__(self, names: Sequence[str], phrases: Sequence[str] = ()) -> None:
        self._starts: dict[str, list[_Pattern]] = {}
        for owner, name in enumerate(names):
            self._add(_Pattern(owner, tuple(words(fold(name)))))
            self._add_reversed(owner, tuple(words(fold(name))))
        for owner, phrase in enumerate(phrases, start=len(names)):
            folded = " ".join(fold(phrase).split())
            found = list(word_matches(folded))
            if found:
                literal = folded[found[0].start() : found[-1].end()]
                self._add(_Pattern(owner, tuple(match[0] for match in found), literal=literal))

    def find(self, text: str) -> frozenset[int]:
        """Positions of the names and phrases that a text holds."""
        if not self._starts:
            return frozenset()
        folded = fold(text)
        found = list(word_matches(folded))
        hits = set()
        for place, match in enumerate(found):
            for pattern in self._starts.get(match[0], ()):
                if pattern.owner not in hits and _matches(pattern, folded, found[place : place + len(pattern.words)]):
                    hits.add(pattern.owner)
        return frozenset(hits)

    def _add(self, pattern: _Pattern) -> None:
        if pattern.words:
            self._starts.setdefault(pattern.words[0], []).append(pattern)

    def _add_reversed(self, owner: int, parts: tuple[str, ...]) -> None:
        # Which parts are the surname is not known, so every division is tried.
        for cut in range(1, len(parts)):
            self._add(_Pattern(owner, parts[cut:] + parts[:cut], comma=len(parts) - cut))


def is_searchable(name: str) -> bool:
    """Whether a name can be looked for in texts: it has at least two characters and is not just a number."""
    joined = "".join(words(fold(name)))
    return len(joined) > 1 and any(character.isalpha() for character in joined)


def is_single_word(name: str) -> bool:
    """Whether a name is one word, which may be an everyday one too."""
    return len(words(fold(name))) == 1


def _matches(pattern: _Pattern, text: str, found: Sequence[re.Match[str]]) -> bool:
    if tuple(match[0] for match in found) != pattern.words:
        return False
    if pattern.literal is not None:
        return " ".join(text[found[0].start() : found[-1].end()].split()) == pattern.literal
    gaps = [text[left.end() : right.start()] for left, right in zip(found, found[1:], strict=False)]
    return all((_COMMA if place == pattern.comma else _GAP).fullmatch(gap) for place, gap in enumerate(gaps, start=1))
