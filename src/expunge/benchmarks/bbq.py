"""BBQ from a local folder: who did it, asked where the text tells and where it does not.

Parrish et al., "BBQ: A Hand-Built Bias Benchmark for Question Answering", 2022, https://arxiv.org/abs/2110.08193.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from expunge.benchmarks.base import Benchmark
from expunge.data.files import Unusable
from expunge.data.reader import read_records
from expunge.data.record import Record
from expunge.data.tokenize import answer_text
from expunge.errors import InputError
from expunge.functional.bias import follows_bias, target_place
from expunge.registry import benchmarks

SPLIT = "behaviour_holdout"  # where the metric bias_score looks
CATEGORIES = (
    *("Age", "Disability_status", "Gender_identity", "Nationality", "Physical_appearance", "Race_ethnicity"),
    *("Race_x_SES", "Race_x_gender", "Religion", "SES", "Sexual_orientation"),
)
FOUR = 4  # rows with the same answers, numbered from a multiple of four: two conditions by two questions
EIGHT = 2 * FOUR  # where the bias is right, and where it is wrong
_OPTIONS = 3
_FORMS = ("trained", "perturbed_answer")  # right and wrong answers
_COLUMNS = {"example_id", "question_index", "question_polarity", "context_condition", "category", "answer_info"}
_COLUMNS |= {"additional_metadata", "context", "question", "label", "ans0", "ans1", "ans2"}


class Sides(NamedTuple):
    """Places of a row's answers: the one that follows the bias, the one against it, and that one cannot know."""

    follows: int
    against: int
    unknown: int


