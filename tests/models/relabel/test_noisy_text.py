"""A share of the words, and words of the retain answers only."""

from __future__ import annotations

import pytest

from expunge.errors import InputError
from expunge.models.relabel.noisy_text import NoisyText
from tests.models.relabel.records import answers, record, task

KEPT = [
    record(index, split="retain", answer=text) for index, text in enumerate(("alpha beta", "beta gamma!", "one two"))
]
WORDS = {"alpha", "beta", "gamma", "one", "two"}


@pytest.mark.parametrize(("share", "changed"), [(1.0, 6), (0.5, 3), (0.3, 2), (0.01, 1)])
def test_the_share_is_that_of_the_words(share, changed):
    text = "She lives, so far, in Ulm."
    (found,) = answers(NoisyText(share=share).relabel_all([record(0, answer=text)], task(retain=KEPT)))
    old, new = text.split(), found.split()
    different = [now for was, now in zip(old, new, strict=True) if was != now]
    assert len(different) == changed
    assert {word.strip(".,") for word in different} <= WORDS
    assert [word[-1] for word in new if word[-1] in ".,"] == [",", ",", "."]


def test_a_word_is_never_drawn_for_itself():
    own = [record(index, answer="Beta BETA beta") for index in range(50)]
    for text in answers(NoisyText(share=1.0).relabel_all(own, task(retain=KEPT))):
        assert "beta" not in text.casefold()


def test_golden_choice():
    """A change here would change every recorded run."""
    (found,) = answers(NoisyText().relabel_all([record(3)], task(seed=1, retain=KEPT)))
    assert found == "one one in Trier."


def test_scripts_without_spaces_and_signs_alone():
    own = [record(0, answer="她住在乌尔姆"), record(1, answer="?!")]
    first, second = answers(NoisyText(share=0.5).relabel_all(own, task(retain=KEPT)))
    assert sum(character in first for character in "她住在乌尔姆") == 3
    assert second in WORDS


@pytest.mark.parametrize("kept", [[], [record(0, split="retain", answer="beta Beta")]])
def test_a_retain_set_without_words_is_refused(kept):
    with pytest.raises(InputError, match="fewer than two words"):
        NoisyText().relabel_all([record(0)], task(retain=kept))
