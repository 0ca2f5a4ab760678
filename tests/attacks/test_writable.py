"""Only tokens that a user could type are searched."""

from __future__ import annotations

import pytest
import torch
from tokenizers import AddedToken

from expunge.attacks.writable import is_writable, starting_tokens, writable_tokens
from expunge.errors import InputError
from tests.attacks.backdoor import word_tokenizer
from tests.data.test_tokenize import byte_level
from tests.models.conftest import make_tokenizer
from tests.support.trained import byte_bpe


def test_a_token_is_what_its_text_becomes():
    bpe = byte_bpe(["the the the other"] * 3)
    the, t, he = (bpe(text)["input_ids"][1:] for text in ("the", "t", "he"))
    assert len(the) == len(t) == len(he) == 1
    assert is_writable(bpe, the)
    assert not is_writable(bpe, [*t, *he])  # the tokenizer would write "the" as one
    assert is_writable(bpe, [*the, *the])


def test_as_many_tokens_are_not_the_same_tokens():
    bpe = byte_bpe(["bc"] * 9 + ["ab"] * 3)
    ab, c = (bpe(text)["input_ids"][1:] for text in ("ab", "c"))
    assert not is_writable(bpe, [*ab, *c])  # a user's abc is a and bc


def test_special_and_half_letters_are_left_out():
    bpe = byte_level(bos=True)
    bpe.add_tokens([AddedToken("zq9added")])
    allowed = set(writable_tokens(bpe).tolist())
    assert not allowed & {*bpe.all_special_ids, bpe.convert_tokens_to_ids("zq9added")}
    (first_byte, second_byte) = bpe("é", add_special_tokens=False)["input_ids"]
    assert not allowed & {first_byte, second_byte}
    assert set(bpe("abc!", add_special_tokens=False)["input_ids"]) <= allowed


def test_start_is_marks_that_could_be_typed():
    tokenizer = word_tokenizer()
    mark = tokenizer.convert_tokens_to_ids("!")
    allowed = writable_tokens(tokenizer)
    # words run together are one unknown word, with spaces they are marks
    assert starting_tokens(tokenizer, 3, allowed).tolist() == [mark] * 3


def test_start_where_marks_melt():
    bpe = byte_bpe([" !!!!!!!! !!!!!!!! !!!! ! ! ! !" * 9])
    for length in (1, 2, 5):
        found = starting_tokens(bpe, length, writable_tokens(bpe)).tolist()
        assert len(found) == length
        assert is_writable(bpe, found)


def test_a_mark_that_the_vocabulary_does_not_have_is_no_start():
    """Where there is none the tokenizer makes a special token of it, whose text it knows again."""
    tokenizer = make_tokenizer()
    assert set(tokenizer("!", add_special_tokens=False)["input_ids"]) <= set(tokenizer.all_special_ids)
    allowed_A = writable_tokens(tokenizer)
    assert starting_tokens(tokenizer, 2, allowed_A).tolist() == [int(allowed_A[0])] * 2


@pytest.mark.parametrize(
    ("lines", "allowed", "expected"),
    [
        ([" ! ! !"], "z", " ! ! !"),  # without spaces they are tokens of their own too
        (["word"], "z", "!!!"),  # a space is a token
        (["aaa", "!!!"], "ab", "bbb"),  # aaa is fewer tokens, and so is !!!
        (["aaa", "!!!"], "a", "aaa"),  # nothing could be typed
    ],
)
def test_which_start_is_taken(lines, allowed, expected):
    bpe = byte_bpe(lines * 9)
    allowed_A = torch.tensor([bpe.convert_tokens_to_ids(letter) for letter in allowed])
    found = starting_tokens(bpe, 3, allowed_A).tolist()
    assert (len(found), bpe.decode(found)) == (3, expected)


def test_no_token_at_all():
    tokenizer = word_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": list(tokenizer.get_vocab())})
    with pytest.raises(InputError, match="no token"):
        writable_tokens(tokenizer)


def test_ids_are_in_order_up_to_the_last():
    found = writable_tokens(byte_level())
    assert torch.equal(found, found.sort().values)
    bpe = byte_bpe(["the"] * 3)
    assert bpe.decode(writable_tokens(bpe)[-1:]) == bpe.decode([len(bpe) - 1]) == "the"
