"""``expunge shadows``: trains shadow models of a run and audits it with them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from expunge.cli import options
from expunge.cli.job import Progress, run_job
from expunge.cli.verdict import summary_of


def shadows(
    run: Annotated[Path, typer.Argument(help="A run folder of unlearn, on a benchmark that trains its own models.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the shadow models; run again, it goes on.")],
    count: Annotated[
        int,
        typer.Option(
            "--count",
            help="Pairs of shadow models. A larger one later adds pairs to models kept by --keep-shadows; without it "
            "those trained with the forget set were deleted and are trained again.",
            min=2,
        ),
    ] = 8,
    benchmark: options.Benchmark = None,
    allow_overlap: options.AllowOverlap = False,
    suite: Annotated[
        str | None, typer.Option("--suite", help="Metrics beside U-LiRA; those of the run's last audit.")
    ] = None,
    workers: Annotated[int | None, typer.Option("--workers", help="Processes at a time; all cores.", min=1)] = None,
    keep_shadows: Annotated[
        bool,
        typer.Option("--keep-shadows", help="Keep the models trained with the forget set; their weights hold it."),
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Train models like those of a run with other seeds, and attack the run with what they show (U-LiRA)."""

    def work(progress: Progress) -> dict[str, Any]:
        from expunge.api import ShadowsRequest
        from expunge.api import shadows as train

        request = ShadowsRequest(
            target=run,
            out=out,
            count=count,
            benchmark=options.choice(benchmark),
            suite=suite,
            workers=workers,
            allow_overlap=allow_overlap,
            keep_shadows=keep_shadows,
        )
        return {**summary_of(train(request, (progress.listen,))), "shadows": out}

    run_job("shadows", work, as_json=as_json, target=run, out=out)
