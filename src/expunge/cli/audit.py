"""``expunge audit``: compares any model with the original and with models that never saw the records."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from expunge.cli import options
from expunge.cli.job import Progress, run_job
from expunge.cli.verdict import summary_of
from expunge.workflows.remote import is_address

if TYPE_CHECKING:
    from expunge.attacks.base import Budget
    from expunge.evaluation.subjects import Access


def audit(
    target: Annotated[
        str,
        typer.Argument(
            help="A run folder, a model folder whoever unlearned it, or with --access prompts the OpenAI-compatible "
            "address of a model: https://host/v1#name. Its key goes into EXPUNGE_ENDPOINT_KEY."
        ),
    ],
    forget: options.Forget = None,
    benchmark: options.Benchmark = None,
    out: Annotated[Path | None, typer.Option("--out", help="Where the report goes; not for a run folder.")] = None,
    original: Annotated[str | None, typer.Option("--original", help="The model before; a run folder knows it.")] = None,
    retrained: options.Retrained = None,
    reference: options.Reference = None,
    shadow_unlearned: options.ShadowUnlearned = None,
    shadow_retrained: options.ShadowRetrained = None,
    retain: Annotated[Path | None, typer.Option("--retain", help="Records to keep.")] = None,
    holdout: options.Holdout = None,
    split: options.Splits = None,
    suite: options.Suite = "quick",
    forms: options.Forms = "auto",
    paraphraser: options.Paraphraser = None,
    allow_remote: options.AllowRemote = False,
    access: options.Access = "weights",
    max_length: options.MaxLength = 512,
    allow_overlap: options.AllowOverlap = False,
    policy: options.Policy = None,
    lm_eval: options.LmEval = None,
    lm_eval_tasks: options.LmEvalTasks = None,
    attacks: Annotated[
        str, typer.Option("--attacks", help="none, or the budget of all attacks that apply: quick or paper.")
    ] = "none",
    as_json: options.Json = False,
) -> None:
    """Measure what a model still knows of the records, and write a report."""

    def work(progress: Progress) -> dict[str, Any]:
        from expunge.api import AttackChoice, AuditRequest
        from expunge.api import audit as run

        request = AuditRequest(
            target=target,
            access=cast("Access", access),  # checked there
            forget=forget,
            benchmark=options.choice(benchmark),
            out=out,
            original=original,
            retrained=tuple(retrained or ()),
            reference=tuple(reference or ()),
            shadow_unlearned=tuple(shadow_unlearned or ()),
            shadow_retrained=tuple(shadow_retrained or ()),
            retain=retain,
            holdout=holdout,
            evaluation=options.named_files(split),
            suite=suite,
            forms=forms,
            paraphraser=paraphraser,
            allow_remote=allow_remote,
            max_length=max_length,
            allow_overlap=allow_overlap,
            policy=options.policy(policy),
            lm_eval=lm_eval,
            lm_eval_tasks=tuple(lm_eval_tasks or ()),
            attacks=None if attacks == "none" else AttackChoice(budget=cast("Budget", attacks)),
        )
        return summary_of(run(request, (progress.listen,)))

    # An address that was mistyped may hold a key.
    run_job("audit", work, as_json=as_json, target="an address" if is_address(target) else target)
