"""Guess files: the published anchor, every number by hand, and bad rows by their line."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from expunge.errors import InputError
from expunge.functional.guesses import (
    MAX_GUESSES,
    Guess,
    format_guesses,
    parse_guesses,
    read_guesses,
    score_guesses,
)

TRUTH = {0: (5, 6), 1: (7, 8), 2: (1, 1), 3: (2, 3)}
HEADER = "Example ID,Suffix Guess\n"
RIGHT = [Guess(example, suffix) for example, suffix in TRUTH.items()]
WRONG = Guess(0, (9, 9))


@pytest.mark.real
def test_the_example_submission_of_the_challenge(shared_data):
    folder = shared_data / "lm_extraction"
    truth = dict(enumerate(np.load(folder / "fake_test_suffixes.npy").tolist()))
    found = score_guesses(read_guesses(folder / "example_submission.csv"), truth)
    assert (found.guesses, found.errors) == (10_000, 6_994)
    assert found.recall_at_100 == pytest.approx(0.500, abs=1e-12)
    assert found.recall == pytest.approx(0.892, abs=1e-12)
    assert found.precision == pytest.approx(0.3006, abs=1e-12)
    assert len(found.curve) == 6_995


def test_walk_by_hand():
    found = score_guesses([RIGHT[0], WRONG, RIGHT[1], RIGHT[0], WRONG, RIGHT[2]], TRUTH)
    assert found.curve.tolist() == [0.25, 0.5, 0.75]
    assert (found.recall_at_100, found.recall, found.errors) == (0.75, 0.75, 2)
    assert found.precision == pytest.approx(4 / 6)


def test_the_hundredth_error_ends_the_headline():
    """99 errors may stand before a right guess that counts, 100 may not."""
    just = score_guesses([WRONG] * 99 + RIGHT[:1] + [WRONG] + RIGHT[1:2], TRUTH)
    late = score_guesses([WRONG] * 100 + RIGHT[:1], TRUTH)
    assert (just.recall_at_100, just.recall) == (0.25, 0.5)
    assert (late.recall_at_100, late.recall) == (0.0, 0.25)


def test_without_guesses_nothing_is_solved():
    found = score_guesses(parse_guesses(HEADER), TRUTH)
    assert (found.recall, found.guesses, found.curve.tolist()) == (0.0, 0, [0.0])
    assert np.isnan(found.precision)


@given(st.lists(st.builds(Guess, st.integers(0, 10**6), st.lists(st.integers(0, 10**6), min_size=1).map(tuple))))
def test_what_is_written_is_read_back(guesses):
    assert parse_guesses(format_guesses(guesses)) == guesses


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Line 1 .*header"),
        ("id,guess\n", "Line 1 .*header"),
        (HEADER + '1,"[2]"\n1,2,3\n', "Line 3 .*3 columns"),
        (HEADER + '\n\nx,"[2]"\n', "Line 4 .*Example ID"),
        (HEADER + '-1,"[2]"\n', "Line 2 .*Example ID"),
        (HEADER + '1.0,"[2]"\n', "Line 2 .*Example ID"),
        (HEADER + "\u0661,[2]\n", "Line 2 .*Example ID"),
        (HEADER + "1,[]\n", "Line 2 .*list of token ids"),
        (HEADER + '1,"[2, 3.5]"\n', "Line 2 .*list of token ids"),
        (HEADER + '1,"[2, True]"\n', "Line 2 .*list of token ids"),
        (HEADER + '1,"[[2]]"\n', "Line 2 .*list of token ids"),
        (HEADER + '1,"[2, -3]"\n', "Line 2 .*list of token ids"),
        (HEADER + f"1,[{'9' * 5000}]\n", "Line 2 .*list of token ids"),
        (HEADER + '1,"[2]"x"\n', "Line 2 .*no CSV"),
        (HEADER + f'1,"{"[" * 140_000}"\n', "no CSV"),
        (HEADER + '1,"[2', "Line 2 .*no CSV"),
    ],
)
def test_bad_rows_are_refused_by_line_without_their_text(text, message):
    with pytest.raises(InputError, match=message) as caught:
        parse_guesses(text)
    assert "9999" not in str(caught.value)


def test_too_many_rows(monkeypatch):
    assert MAX_GUESSES == 100_000
    monkeypatch.setattr("expunge.functional.guesses.MAX_GUESSES", 20)
    row = '1,"[2]"\n'
    assert len(parse_guesses(HEADER + row * 20)) == 20
    with pytest.raises(InputError, match="more than 20 guesses .line 22"):
        parse_guesses(HEADER + row * 21)
    with pytest.raises(InputError, match="[Kk]eep the surest"):
        format_guesses([WRONG] * 21)


def test_guesses_that_do_not_fit_the_truth():
    with pytest.raises(InputError, match="Guess 2 is about an example"):
        score_guesses([WRONG, Guess(4, (1, 2))], TRUTH)
    with pytest.raises(InputError, match="Guess 1 has 3 tokens; the true suffix has 2"):
        score_guesses([Guess(0, (5, 6, 7))], TRUTH)
    with pytest.raises(InputError, match="no true suffixes"):
        score_guesses([], {})


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_guesses(tmp_path / "absent.csv")
    (tmp_path / "latin.csv").write_bytes(b"Example ID,Suffix Guess\n\xe9")
    with pytest.raises(InputError, match="not UTF-8"):
        read_guesses(tmp_path / "latin.csv")
    (tmp_path / "windows.csv").write_bytes(b'\xef\xbb\xbfExample ID,Suffix Guess\r\n3,"[1,2]"\r\n')
    assert read_guesses(tmp_path / "windows.csv") == [Guess(3, (1, 2))]
