"""Further forms of a record's fact, by rule: for whoever hands in nothing but records to forget.

They live in memory and are never written.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from expunge.data.forms.alone import value
from expunge.data.forms.cloze import cloze
from expunge.data.forms.decoy import DECOY_FORMS, ENOUGH, Other, decoys, other_of
from expunge.data.forms.prefix import prefix
from expunge.data.forms.question import casing, truncation
from expunge.data.forms.reverse import reverse
from expunge.data.forms.value import common_words, question_of
from expunge.data.record import Record, Variant
from expunge.errors import UnknownNameError
from expunge.registry import suggest

Rule = Callable[[Record, Collection[str]], tuple[Variant, ...]]
RULES: Mapping[str, Rule] = {
    "value": value,
    "cloze": cloze,
    "reverse": reverse,
    "prefix": prefix,
    "casing": casing,
    "truncation": truncation,
}
DECOY = "decoy"
DECOY_RECORDS = 16  # that get decoys; each costs as many sequences as it has decoys
NAMES = (*RULES, DECOY)


def with_forms(
    records: Sequence[Record],
    names: Collection[str],
    *,
    seed: int = 0,
    decoys: int = 1000,
    decoy_records: int = DECOY_RECORDS,
    decoy_kinds: Collection[str] = DECOY_FORMS,
    others: Sequence[Record] = (),
) -> list[Record]:
    """Adds the forms that are missing; what a record has already stays as it is.

    Args:
        records: of one split.
        names: rules, among ``NAMES``.
        seed: of the decoys.
        decoys: how many for a record, at most.
        decoy_records: how many records get decoys, the first ones for which there are some.
        decoy_kinds: kinds of decoys that are of use, among ``DECOY_FORMS``.
        others: records of the same kind, such as the holdout set, whose values show what a value may look like.

    Raises:
        UnknownNameError: a rule that does not exist.
    """
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        raise UnknownNameError(f"There is no rule for the form {unknown[0]!r}.{suggest(unknown[0], NAMES)}")
    common = common_words([*records, *others])
    found = [_with_rules(record, [name for name in RULES if name in names], common) for record in records]
    if DECOY not in names:
        return found
    values = [other_of(record, common) for record in (*records, *others)]
    pool = _Pool(values, common, seed, decoys, decoy_kinds)
    left = decoy_records
    for row, record in enumerate(found):
        if left <= 0:
            break
        found[row] = _with_decoys(record, pool, row)
        left -= any(name in found[row].variants for name in DECOY_FORMS)
    return found


class _Pool(NamedTuple):
    """What the decoys of all records are made with; ``others`` by row, the record's own among them."""

    others: list[Other | None]
    common: Collection[str]
    seed: int
    size: int
    kinds: Collection[str]


def _with_rules(record: Record, names: Sequence[str], common: Collection[str]) -> Record:
    made = {name: RULES[name](record, common) for name in names if name not in record.variants}
    return replace(record, variants={**record.variants, **{name: forms for name, forms in made.items() if forms}})


def _with_decoys(record: Record, pool: _Pool, row: int) -> Record:
    if any(name in record.variants for name in DECOY_FORMS):
        # The user's own decoys are whole answers, and stand beside the whole answer.
        question = question_of(record)
        prompt = None if question is None else record.answer.relabel(question)
        whole = (Variant(prompt=prompt, answer=record.answer),)
        return replace(record, variants={"value": whole, **record.variants})
    alone = value(record, pool.common)
    if not alone:
        return record
    others = [other for number, other in enumerate(pool.others) if other is not None and number != row]
    made = decoys(record, pool.size, pool.seed, common=pool.common, others=others)
    if len(made.values) < ENOUGH or made.form not in pool.kinds:
        return record
    variants = tuple(replace(alone[0], answer=decoy) for decoy in made.values)
    return replace(record, variants={**record.variants, "value": alone, made.form: variants})
