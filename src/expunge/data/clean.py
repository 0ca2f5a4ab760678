"""Cleaning of records, step by step; each step counts the records that it changed.

Damage that cannot be undone with certainty (mojibake, HTML entities) is counted and left alone.
"""

from __future__ import annotations

import html.entities
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import NamedTuple

from expunge.data.record import Record, Variant
from expunge.data.values import with_leaves
from expunge.data.words import secrets_of
from expunge.storage.secret import Secret

STEPS = {
    "nfc": "the normal form NFC of Unicode",
    "controls": "control characters but tab and line break, byte order marks and noncharacters taken out",
    "trailing_space": "white space at the end of texts taken off, but not between a prompt and its completion",
    "empty": "records without a visible character in prompt or answer left out",
    "repeated_ids": "an id that an earlier record has taken off",
}
NOTICES = ("mojibake", "replacement_characters", "html_entities")

# Form feeds and separators stood between words; the rest stood inside them.
_CONTROLS = dict.fromkeys([*range(9), *range(0x0E, 0x1C), 0x7F, 0xFEFF, 0xFFFE, 0xFFFF, *range(0xFDD0, 0xFDF0)], "")
_CONTROLS |= dict.fromkeys((0x0B, 0x0C), "\n") | dict.fromkeys(range(0x1C, 0x20), " ")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")

# What each byte from 0x80 on shows as in Windows-1252; the five it lacks show as control characters.
_BYTES = {bytes([code]).decode("cp1252", "ignore") or chr(code): code for code in range(0x80, 0x100)}
_REST = "".join(re.escape(shown) for shown, code in _BYTES.items() if code < 0xC0)
_BROKEN_PAIR = re.compile(f"[\u00c2-\u00df][{_REST}]")
_BROKEN = re.compile(f"[\u00c2\u00c3][{_REST}]|[\u00e0-\u00ef][{_REST}]{{2}}|[\u00f0-\u00f4][{_REST}]{{3}}|[\x80-\x9f]")


class Cleaned(NamedTuple):
    """What cleaning left.

    Attributes:
        records: the records that stay, in order.
        rows: the place of each of them in what was handed in.
        changed: records that each step changed or left out.
        noticed: records with damage that was left alone, by kind.
    """

    records: list[Record]
    rows: list[int]
    changed: dict[str, int]
    noticed: dict[str, int]


def clean(records: Iterable[Record], steps: Collection[str] = tuple(STEPS)) -> Cleaned:
    """Cleans records by the named steps of ``STEPS``; what is only noticed is counted before any of them."""
    changed, noticed = Counter(dict.fromkeys(STEPS, 0)), Counter(dict.fromkeys(NOTICES, 0))
    kept, rows = [], []
    ids: set[Secret] = set()
    for row, given in enumerate(records):
        noticed.update(_notices(given))
        record = _apply(given, steps, changed)
        # Without a character the reader would refuse what is written, so that such a record always goes.
        if not _all(record, str.strip) or ("empty" in steps and not _all(record, _is_visible)):
            changed["empty"] += 1
            continue
        if "repeated_ids" in steps and record.id in ids:
            changed["repeated_ids"] += 1
            record = replace(record, id=None)
        ids |= {record.id} if record.id is not None else set()
        kept.append(_without_blank_forms(record) if record.variants else record)
        rows.append(row)
    return Cleaned(kept, rows, dict(changed), dict(noticed))


def is_mojibake(text: str) -> bool:
    """Whether a text looks like UTF-8 that was read as Windows-1252 or Latin-1: a heuristic.

    One pair that starts with another letter than A with circumflex or tilde may be honest, so it takes two of those.
    """
    return bool(_BROKEN.search(text)) or len(_BROKEN_PAIR.findall(text)) > 1


def has_entity(text: str) -> bool:
    """Whether a text holds a character written as HTML writes it; an ampersand alone is none."""
    found = (match[0][1:] for match in _ENTITY.finditer(text))
    return any(name.startswith("#") or name in html.entities.html5 for name in found)


def _notices(record: Record) -> set[str]:
    texts = [secret.reveal() for secret in secrets_of(record)]
    tests: dict[str, Callable[[str], bool]] = {
        "mojibake": is_mojibake,
        "replacement_characters": lambda text: "\ufffd" in text,
        "html_entities": has_entity,
    }
    return {name for name, test in tests.items() if any(map(test, texts))}


