"""What a text gives away, on made-up persons and on the benchmark, whose ids have the truth."""

from __future__ import annotations

from collections import defaultdict

import pytest

from expunge.attacks.telling import facts, names, nearest, told
from expunge.benchmarks.fictional import Fictional
from expunge.data.record import Record
from expunge.storage.secret import Secret


def record(index: int, question: str | None, answer: str, subject: str | None = "Ada Bell") -> Record:
    def secret(text: str) -> Secret:
        return Secret(text, f"record {index}")

    return Record(
        index=index,
        split="forget",
        kind="text" if question is None else "qa",
        prompt=None if question is None else secret(question),
        answer=secret(answer),
        subject=None if subject is None else secret(subject),
    )


CITY = record(0, "Where does Ada Bell live?", "Ada Bell lives in Norfield.")
HOME = record(1, "What is the home of Ada Bell?", "The home of Ada Bell is Norfield.")
PHONE = record(2, "How can Ada Bell be reached?", "Ada Bell can be called under 555-1234.")
OTHER = record(3, "Where does Cy Dunn live?", "Cy Dunn lives in Norfield.", "Cy Dunn")
WIFE = record(4, "Who is the wife of Cy Dunn?", "The wife of Cy Dunn is Ada Bell.", "Cy Dunn")
HUSBAND = record(5, "Who is the husband of Ada Bell?", "The husband of Ada Bell is Cy Dunn.")
ALL = [CITY, HOME, PHONE, OTHER, WIFE, HUSBAND]


def test_wordings_and_both_sides_of_an_edge_are_one_fact() -> None:
    number = facts(ALL)
    assert number[0] == number[1]
    assert number[4] == number[5]
    assert len(set(number)) == 4


def test_a_biography_tells_what_it_states() -> None:
    text = record(0, None, "This is Ada Bell. She lives in Norfield.")
    assert told([text], ALL).tolist() == [[True, True, False, False, False, False]]


def test_records_without_a_subject_need_the_question_too() -> None:
    names = ["Olm", *(f"Tarn{n}" for n in range(10)), "Olm"]
    number = facts([record(n, f"Is the river {name} deep?", "Yes", None) for n, name in enumerate(names)])
    assert number[0] == number[-1]
    assert len(set(number)) == 11


def test_equal_answers_about_one_subject_are_one_fact() -> None:
    assert len(set(facts([record(0, "A?", "555"), record(1, "Quite other words", "555")]))) == 1


def test_a_subject_that_no_record_says_is_no_name() -> None:
    """A customer's number: what others tell of the person counts by the question, as without a subject."""
    labelled = [record(0, "Where does Ada Bell live?", "Norfield", "c-17"), record(1, "Is she ill?", "No", "c-17")]
    text = record(0, "Where does Ada Bell live?", "In Norfield, Ada Bell said.", "c-99")
    assert told([text], labelled).tolist() == [[True, False]]
    assert told([record(0, "Where does Cy Dunn live?", "Norfield", "c-17")], labelled).tolist() == [[True, False]]
    assert names(labelled) == [frozenset(), frozenset()]
    spoken = [CITY, record(1, "Is she ill?", "No")]  # one record says the name, so it is that of the other too
    assert names(spoken) == [{"ada", "bell"}] * 2


def test_nothing_tells_nothing() -> None:
    assert facts([]) == []
    assert told([], ALL).shape == (0, 6)


@pytest.mark.parametrize("preset", ["smoke", "bench"])
def test_the_facts_of_the_benchmark_are_found(preset: str) -> None:
    splits = Fictional(preset=preset).splits()  # type: ignore[arg-type]
    forget = splits["forget"]
    truth = ["-".join(one.id.reveal().split("-")[1:3]) for one in forget]
    found, meant = defaultdict(set), defaultdict(set)
    for number, name in zip(facts(forget), truth, strict=True):
        found[number].add(name)
        meant[name].add(number)
    assert all(len(numbers) == 1 for numbers in meant.values())
    merged = [names for names in found.values() if len(names) > 1]
    assert all(name.endswith("spouse") for names in merged for name in names)
    private = ("phone", "email")
    benign = told(splits["relearn_benign"], forget).any(axis=0)
    assert [bool(one) for one in benign] == [not name.endswith(private) for name in truth]
    assert not told(splits["world_facts"], forget).any()


def test_the_nearest_share_rare_words() -> None:
    far = record(7, "What is the home of Eve Foss?", "The home of Eve Foss is Weston.", "Eve Foss")
    near = record(8, "What is the home of Gil Hart?", "The home of Gil Hart is Norfield.", "Gil Hart")
    assert nearest([far, near], ALL, 1) == [near]
    assert nearest([far, near], ALL, 5) == [far, near]
