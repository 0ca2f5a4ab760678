"""Guess files of the extraction challenge: written for a model and its records, or scored against them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from expunge.attacks.base import AttackTask, Budget
from expunge.attacks.guess_file import ExtractionGuesses
from expunge.data.reader import read_records
from expunge.data.templates import DEFAULT, Rendering
from expunge.errors import InputError
from expunge.evaluation.guesses import write_guesses
from expunge.functional.guesses import read_guesses, score_guesses
from expunge.models.load import load_model
from expunge.workflows.places import refuse_model_folder


@dataclass(frozen=True, kw_only=True)
class GuessRequest:
    """What to guess, or whose guesses to score.

    Attributes:
        model: folder or Hub id; its tokens are the ones in the file.
        records: file of records. An example's id is the number of its record among the usable ones, from 0.
        columns: column of each field whose column in the files has another name, such as ``{"answer": "response"}``.
        out: guess file to write, never overwritten; it holds memorised text as token ids.
        scored: guess file to read, in place of ``out``.
        budget: quick or paper.
        settings: changes to the settings of ``extraction_guesses``; ``prefix`` and ``length`` say what is guessed.
        max_length: longest record, tokens.
        rendering: how records are written: template, system prompt, date, thinking.
        seed: of the draws.
    """

    model: str
    records: Path
    columns: Mapping[str, str] = field(default_factory=dict)
    out: Path | None = None
    scored: Path | None = None
    budget: Budget = "quick"
    settings: Mapping[str, Any] = field(default_factory=dict)
    max_length: int = 512
    rendering: Rendering = DEFAULT
    seed: int = 0


def guesses(request: GuessRequest) -> dict[str, float]:
    """Writes a guess file, or reads one, and returns its score.

    Returns:
        ``recall_at_100``, ``recall`` and ``precision``, each from 0 to 1, the numbers of ``examples``, ``guesses`` and
        ``wrong`` ones, and the records that were ``rejected``.

    Raises:
        InputError: neither or both of the files, a place that is taken, records or guesses that cannot be read.
    """
    if (request.out is None) == (request.scored is None):
        raise InputError("Say where to write the guesses, --out FILE, or which ones to score, --score FILE.")
    refuse_model_folder(request.out, (request.model,))
    if request.out is not None and request.out.exists():
        raise InputError(f"{request.out} exists; name a file that does not. Nothing was changed.")
    attack = ExtractionGuesses.at(request.budget, **request.settings)
    if not isinstance(attack, ExtractionGuesses):  # says it to the type checker
        raise TypeError(type(attack).__name__)
    read = read_records(request.records, "forget", columns=request.columns)
    task = AttackTask(splits={"forget": read.records}, max_length=request.max_length, seed=request.seed)
    loaded = load_model(request.model, rendering=request.rendering)
    truth = {row: one.suffix for row, one in attack.halves(loaded, task).items()}
    found = attack.guesses(loaded, task) if request.scored is None else read_guesses(request.scored)
    score = score_guesses(found, truth)
    if request.out is not None:
        write_guesses(request.out, found)
    return {
        "recall_at_100": score.recall_at_100,
        "recall": score.recall,
        "precision": score.precision,
        "examples": len(truth),
        "guesses": score.guesses,
        "wrong": score.errors,
        "rejected": len(read.rejected),
    }
