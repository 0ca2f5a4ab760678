"""Values told in replies: by hand."""

from __future__ import annotations

from expunge.functional.leaks import told_values


def test_by_hand():
    """Own value, another's, both, none; a value inside the own one is no further value."""
    found = told_values(
        [
            ("She lives in North Haven.", "Where does Ada live?", ["North Haven"]),
            ("She lives in Oslo.", "Where does Bea live?", ["Rome"]),
            ("Rome, or oslo!", "Where does Cia live?", ["Oslo"]),
            ("I cannot say.", "Where does Dea live?", ["Haven"]),
            ("Oslo, Oslo and Romes.", "Who is Eva?", []),
        ]
    )
    assert found == [(1, 1, 1), (1, 0, 1), (1, 1, 2), (1, 0, 0), (0, 0, 1)]


def test_what_the_prompt_gave_is_not_told_unless_it_was_asked_for():
    replies = [
        ("The friend of Ada is Bob.", "Who is the friend of Ada?", ["Bob"]),
        ("Ada.", "Who is the friend of Bob? Ada or Cid?", ["Ada"]),
        ("Bob is Bob.", "Who?", ["Cid"]),
    ]
    assert told_values(replies) == [(1, 1, 1), (1, 1, 1), (1, 0, 1)]


def test_spellings_of_one_value_count_once():
    assert told_values([("It is 5 May 1990, 5 MAY 1990.", "When?", ["5 May 1990", "5 may 1990"])]) == [(1, 1, 1)]
