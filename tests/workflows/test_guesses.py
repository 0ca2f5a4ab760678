"""A guess file from the command line: what a model guesses of records, written and scored again."""

from __future__ import annotations

import json

import pytest

from expunge.api import GuessRequest, guesses
from expunge.cli import main
from expunge.errors import InputError
from expunge.functional.guesses import read_guesses


def test_a_model_that_knows_solves_what_one_that_does_not_cannot(world, tmp_path):
    knows, guessed = tmp_path / "knows.csv", tmp_path / "guessed.csv"
    own = guesses(GuessRequest(model=world.model, records=world.forget, out=knows))
    other = guesses(GuessRequest(model=world.base, records=world.forget, out=guessed))
    assert own["recall"] > other["recall"] + 0.5
    assert own["examples"] == own["guesses"] == len(read_guesses(knows))
    assert own["recall"] == own["precision"] == 1 - own["wrong"] / own["guesses"]  # one guess of each record
    assert knows.stat().st_mode & 0o077 == 0
    again = guesses(GuessRequest(model=world.model, records=world.forget, scored=knows))
    assert again == own


def test_the_command_writes_and_scores(world, tmp_path, capsys):
    file = tmp_path / "guesses.csv"
    line = ["guesses", str(world.model), "--records", str(world.forget)]
    assert main([*line, "--out", str(file), "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])["summary"]
    assert told["recall"] > 0.5
    assert main([*line, "--out", str(file)]) == 2
    assert "exists; name a file that does not" in capsys.readouterr().err
    assert main(line) == 2
    assert "--out FILE" in capsys.readouterr().err


def test_neither_or_both_files_are_refused(world, tmp_path):
    both = {"out": tmp_path / "a", "scored": tmp_path / "b"}
    for files in ({}, both):
        with pytest.raises(InputError, match="Say where to write"):
            guesses(GuessRequest(model=world.model, records=world.forget, **files))
