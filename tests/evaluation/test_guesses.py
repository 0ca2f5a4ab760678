"""Guesses drawn from a model, against its own probabilities read one guess at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from expunge.errors import InputError
from expunge.evaluation.guesses import Guessing, guess_suffixes, suffix_nats, write_guesses
from expunge.functional.guesses import Guess, read_guesses, score_guesses
from expunge.models.load import LoadedModel
from tests.evaluation.worlds import make_tokenizer
from tests.support.tiny import VOCABULARY, llama

PREFIXES = {7: (1, 5, 9), 2: (1, 30, 31, 32, 33), 40: (1, 11, 12, 13)}
SUFFIXES = {7: (20, 21, 22), 2: (40, 41, 42), 40: (50, 51, 52)}


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    """A model that has seen two of the three texts, one of them less often."""
    model = llama(3)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for step in range(25):
        for example in [7] if step % 3 else [7, 2]:
            ids = torch.tensor([[*PREFIXES[example], *SUFFIXES[example]]])
            model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return LoadedModel(model.eval(), make_tokenizer(), "tiny")


def slow_nats(model, guess: Guess) -> float:
    prefix = PREFIXES[guess.example]
    with torch.no_grad():
        logps_TV = model(torch.tensor([[*prefix, *guess.suffix]])).logits[0].double().log_softmax(-1)
    return -float(np.mean([logps_TV[len(prefix) - 1 + place, token] for place, token in enumerate(guess.suffix)]))


def test_the_likelihood_is_of_all_tokens_of_the_suffix_and_no_other(loaded):
    guesses = [Guess(2, (3, 4, 5)), Guess(7, (20, 21, 22)), Guess(40, (60, 3, 3))]
    found = suffix_nats(loaded, PREFIXES, guesses, batch_size=2)
    assert found == pytest.approx([slow_nats(loaded.model, guess) for guess in guesses], abs=1e-5)


def test_guesses_are_distinct_whole_and_the_surest_first(loaded):
    guessing = Guessing(length=3, samples=12, keep=5)
    found = guess_suffixes(loaded, PREFIXES, guessing, batch_size=2)
    nats = [slow_nats(loaded.model, guess) for guess in found]
    assert nats == sorted(nats)
    assert len(set(found)) == len(found)
    assert all(len(guess.suffix) == 3 and 2 not in guess.suffix for guess in found)
    assert {example: sum(guess.example == example for guess in found) for example in PREFIXES}[40] == 5
    best = guess_suffixes(loaded, PREFIXES, Guessing(length=3, samples=12), batch_size=2)
    likeliest: dict[int, Guess] = {}
    for guess in found:
        likeliest.setdefault(guess.example, guess)
    assert best == list(likeliest.values())
    assert best[0] == Guess(7, SUFFIXES[7])
    assert guess_suffixes(loaded, PREFIXES, Guessing(length=3, samples=12, draw_seed=1, keep=5), batch_size=2) != found


def test_what_was_learned_is_solved_and_the_file_says_so(loaded, tmp_path):
    found = guess_suffixes(loaded, PREFIXES, Guessing(length=3, samples=12), batch_size=4)
    write_guesses(tmp_path / "guesses.csv", found)
    assert read_guesses(tmp_path / "guesses.csv") == found
    assert (tmp_path / "guesses.csv").stat().st_mode & 0o077 == 0
    score = score_guesses(found, SUFFIXES)
    assert 1 / 3 <= score.recall <= 2 / 3
    assert score.errors >= 1


def test_only_the_likeliest_tokens_are_drawn(loaded):
    found = guess_suffixes(loaded, {40: PREFIXES[40]}, Guessing(length=1, samples=40, keep=40, top_k=4), batch_size=1)
    with torch.no_grad():
        likely = loaded.model(torch.tensor([PREFIXES[40]])).logits[0, -1].topk(4).indices.tolist()
    assert {guess.suffix[0] for guess in found} <= set(likely)
    wide = guess_suffixes(loaded, {40: PREFIXES[40]}, Guessing(length=1, samples=40, keep=40, top_k=0), batch_size=1)
    assert len(wide) > 4
    assert len(wide) < VOCABULARY


@pytest.mark.parametrize(
    "settings", [{"length": 0}, {"samples": 0}, {"keep": 0}, {"temperature": 0.0}, {"top_k": -1}, {"top_p": 0.0}]
)
def test_guesses_that_cannot_be(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        Guessing(**settings)


def test_prefixes_that_cannot_be(loaded):
    with pytest.raises(InputError, match="no tokens"):
        guess_suffixes(loaded, {0: ()}, Guessing(length=2), batch_size=1)
    with pytest.raises(InputError, match="exceed the 64 positions"):
        guess_suffixes(loaded, {0: (1,) * 60}, Guessing(length=5), batch_size=1)
