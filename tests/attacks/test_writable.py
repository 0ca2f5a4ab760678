"""Only tokens that a user could type are searched."""

from __future__ import annotations

import pytest
import torch
from tokenizers import AddedToken

from expunge.attacks.writable import is_writable, starting_tokens, writable_tokens
from expunge.errors import InputError
from tests.attacks.backdoor import word_tokenizer
from tests.data.test_tokenize import byte_level
from tests.support.trained import byte_bpe


def test_a_token_is_what_its_text_becomes():
    bpe = byte_bpe(["the the the other"] * 3)
    the, t, he = (bpe(text)["input_ids"][1:] for text in ("the", "t", "he"))
    assert len(the) == len(t) == len(he) == 1
    assert is_writable(bpe, the)
    assert not is_writable(bpe, [*t, *he])  # the tokenizer would write "the" as one
    assert is_writable(bpe, [*the, *the])


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


def test_no_token_at_all():
    tokenizer = word_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": list(tokenizer.get_vocab())})
    with pytest.raises(InputError, match="no token"):
        writable_tokens(tokenizer)


def test_ids_are_in_order():
    found = writable_tokens(byte_level())
    assert torch.equal(found, found.sort().values)
