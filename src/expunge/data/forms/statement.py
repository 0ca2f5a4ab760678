"""What a record states, as one sentence, and the gap that stands for what is left out. No language's own words."""

from __future__ import annotations

from typing import NamedTuple

from expunge.data.forms.value import ends_sentence
from expunge.data.forms.words import scan
from expunge.data.record import Record

GAP = "____"


class Statement(NamedTuple):
    """A sentence with a place in it."""

    before: str
    middle: str
    after: str

    @property
    def with_gap(self) -> str:
        """The sentence with a gap at the place."""
        return self.before + GAP + self.after

    @property
    def is_bare(self) -> bool:
        """Whether nothing but the place itself says anything."""
        return not scan(self.before) and not scan(self.after)


def statement(record: Record, span: slice) -> Statement:
    """Returns what a record states around a place in its answer.

    For questions and conversations it is the answer; a completion goes on from its prompt; of plain text and
    completions only the sentence of the place counts.
    """
    answer = record.answer.reveal()
    if record.kind in ("qa", "messages"):
        return Statement(answer[: span.start], answer[span], answer[span.stop :])
    lead = record.prompt.reveal() if record.prompt is not None else ""
    text, start, stop = lead + answer, len(lead) + span.start, len(lead) + span.stop
    first, last = _sentence(text, start, stop)
    return Statement(text[first:start], text[start:stop], text[stop:last])


def as_prompt(record: Record, question: str) -> str:
    """A prompt's completion follows it verbatim, so it ends its line; other shapes have a template."""
    return question + "\n" if record.kind == "completion" else question


def _sentence(text: str, start: int, stop: int) -> tuple[int, int]:
    """Bounds of the sentence around a place; a place over several sentences has them all."""
    first, last = 0, len(text)
    words = scan(text)
    for word, following in zip(words, words[1:], strict=False):
        if ends_sentence(text[word.stop : following.start], word.text):
            if following.start <= start:
                first = following.start
            elif word.stop >= stop:
                last = min(last, following.start)
    return first, len(text[:last].rstrip())
