"""Whom records are about, found by shared names, against sources that know it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from expunge.benchmarks.fictional import Fictional
from expunge.benchmarks.lume import Lume
from expunge.benchmarks.tofu import QUESTIONS_PER_AUTHOR
from expunge.data.checks import content_digest
from expunge.data.people import found_subjects, subjects_hints, with_found_subjects
from expunge.data.reader import read_records
from expunge.data.record import Record
from expunge.storage.secret import Secret

SHARED = Path(__file__).parents[3] / "shared" / "data"


def qa(*pairs: tuple[str, str], split: str = "forget") -> list[Record]:
    return [
        Record(index=row, split=split, kind="qa", prompt=Secret(asked, "x"), answer=Secret(answer, "x"))
        for row, (asked, answer) in enumerate(pairs)
    ]


def agreement(records: Sequence[Record], truth: Sequence[Hashable]) -> tuple[float, float]:
    """Precision and recall of pairs that are said to be about one subject."""
    said = [row if record.found_subject is None else record.found_subject for row, record in enumerate(records)]

    def pairs(groups: Sequence[Hashable]) -> int:
        return sum(count * (count - 1) // 2 for count in Counter(groups).values())

    both = pairs(list(zip(said, truth, strict=True)))
    return both / pairs(said), both / pairs(truth)


def found(records: Sequence[Record], *others: Record) -> list[str | None]:
    rows = with_found_subjects({"forget": records, "retain": others})["forget"]
    return [None if row.found_subject is None else row.found_subject.reveal() for row in rows]


FILLER = tuple(qa(*((f"What is rule {row}?", f"It is {row}.") for row in range(20)), split="retain"))


def test_records_that_share_a_full_name_are_about_one_person():
    records = qa(
        ("Where does Ada Lovelace live?", "Ada Lovelace lives in New York."),
        ("Who taught Ada Lovelace?", "It was Mary Somerville."),
        ("Where does Ole Berg live?", "Ole Berg lives in New York."),
        ("Which trade has Ole Berg?", "A baker."),
        ("How many moons are there?", "Two."),
    )
    assert found(records, *FILLER) == ["ada lovelace", "ada lovelace", "ole berg", "ole berg", None]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Кто такая Анна Орлова?", "Где живёт Анна Орлова?"),
        ("Wo wohnt Ludwig van Beethoven?", "Was schrieb Ludwig van Beethoven?"),
        ("Where was Basil Mahfouz Al-Kuwaiti born?", "What did Basil Al-Kuwaiti write?"),
        ("Who is J. R. Tolkien?", "What did J.R. Tolkien write?"),
    ],
    ids=["other script", "particle", "middle name", "initials"],
)
def test_names_are_found_however_they_are_written(first, second):
    one, other, last = found(qa((first, "x."), (second, "y."), ("How many?", "Two.")), *FILLER)
    assert one is not None
    assert one == other
    assert last is None


def test_a_topic_and_the_first_word_of_a_question_are_no_names():
    people = ("Ada Vane", "Ole Berg", "Uma Keld", "Tor Lind", "Ida Moss", "Jan Rook")
    asked = [(f"Does {name} use the Social Security office?", "Yes.") for name in people for _ in range(2)]
    assert found(qa(*asked)) == [name.lower() for name in people for _ in range(2)]


def test_a_name_in_more_than_a_third_of_all_records_joins_nothing():
    records = qa(*((f"What is item {row} of Maro Keld?", "x.") for row in range(6)))
    assert found(records) == [None] * 6
    assert found(records, *FILLER) == ["maro keld"] * 6


def test_an_empty_answer_and_a_split_without_records_name_nobody():
    assert found(qa(("Who is Ada Vane?", ""))) == [None]
    assert found([]) == []
    assert found_subjects([]) is None


def test_given_subjects_stay_and_the_digest_does_not_change():
    records = qa(("Where does Ada Vane live?", "x."), ("Who is Ada Vane?", "y."))
    given = [records[0], replace(records[1], subject=Secret("somebody", "x"))]
    assert with_found_subjects({"forget": given, "retain": FILLER})["forget"] == given
    after = with_found_subjects({"forget": records, "retain": FILLER})["forget"]
    assert after[0].whom is not None
    assert list(map(content_digest, after)) == list(map(content_digest, records))
    assert "vane" not in repr(after).lower()


def test_what_was_assumed_is_said():
    records = qa(("Where does Ada Vane live?", "x."), ("Who is Ada Vane?", "y."))
    splits = with_found_subjects({"forget": records, "retain": FILLER})
    assert {split: found_subjects(rows) for split, rows in splits.items()} == {"forget": 1, "retain": 0}
    some, none = subjects_hints(splits)
    assert "(forget: 1 in 2 records)" in some
    assert "none were found (retain)" in none
    given = [replace(record, subject=Secret("a", "x")) for record in records]
    assert subjects_hints({"forget": given}) == []
    assert found_subjects(given) is None


def test_the_persons_of_fictional_are_found_without_their_field():
    splits = {name: rows for name, rows in Fictional().splits().items() if name in ("forget", "retain", "holdout")}
    bare = {name: [replace(row, subject=None) for row in rows] for name, rows in splits.items()}
    for name, rows in with_found_subjects(bare).items():
        assert agreement(rows, [row.subject for row in splits[name]]) == (1.0, 1.0), name


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "precision", "recall"), [("forget10", 0.999, 0.94), ("full", 0.975, 0.96)], ids=["forget10", "full"]
)
def test_the_authors_of_tofu_are_found(name, precision, recall):
    path = SHARED / "tofu" / f"{name}.json"
    if not path.is_file():
        pytest.skip("real input is not here: ../shared/data/tofu")
    rows = with_found_subjects({"forget": read_records(path, "forget").records})["forget"]
    hit = agreement(rows, [row.index // QUESTIONS_PER_AUTHOR for row in rows])
    assert hit[0] >= precision
    assert hit[1] >= recall


@pytest.mark.real
@pytest.mark.parametrize(
    ("task", "precision", "recall"), [("Task1", 0.65, 0.20), ("Task2", 0.999, 0.99), ("Task3", 0.75, 0.64)]
)
def test_the_documents_of_lume_are_found_where_they_have_full_names(task, precision, recall):
    """Stories (Task1) have first names only, and most of their records stay independent."""
    if not (SHARED / "lume").is_dir():
        pytest.skip("real input is not here: ../shared/data/lume")
    known = Lume(folder=SHARED / "lume", tasks=task).splits()["retain"]
    rows = with_found_subjects({"retain": [replace(row, subject=None) for row in known]})["retain"]
    hit = agreement(rows, [row.subject for row in known])
    assert hit[0] >= precision
    assert hit[1] >= recall
