"""Text that must not leave by accident: it prints as the number of its record."""

from __future__ import annotations

from typing import NoReturn


class Secret:
    """A piece of a user's data, printed as the label of its record.

    ``str``, ``repr`` and f-strings give the label, such as ``[record 17]``; ``reveal`` gives the text.

    It is not a ``str``: passing one where text is written fails instead of leaking.
    """

    __slots__ = ("_label", "_text")

    def __init__(self, text: str, label: str) -> None:
        self._text = text
        self._label = label

    def reveal(self) -> str:
        """Returns the text itself."""
        return self._text

    @property
    def label(self) -> str:
        """What may be printed in place of the text."""
        return self._label

    def relabel(self, text: str) -> Secret:
        """Returns other text of the same record."""
        return Secret(text, self._label)

    def __str__(self) -> str:
        return f"[{self._label}]"

    __repr__ = __str__

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __len__(self) -> int:
        return len(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self} is secret and is never pickled.")
