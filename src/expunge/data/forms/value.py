"""Which part of a record is the fact itself: what a question asks for, without the words around it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence

from expunge.data.forms.words import Word, months_like, scan
from expunge.data.record import Record

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
    words = scan(record.answer.reveal())
    asked = _keys(question_of(record) or "")
    about = _keys(record.subject.reveal()) if record.subject is not None else set()
    # What the answer shares with the subject or its neighbours may be all there is: "Who lives there?" - "Anna."
    for known in (asked | about | set(common), asked | set(common), asked):
        best = _best(_runs(record, words, known), known)
        if best is not None:
            return best
    return None


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
    """Returns the question, prompt or last user turn; None for plain text."""
    if record.prompt is not None:
        return record.prompt.reveal()
    if record.messages and record.messages[-1].role == "user":
        return record.messages[-1].content.reveal()
    return None


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


def _best(runs: Iterable[list[Word]], known: Collection[str]) -> slice | None:
    trimmed = [run for run in (_trim(run, known) for run in runs) if run]
    if not trimmed:
        return None
    best = max(trimmed, key=_rank)
    return slice(best[0].start, best[-1].stop)


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
