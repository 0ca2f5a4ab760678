"""``expunge guesses``: guess files of the extraction challenge."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from expunge.cli import options
from expunge.cli.job import Progress, run_job

if TYPE_CHECKING:
    from expunge.attacks.base import Budget


def guesses(
    model: Annotated[str, typer.Argument(help="Model folder or Hub id; its tokens are the ones in the file.")],
    records: Annotated[Path, typer.Option("--records", help="Records to guess: .jsonl, .json, .csv or .tsv.")],
    columns: options.Columns = None,
    system: options.System = None,
    template: options.Template = None,
    thinking: options.Thinking = None,
    date: options.Date = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Guess file to write; never overwritten. It holds memorised text.")
    ] = None,
    score: Annotated[Path | None, typer.Option("--score", help="Guess file to score in place of writing one.")] = None,
    budget: Annotated[str, typer.Option("--budget", help="quick: 5 draws for each record; paper: 100.")] = "quick",
    settings: options.Set = None,
    max_length: Annotated[int, typer.Option("--max-length", help="Longest record, tokens.", min=2)] = 512,
    seed: Annotated[int, typer.Option("--seed", help="Of the draws.")] = 0,
    as_json: options.Json = False,
) -> None:
    """Guess how records go on, in the format of the extraction challenge, or score such a file."""
    flags = locals()  # before any other name is set

    def work(progress: Progress) -> dict[str, Any]:
        from expunge.api import GuessRequest
        from expunge.api import guesses as guess
        from expunge.config import parse_overrides

        progress.phase("guess" if score is None else "score")
        request = GuessRequest(
            model=model,
            records=records,
            columns=options.columns(columns),
            **options.rendering(flags),
            out=out,
            scored=score,
            budget=cast("Budget", budget),  # checked there
            settings=parse_overrides(settings or ()),
            max_length=max_length,
            seed=seed,
        )
        return {**guess(request), **({} if out is None else {"file": out})}

    run_job("guesses", work, as_json=as_json)