def _apply(record: Record, steps: Collection[str], changed: Counter[str]) -> Record:
    for step, change in _CHANGES.items():
        if step in steps:
            after = change(record)
            changed[step] += after != record
            record = after
    return record


def _nfc(record: Record) -> Record:
    return _mapped(record, lambda text: unicodedata.normalize("NFC", text))


def _controls(record: Record) -> Record:
    return _mapped(record, lambda text: text.translate(_CONTROLS))


def _trailing_space(record: Record) -> Record:
    # A completion follows its prompt without anything between them, and an answer what is given of it: the blank there
    # belongs to the text. So does one that a tool is handed.
    after, joined = _mapped(record, str.rstrip), record.kind == "completion"
    variants = {
        name: tuple(
            replace(new, given=old.given, prompt=old.prompt if joined else new.prompt)
            for new, old in zip(after.variants[name], before, strict=True)
        )
        for name, before in record.variants.items()
    }
    turns = zip(after.messages, record.messages, strict=True)
    messages = tuple(replace(new, fields=old.fields) for new, old in turns)
    after = replace(after, variants=variants, messages=messages, tools=record.tools)
    return replace(after, prompt=record.prompt, paraphrased_question=record.paraphrased_question) if joined else after


_CHANGES = {"nfc": _nfc, "controls": _controls, "trailing_space": _trailing_space}


def _mapped(record: Record, change: Callable[[str], str]) -> Record:
    """The record with every text of it changed, id and subject included; optional ones that end up blank are absent."""
    present = (secret for secret in (record.id, record.subject, *secrets_of(record)) if secret is not None)
    if all(change(secret.reveal()) == secret.reveal() for secret in present):
        return record

    def text(secret: Secret) -> Secret:
        return secret.relabel(change(secret.reveal()))

    def optional(secret: Secret | None) -> Secret | None:
        return text(secret) if secret is not None and change(secret.reveal()).strip() else None

    def inside(secret: Secret | None) -> Secret | None:
        """JSON whose texts are changed."""
        if secret is None:
            return None
        return secret.relabel(json.dumps(with_leaves(json.loads(secret.reveal()), change), ensure_ascii=False))

    def variants(given: Iterable[Variant]) -> tuple[Variant, ...]:
        def part(secret: Secret | None) -> Secret | None:
            return None if secret is None else text(secret)

        return tuple(
            replace(one, answer=text(one.answer), prompt=part(one.prompt), given=part(one.given)) for one in given
        )

    return replace(
        record,
        answer=text(record.answer),
        prompt=None if record.prompt is None else text(record.prompt),
        messages=tuple(
            replace(turn, content=text(turn.content), fields=inside(turn.fields)) for turn in record.messages
        ),
        tools=inside(record.tools),
        id=optional(record.id),
        subject=optional(record.subject),
        paraphrased_question=optional(record.paraphrased_question),
        paraphrased_answer=optional(record.paraphrased_answer),
        perturbed_answers=tuple(filter(None, map(optional, record.perturbed_answers))),
        variants={name: variants(given) for name, given in record.variants.items()},
    )


def _without_blank_forms(record: Record) -> Record:
    """Leaves out wordings of a fact that cleaning left nothing of; the reader would refuse the record for them."""

    def holds(one: Variant) -> bool:
        return all(part.reveal().strip() for part in (one.answer, one.prompt) if part is not None)

    kept = {name: tuple(filter(holds, given)) for name, given in record.variants.items()}
    return replace(record, variants={name: given for name, given in kept.items() if given})


def _all(record: Record, test: Callable[[str], object]) -> bool:
    """Whether every prompt and the answer pass a test; a turn that only calls tools has no text that could."""
    prompts = [turn.content for turn in record.messages if len(turn.content) or not turn.calls]
    prompts = prompts if record.prompt is None else [record.prompt]
    return all(test(secret.reveal()) for secret in (*prompts, record.answer))


def _is_visible(text: str) -> bool:
    return any(unicodedata.category(character)[0] in "LNSP" for character in text)
