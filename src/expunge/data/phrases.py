"""Files of names and of phrases, one a line. No message repeats what a line holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from expunge.data.files import refuse_special
from expunge.data.names import is_searchable
from expunge.data.words import fold, words
from expunge.errors import InputError


def read_names(path: Path) -> list[str]:
    """Reads names of persons or things, one a line, each once.

    Raises:
        InputError: the file cannot be read, is empty, or has a line that cannot be looked for.
    """
    return _read(path, "name", is_searchable, "is a number or a single character, which stands in too many texts")


def read_phrases(path: Path) -> list[str]:
    """Reads texts to be found as they stand, one a line, each once; errors as ``read_names``."""
    return _read(path, "match", lambda text: bool(words(fold(text))), "has neither letters nor digits")


def _read(path: Path, what: str, is_usable: Callable[[str], bool], fault: str) -> list[str]:
    lines = [line.strip() for line in _text(path, what).splitlines()]
    for number, line in enumerate(lines, start=1):
        if line.startswith(("{", "[")):
            raise InputError(f"The {what} file holds one text a line, and line {number} looks like JSON. Use --forget.")
        if line and not is_usable(line):
            raise InputError(f"Line {number} of the {what} file {fault}; make it longer or take it out.")
    found = list(dict.fromkeys(filter(None, lines)))
    if not found:
        raise InputError(f"The {what} file is empty; it holds one text a line.")
    return found


def _text(path: Path, what: str) -> str:
    try:
        refuse_special(path, what)
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"The {what} file cannot be read: {error.strerror}. Check the path given for it.") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    # Raised outside the handler: the decoding error carries the bytes.
    raise InputError(f"The {what} file is not UTF-8. Save it as UTF-8 (iconv -t UTF-8).")