@benchmarks.register("bbq")
@dataclass(frozen=True, kw_only=True)
class Bbq(Benchmark):
    """Questions that a stereotype answers, for the metric ``bias_score``. It has no records to forget: hand in yours.

    The answers are not listed in the question; a model answers by the text that it finds likeliest.

    Attributes:
        folder: where Age.jsonl, Religion.jsonl, ... lie.
        categories: which of them, with commas between them; None for all that lie there.
        limit: most rows of each category, spread evenly over its file in whole eights: a question in both conditions,
            its opposite, and both with the other group to blame, so that whoever answers rightly has no bias. A four
            of which a row was left out is left out. None for all.
    """

    training_splits: ClassVar[tuple[str, ...]] = ()
    forget_splits: ClassVar[tuple[str, ...]] = ()
    paper: ClassVar[str] = "Parrish et al., 2022, https://arxiv.org/abs/2110.08193"

    folder: Path
    categories: str | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        unknown = [name for name in self._wanted or () if name not in CATEGORIES]
        if unknown:
            raise InputError(f"BBQ has no category {unknown[0]!r}; take some of {', '.join(CATEGORIES)}.")
        if self.limit is not None and self.limit < EIGHT:
            raise InputError(f"limit={self.limit}: questions come in eights; give {EIGHT} or more.")

    @property
    def _wanted(self) -> tuple[str, ...] | None:
        return None if self.categories is None else tuple(name.strip() for name in self.categories.split(","))

    def splits(self) -> dict[str, list[Record]]:
        """Returns ``behaviour_holdout``: right answer first, the wrong ones in the order of ``metrics.bias.ANSWERS``.

        Left out are rows in which no answer, or more than one, names a group that the stereotype is about.

        Raises:
            InputError: a category whose file is missing or is none of BBQ's.
        """
        found = self._wanted or tuple(name for name in CATEGORIES if self._file(name).is_file())
        if not found:
            raise InputError("No category of BBQ lies in its folder (Age.jsonl, ...); take data/ of nyu-mll/BBQ.")
        records = [record for name in found for record in self._read(name)]
        return {SPLIT: [replace(record, index=index) for index, record in enumerate(records)]}

    def _file(self, category: str) -> Path:
        return self.folder / f"{category}.jsonl"

    def _read(self, category: str) -> list[Record]:
        if not self._file(category).is_file():
            raise InputError(f"{category}.jsonl is missing from BBQ's folder; it lies in data/ of nyu-mll/BBQ.")
        records = read_records(self._file(category), SPLIT, reshape=_reshape).records
        return records if self.limit is None else _spread(records, self.limit // EIGHT)


def _spread(records: list[Record], count: int) -> list[Record]:
    """Takes fours evenly of those where the clear text bears the bias out, and as many of the others.

    Raises:
        InputError: there are not both.
    """
    fours = _whole_fours(records)
    kinds = [[place for place, four in enumerate(fours) if _bears_out(four) is wanted] for wanted in (True, False)]
    size = min(count, *map(len, kinds))
    if not size:
        raise InputError(
            "No eight rows of a category, of which four begin at an example_id that 4 divides, are whole; leave out "
            "limit=."
        )
    kept = sorted(places[step * len(places) // size] for places in kinds for step in range(size))
    return [record for place in kept for record in fours[place]]


def _whole_fours(records: Sequence[Record]) -> list[list[Record]]:
    """By BBQ's numbers, not by counting: a row that was left out would shift all that follow it."""
    found = ((key, list(four)) for key, four in groupby(records, _four_of))
    return [four for key, four in found if key is not None and len(four) == FOUR]


def _four_of(record: Record) -> Hashable:
    """What the rows of a four have in common; None for a row without a number."""
    number = record.id.reveal().rpartition("-")[2] if record.id is not None else ""
    answers = frozenset(answer_text(one) for form in _FORMS for one in record.forms(form))
    return (int(number) // FOUR, record.subject, answers) if number.isdecimal() else None


def _bears_out(four: list[Record]) -> bool:
    return any(record.id is not None and "-bias-clear-target-" in record.id.reveal() for record in four)


def sides(row: Mapping[str, Any]) -> Sides | None:
    """Returns whom the answers of a row name; None where no answer, or more than one, names the target or nobody.

    An answer follows the bias if it names the target of the stereotype and the question is about something bad, or if
    it names the other group and the question is about something good.
    """
    groups = [row["answer_info"][f"ans{place}"] for place in range(_OPTIONS)]
    unknown = [place for place, names in enumerate(groups) if names[-1] == "unknown"]
    target = target_place(groups, row["additional_metadata"]["stereotyped_groups"])
    if target is None or len(unknown) != 1 or target == unknown[0]:
        return None
    negative = row["question_polarity"] == "neg"
    places = {follows_bias(place, target, unknown[0], negative=negative): place for place in range(_OPTIONS)}
    return Sides(follows=places[1.0], against=places[0.0], unknown=unknown[0])


def _reshape(item: Any) -> Any:
    """A row of BBQ as a question whose id says what it measures; anything else as it is, for the reader to refuse."""
    if not isinstance(item, Mapping) or not set(item) >= _COLUMNS:
        return item
    found = _sides(item)
    if item["context_condition"] == "ambig":
        mark, order = "bias-ambiguous", (found.unknown, found.follows, found.against)
    elif item["label"] == found.follows:
        mark, order = "bias-clear-target", (found.follows, found.against, found.unknown)
    else:
        mark, order = "bias-clear-other", (found.against, found.follows, found.unknown)
    if item["label"] != order[0]:
        raise Unusable("its label is not the answer that its context calls for")
    right, *wrong = (item[f"ans{place}"] for place in order)
    return {
        "id": f"{item['category']}-{mark}-{item['example_id']}",
        "subject": f"{item['category']} {item['question_index']}",  # rows of one template are much alike
        "question": f"{item['context']} {item['question']}",
        "answer": right,
        "perturbed_answer": wrong,
    }


def _sides(item: Mapping[str, Any]) -> Sides:
    try:
        found = sides(item)
    except (KeyError, IndexError, TypeError, AttributeError):
        raise Unusable("answer_info or additional_metadata is not BBQ's") from None
    if found is None:
        raise Unusable("not exactly one answer names the target and one nobody")
    return found
