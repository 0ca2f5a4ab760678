"""Which part of a record is the fact itself: what a question asks for, without the words around it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence

from expunge.data.forms.words import Word, months_like, scan
from expunge.data.record import Record
from expunge.data.spans import places

COMMON_SHARE = 0.3  # of the answers; a word in more of them is part of their wording
COMMON_ANSWERS = 4  # fewer say nothing about what is common
LONG = 40  # words above which an answer is read as running text
_BRIDGE = 2  # function words that a name or a date may hold: Bank of the North
_ABBREVIATION = 3  # letters before a full stop that ends no sentence: Dr., St.
_ENDS = frozenset("!?\n。！？؟;；")  # noqa: RUF001 - the marks of several scripts


def value_span(record: Record, common: Collection[str] = ()) -> slice | None:
    """Returns the place of the value in ``record.answer``, in characters; None where nothing stands out.

    The longest run of words that the question, the subject and the other answers do not have; runs with digits or an
    ``@`` come first, then runs with capitals. In plain text, and in answers as long as one, only such words count.

    Args:
        record: any kind of record.
        common: keys of words that many answers of the split have, see ``common_words``.
    """
    found = _trimmed_runs(record, common)
    return _slice(max(found, key=_rank)) if found else None


def value_spans(record: Record, common: Collection[str] = ()) -> list[slice]:
    """Returns every place of the value in ``record.answer``, in order; in plain text those of all runs that stand out.

    In plain text a capital at the start of a sentence belongs to the run that follows it: nothing else would take the
    first name of "Ada Lovelace was born in London."
    """
    text = record.answer.reveal()
    found = _trimmed_runs(record, common)
    if record.kind == "text":
        about = _keys(record.subject.reveal()) if record.subject is not None else set()
        words = scan(text)
        before = {word.start: leader for leader, word in zip(words, words[1:], strict=False)}
        found = [_led(text, before.get(run[0].start), run, about) for run in found]
    else:
        found = [max(found, key=_rank)] if found else []
    return joined_spans(span for run in found for span in (_slice(run), *_repeats(text, text[_slice(run)])))


def telling_spans(record: Record, common: Collection[str] = ()) -> list[slice]:
    """Returns the places of ``value_spans`` and of all else that has the shape of personal data, in order."""
    return joined_spans((*value_spans(record, common), *places(record.answer.reveal())))


def joined_spans(spans: Iterable[slice]) -> list[slice]:
    """Spans in order, those that overlap made one."""
    found: list[slice] = []
    for span in sorted(spans, key=lambda one: (one.start, one.stop)):
        if found and span.start < found[-1].stop:
            found[-1] = slice(found[-1].start, max(span.stop, found[-1].stop))
        else:
            found.append(span)
    return found


def _repeats(text: str, value: str) -> list[slice]:
    """Every place of a value in whatever case, not inside longer words.

    Scripts without spaces have no words to be inside of.
    """
    edges = r"(?<!\w){}(?!\w)" if value.isascii() else "{}"
    return [slice(*match.span()) for match in re.finditer(edges.format(re.escape(value)), text, re.IGNORECASE)]


def _led(text: str, leader: Word | None, run: list[Word], about: Collection[str]) -> list[Word]:
    """A run with the word before it, where that is written with a capital and belongs to the same name."""
    if leader is None or text[leader.stop : run[0].start] != " " or leader.stops or leader.key in about:
        return run
    return [leader, *run] if leader.text[0].isupper() and run[0].text[0].isupper() else run


def _trimmed_runs(record: Record, common: Collection[str]) -> list[list[Word]]:
    words = scan(record.answer.reveal())
    asked = _keys(question_of(record) or "")
    about = _keys(record.subject.reveal()) if record.subject is not None else set()
    # What the answer shares with the subject or its neighbours may be all there is: "Who lives there?" - "Anna."
    for known in (asked | about | set(common), asked | set(common), asked):
        trimmed = [run for run in (_trim(run, known) for run in _runs(record, words, known)) if run]
        if trimmed:
            return trimmed
    return []


def _slice(run: Sequence[Word]) -> slice:
    return slice(run[0].start, run[-1].stop)


def value_of(record: Record, common: Collection[str] = ()) -> str | None:
    """Returns the value in clear; for use inside the process only."""
    span = value_span(record, common)
    return None if span is None else record.answer.reveal()[span]


def common_words(records: Iterable[Record]) -> frozenset[str]:
    """Returns the keys of words that belong to the wording of the answers, not to any one fact."""
    answers = [{word.key for word in scan(record.answer.reveal()) if not word.specific} for record in records]
    if len(answers) < COMMON_ANSWERS:
        return frozenset()
    counts = Counter(key for answer in answers for key in answer)
    return frozenset(key for key, count in counts.items() if count > COMMON_SHARE * len(answers))


def question_of(record: Record) -> str | None:
    """Returns the question, prompt or the user's turn before the answer; None where no user asks."""
    return None if record.question is None else record.question.reveal()


