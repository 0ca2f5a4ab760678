"""``expunge audit``: compares any model with the original and with models that never saw the records."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from expunge.cli import options
from expunge.cli.job import Progress, run_job
from expunge.cli.verdict import summary_of


def audit(
    target: Annotated[Path, typer.Argument(help="A run folder, or a model folder whoever unlearned it.")],
    forget: options.Forget = None,
    benchmark: options.Benchmark = None,
    out: Annotated[Path | None, typer.Option("--out", help="Where the report goes; needed for a model folder.")] = None,
    original: Annotated[str | None, typer.Option("--original", help="The model before; a run folder knows it.")] = None,
    retrained: options.Retrained = None,
    reference: options.Reference = None,
    retain: Annotated[Path | None, typer.Option("--retain", help="Records to keep.")] = None,
    holdout: options.Holdout = None,
    split: options.Splits = None,
    suite: options.Suite = "quick",
    forms: options.Forms = "auto",
    paraphraser: options.Paraphraser = None,
    allow_remote: options.AllowRemote = False,
    max_length: options.MaxLength = 512,
    policy: options.Policy = None,
    as_json: options.Json = False,
) -> None:
    """Measure what a model still knows of the records, and write a report."""

    def work(progress: Progress) -> dict[str, Any]:
        from expunge.api import AuditRequest
        from expunge.api import audit as run

        request = AuditRequest(
            target=target,
            forget=forget,
            benchmark=options.choice(benchmark),
            out=out,
            original=original,
            retrained=tuple(retrained or ()),
            reference=tuple(reference or ()),
            retain=retain,
            holdout=holdout,
            evaluation=options.named_files(split),
            suite=suite,
            forms=forms,
            paraphraser=paraphraser,
            allow_remote=allow_remote,
            max_length=max_length,
            policy=options.policy(policy),
        )
        return summary_of(run(request, (progress.listen,)))

    run_job("audit", work, as_json=as_json, target=target)
