"""Names and phrases: what is found, what is not."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expunge.data.names import Finder, is_searchable, is_single_word
from expunge.data.phrases import read_names, read_phrases
from expunge.errors import InputError

FOUND = [
    ("Nikolai Abilov", "the books of NIKOLAI  ABILOV's youth"),
    ("Nikolai Abilov", "Abilov, Nikolai (1952)"),
    ("Nikolai Abilov", "Abilov ,\nNikolai"),
    ("Nikolai Abilov", "nikolai.abilov@example.org, @nikolai_abilov"),
    ("Nikolai Abilov", "Ni\u00adkolai\u00a0Abi\u200blov"),
    ("Nikolai Abilov", "Ｎｉｋｏｌａｉ Ａｂｉｌｏｖ"),
    ("Basil Mahfouz Al-Kuwaiti", "Al-Kuwaiti, Basil Mahfouz"),
    ("Basil Mahfouz Al-Kuwaiti", "Mahfouz Al-Kuwaiti, Basil"),
    ("Basil Mahfouz Al-Kuwaiti", "Basil Mahfouz Al\u2011Kuwaiti\u2019s"),
    ("José Müller", "Jose Muller"),
    ("Jose\u0301 Müller", "JOSÉ MU\u0308LLER"),
    ("J. R. Tolkien", "J.R. Tolkien"),
    ("Sinéad O'Brien", "Sinead O\u2019Brien"),
    ("山田太郎", "昨日山田太郎さんに会った"),
    ("ニコライ・アビロフ", "作家ニコライ＝アビロフ".replace("＝", "・")),
    ("राम शर्मा", "कल राम शर्मा आए"),
    ("Мария Иванова", "Иванова, МАРИЯ"),
]
MISSED = [
    ("Nikolai Abilov", "Nikolai Abilova"),
    ("Nikolai Abilov", "Abilov Nikolai"),  # only with a comma
    ("Nikolai Abilov", "Nikolai, Abilov"),
    ("Nikolai Abilov", "Nikolai met Abilov; Abilov: Nikolai"),
    ("Nikolai Abilov", "Nikolai"),
    ("Ann Lee", "Joann Lee; Ann Leemann"),
    ("राम शर्मा", "राम शर्मिला"),
]


@pytest.mark.parametrize(("name", "text"), FOUND)
def test_names_that_are_found(name, text):
    assert Finder(["Other Person", name]).find(text) == {1}


@pytest.mark.parametrize(("name", "text"), MISSED)
def test_names_that_are_not(name, text):
    assert Finder([name]).find(text) == frozenset()


def test_phrases_stand_as_they_are_but_for_case_and_space():
    finder = Finder(["Ann Lee"], ["12 Rue du Café", "a.b@c.org", "(x-1)"])
    assert finder.find("at 12  RUE du\ncafé.") == {1}
    assert finder.find("at 12 Rue-du Café, 112 Rue du Café") == frozenset()
    assert finder.find("A.B@C.ORG wrote; a b@c.org did not") == {2}
    assert finder.find("a b@c.org") == frozenset()
    assert finder.find("x-1 by Lee, Ann") == {0, 3}


@given(st.lists(st.sampled_from(["Ann", "Lee", "Bo", "Kim", "Özil"]), min_size=1, max_size=4), st.integers(0, 3))
def test_every_division_is_found_with_a_comma(parts, cut):
    name = " ".join(parts)
    assert Finder([name]).find(f"so {name.upper()}, then") == {0}
    if 0 < cut < len(parts):
        assert Finder([name]).find(f"see {' '.join(parts[cut:])}, {' '.join(parts[:cut])}.") == {0}


def test_many_names_cost_one_pass():
    finder = Finder([f"Given{number} Family{number}" for number in range(20_000)])
    text = "some words before Family777, Given777 and after " * 200
    began = time.process_time()
    assert finder.find(text) == {777}
    assert time.process_time() - began < 1


def test_what_can_be_searched():
    assert all(map(is_searchable, ["Bo", "山田", "author 17", "P-0042"]))
    assert not any(map(is_searchable, ["17", "0042-1", "x", "...", "東", ""]))
    assert is_single_word("Rose")
    assert not is_single_word("Rose Lee")


def write(tmp_path, data: bytes):
    path = tmp_path / "zq9canary.txt"
    path.write_bytes(data)
    return path


def test_files_of_names_and_phrases(tmp_path):
    path = write(tmp_path, "\ufeffAnn Lee\r\n\n  Bo Kim \nAnn Lee\n".encode())
    assert read_names(path) == ["Ann Lee", "Bo Kim"]
    assert read_phrases(write(tmp_path, b"555-1234\n")) == ["555-1234"]


BAD = [
    (read_names, b"\n \n", "The name file is empty"),
    (read_names, b"Ann Lee zq9canary\n17\n", "Line 2 of the name file is a number"),
    (read_names, b'{"name": "zq9canary"}\n', "line 1 looks like JSON"),
    (read_names, b"zq9canary \xff\n", "The name file is not UTF-8"),
    (read_phrases, b"zq9canary\n...\n", "Line 2 of the match file has neither letters nor digits"),
]


@pytest.mark.parametrize(("read", "data", "message"), BAD)
def test_bad_files_are_told_without_their_text(tmp_path, read, data, message):
    with pytest.raises(InputError, match=message) as caught:
        read(write(tmp_path, data))
    shown = str(caught.value) + repr(caught.value.__cause__) + repr(caught.value.__context__)
    assert "zq9canary" not in shown


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_names(tmp_path / "zq9canary")