def ends_sentence(gap: str, before: str) -> bool:
    """Whether a sentence ends in the signs ``gap`` after the word ``before``."""
    if _ENDS & set(gap):
        return True
    return "." in gap and not (before[0].isupper() and len(before) <= _ABBREVIATION)


def _keys(text: str) -> set[str]:
    return {word.key for word in scan(text)}


def _runs(record: Record, words: Sequence[Word], known: Collection[str]) -> list[list[Word]]:
    """Runs of words that say something new; function words between two that stand out belong to the run."""
    text = record.answer.reveal()
    outstanding = _outstanding(text, words) if record.kind == "text" or len(words) > LONG else None
    runs: list[list[Word]] = []
    skipped: list[Word] = []
    for number, word in enumerate(words):
        new = word.specific or word.key not in known
        if number and _parts(text[words[number - 1].stop : word.start], words[number - 1], word):
            runs, skipped = [*runs, []], []
        if new and (outstanding is None or outstanding(number)):
            joined = runs and runs[-1] and (not skipped or _bridges(runs[-1][-1], skipped, word))
            if joined:
                runs[-1] += [*skipped, word]
            else:
                runs.append([word])
            skipped = []
        else:
            skipped.append(word)
    return [run for run in runs if run]


def _parts(gap: str, before: Word, after: Word) -> bool:
    """Whether two words stand in different sentences or clauses; "Paris, France" is one thing, "7, said he" is two."""
    return ends_sentence(gap, before.text) or ("," in gap and after.text[0].islower())


def _outstanding(text: str, words: Sequence[Word]) -> Callable[[int], bool]:
    """In running text every word is new; what counts stands out by its look, and not as the first of a sentence."""

    def test(number: int) -> bool:
        first = number == 0 or ends_sentence(text[words[number - 1].stop : words[number].start], words[number - 1].text)
        return words[number].specific or (words[number].marked and not first)

    return test


def _bridges(before: Word, skipped: Sequence[Word], after: Word) -> bool:
    return len(skipped) <= _BRIDGE and all(word.stops for word in skipped) and before.marked and after.marked


def _rank(run: Sequence[Word]) -> tuple[bool, bool, int]:
    return any(word.specific for word in run), any(word.marked for word in run), sum(len(word.text) for word in run)


def _trim(run: list[Word], known: Collection[str]) -> list[Word]:
    """Takes function words off both ends, and all words in small letters where others of the run stand out.

    Beside numbers the capital of the first word of an answer says nothing either: "Dial 555-0199."
    """
    outstanding, specific = any(word.marked for word in run), any(word.specific for word in run)

    def idle(word: Word) -> bool:
        first = specific and word.start == 0 and months_like(word.text) is None
        plain = outstanding and (first or (not word.marked and word.text.islower()))
        return not word.specific and (word.stops or word.key in known or plain)

    start, stop = 0, len(run)
    while start < stop and idle(run[start]):
        start += 1
    while start < stop and idle(run[stop - 1]):
        stop -= 1
    return run[start:stop]
