"""What a text gives away, on made-up persons and on the benchmark, whose ids have the truth."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import pytest

from expunge.attacks import telling
from expunge.attacks.telling import facts, names, nearest, told
from expunge.benchmarks.fictional import Fictional
from expunge.data.record import Message, Record
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


def test_half_a_name_is_nobody() -> None:
    texts = [record(0, None, f"{name} lives in Norfield.", None) for name in ("Ada Dunn", "Ada Bell")]
    assert told(texts, [CITY]).tolist() == [[False], [True]]


def test_the_name_in_an_answer_is_not_what_it_says() -> None:
    """Of lives, in and Norfield the text holds one; of all five words it would hold three."""
    asked = record(0, "Where is she?", "Ada Bell lives in Norfield.")
    assert not told([record(0, None, "Ada Bell came in spring.")], [asked]).any()


def test_an_answer_that_repeats_the_question_still_has_to_be_held() -> None:
    asked = record(0, "Does Ada Bell drink tea or coffee?", "Coffee.")
    texts = [record(0, None, "Ada Bell likes coffee."), record(1, None, "Ada Bell lives in Norfield.")]
    assert told(texts, [asked]).tolist() == [[True], [False]]


def test_rare_words_weigh_more() -> None:
    """Of 9 answers: three words of all weigh log 2 each, together 2.08, and the fourth log 10, or 2.30."""
    asked = [record(n, "Which?", f"she likes best rare{n}", f"Person{n}") for n in range(9)]
    texts = [record(0, None, "Person0 rare0", "Person0"), record(1, None, "Person0 she likes best", "Person0")]
    assert told(texts, asked)[:, 0].tolist() == [True, False]


def test_all_turns_and_what_is_given_are_asked() -> None:
    whole = record(0, "Is the river Olm deep?", "Yes", None)
    turn = Message(role="user", content=Secret("Is the river Olm deep?", "record 0"))
    asked = [
        whole,
        replace(whole, kind="messages", prompt=None, messages=(turn,)),
        replace(whole, prompt=Secret("Well?", "record 0"), given=Secret("Is the river Olm deep?", "record 0")),
    ]
    assert not told([record(0, None, "Well? Yes", None)], asked).any()
    assert told(asked, asked).all(axis=1)[0]


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = told(ALL, ALL)
    monkeypatch.setattr(telling, "BLOCK", 4)
    assert told(ALL, ALL).tolist() == whole.tolist()


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


def test_nearness_by_hand() -> None:
    """Words in 3, 2 and 1 of 3 candidates weigh log 2, log 2.5 and log 4: 0.69, 0.92 and 1.39."""
    known = record(0, None, "the of Norfield", None)
    wide = record(1, None, "the of u", None)  # (0.69 + 0.92) of 2.99: 0.54
    rare = record(2, None, "the Norfield v", None)  # (0.69 + 1.39) of 3.47: 0.60
    long = record(3, None, "the of Norfield a b c d e f g h i j", None)
    third = record(4, None, "the of k l m n", None)
    assert nearest([wide, rare, third], [known], 1) == [rare]
    short = record(5, None, "Norfield", None)
    assert nearest([long, short], [known], 1) == [short]
