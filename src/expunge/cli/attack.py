"""``expunge attack``: does the forgetting hold?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from expunge.cli import options
from expunge.cli.job import Progress, run_job
from expunge.cli.output import complain
from expunge.cli.verdict import summary_of

if TYPE_CHECKING:
    from expunge.attacks.base import Budget

ALL = "all"


def attack(
    run: Annotated[Path, typer.Argument(help="A run folder of unlearn, or the folder of an audit.")],
    name: Annotated[str, typer.Argument(help="See: expunge list attacks. Several with commas, or all.")],
    budget: Annotated[
        str,
        typer.Option("--budget", help="quick: minutes; paper: published settings where known, else larger."),
    ] = "quick",
    settings: options.Set = None,
    forget: options.Forget = None,
    benchmark: options.Benchmark = None,
    retain: Annotated[Path | None, typer.Option("--retain", help="Records to keep.")] = None,
    holdout: options.Holdout = None,
    split: options.Splits = None,
    retrained: options.Retrained = None,
    columns: options.Columns = None,
    allow_rejected: options.AllowRejected = False,
    allow_overlap: options.AllowOverlap = False,
    seed: Annotated[int, typer.Option("--seed", help="Of every draw.")] = 0,
    as_json: options.Json = False,
) -> None:
    """Attack a run, and say how much comes back beyond what comes back on a model that never saw the records."""

    def work(progress: Progress) -> dict[str, Any]:
        from expunge.api import AttackChoice, AttackRequest, AuditRequest
        from expunge.api import attack as act
        from expunge.config import parse_overrides
        from expunge.errors import InputError
        from expunge.reports.sections.attacks import lines

        names = tuple(part.strip() for part in name.split(",") if part.strip())
        if not names:
            raise InputError("Name at least one attack, or all; see: expunge list attacks.")
        request = AttackRequest(
            audit=AuditRequest(
                target=run,
                forget=forget,
                benchmark=options.choice(benchmark),
                retain=retain,
                holdout=holdout,
                evaluation=options.named_files(split),
                retrained=tuple(retrained or ()),
                columns=options.columns(columns),
                allow_rejected=allow_rejected,
                allow_overlap=allow_overlap,
            ),
            choice=AttackChoice(
                names=() if names == (ALL,) else names,
                budget=cast("Budget", budget),  # checked there
                settings=parse_overrides(settings or ()),
                seed=seed,
            ),
        )
        finished = act(request, (progress.listen,))
        found = summary_of(finished)
        for line in lines(finished.record or {}):
            complain(line)
        return found

    run_job("attack", work, as_json=as_json, target=run)
