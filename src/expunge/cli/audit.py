"""``expunge audit``: compares any model with the original and with models that never saw the records."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from expunge.cli import options
from expunge.cli.job import Progress, run_job
from expunge.cli.verdict import summary_of
from expunge.workflows.remote import is_address

if TYPE_CHECKING:
    from expunge.api import AuditRequest
    from expunge.attacks.base import Budget


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
    columns: options.Columns = None,
    system: options.System = None,
    template: options.Template = None,
    thinking: options.Thinking = None,
    date: options.Date = None,
    allow_rejected: options.AllowRejected = False,
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
    flags = locals()  # before any other name is set

    def work(progress: Progress) -> dict[str, Any]:
        from expunge.api import audit as run

        return summary_of(run(_request(flags), (progress.listen,)))

    # An address that was mistyped may hold a key.
    run_job("audit", work, as_json=as_json, target="an address" if is_address(target) else target)


PLAIN = (
    *("target", "access", "forget", "out", "original", "retain", "holdout", "suite", "forms", "paraphraser"),
    *("allow_remote", "max_length", "allow_rejected", "allow_overlap", "lm_eval"),
)  # mean in a request what they mean as a flag
SEVERAL = ("retrained", "reference", "shadow_unlearned", "shadow_retrained", "lm_eval_tasks")


def _request(flags: Mapping[str, Any]) -> AuditRequest:
    """The request that the flags make."""
    from expunge.api import AttackChoice, AuditRequest

    budget = flags["attacks"]
    several: dict[str, Any] = {name: tuple(flags[name] or ()) for name in SEVERAL}
    return AuditRequest(
        **{name: flags[name] for name in PLAIN},
        **several,
        benchmark=options.choice(flags["benchmark"]),
        columns=options.columns(flags["columns"]),
        **options.rendering(flags),
        evaluation=options.named_files(flags["split"]),
        policy=options.policy(flags["policy"]),
        attacks=None if budget == "none" else AttackChoice(budget=cast("Budget", budget)),  # checked there
    )
