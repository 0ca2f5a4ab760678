"""What prompt attacks share: where a record asks, what its fact is, and that no wording gives the fact away."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from expunge.data.forms.value import common_words, question_of, value_of
from expunge.data.record import Record
from expunge.data.tokenize import answer_text
from expunge.data.transforms import with_lead
from expunge.data.words import fold, words

Wording = Callable[[Record], Record | None]
QUESTION = "{question}"  # its place in a template


def rewritten(records: Sequence[Record], wordings: Mapping[str, Wording]) -> dict[str, list[Record | None]]:
    """Returns the records in each wording, in their order.

    A record is None in a wording that does not fit it, that changes nothing of what is read before the answer, or that
    holds the record's value where the record itself did not: what a prompt tells, a model need not know.
    """
    common = common_words(records)
    values = [values_of(record, common) for record in records]
    return {
        name: [_kept(record, wording(record), told) for record, told in zip(records, values, strict=True)]
        for name, wording in wordings.items()
    }


def _kept(record: Record, made: Record | None, values: Sequence[str]) -> Record | None:
    if made is None or (made.kind, _read_before(made)) == (record.kind, _read_before(record)):
        return None
    before, after = before_answer(record), before_answer(made)
    given_away = any(holds(after, value) and not holds(before, value) for value in values)
    return None if given_away else made


def values_of(record: Record, common: Collection[str] = ()) -> tuple[str, ...]:
    """Returns the ways in which a record writes its value: what its cloze leaves out, and what stands out by rule.

    The whole answer where nothing stands out.
    """
    found = [answer_text(one).strip() for one in record.forms("cloze")]
    by_rule = value_of(record, common)
    found += [] if by_rule is None else [by_rule]
    return tuple(dict.fromkeys(filter(None, found))) or (answer_text(record).strip(),)


def holds(text: str, value: str) -> bool:
    """Whether a text has the words of a value one after the other, in whatever case."""
    sought, found = words(fold(value)), words(fold(text))
    if not sought:
        return fold(value) in fold(text)
    size = len(sought)
    return any(found[start : start + size] == sought for start in range(len(found) - size + 1))


def before_answer(record: Record) -> str:
    """All that a model reads before the answer, without what a template adds."""
    return "\n".join(_read_before(record))


def _read_before(record: Record) -> list[str]:
    secrets = [*(text for turn in record.messages for text in turn.texts), record.prompt, record.given]
    return [secret.reveal() for secret in secrets if secret is not None]


def asked(record: Record) -> str | None:
    """The question of a record; None where nothing is asked: plain text, and prompts that are completed."""
    return question_of(record) if record.kind in ("qa", "messages") else None


def ask(record: Record, text: str) -> Record:
    """Returns the record with another question or prompt, see ``Record.asking``."""
    return record.asking(record.answer.relabel(text))


def wrap(record: Record, template: str) -> Record | None:
    """Returns the record with its question in the place of ``{question}``.

    What is completed must be followed by its completion, so a prompt or a plain text takes only a template that ends
    with its place, as lines before it.
    """
    question = asked(record)
    if question is not None:
        return ask(record, template.replace(QUESTION, question))
    lead = template.strip()
    if record.kind == "messages" or not lead.endswith(QUESTION):
        return None
    before = lead.removesuffix(QUESTION).rstrip()
    return with_lead(record, f"{before}\n\n") if before else None
