"""``expunge unlearn`` and ``expunge plan``: the same request, carried out or only costed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from expunge.cli import options
from expunge.cli.job import Progress, run_job
from expunge.cli.output import document, duration, table
from expunge.cli.verdict import summary_of

if TYPE_CHECKING:
    from expunge.api import Request
    from expunge.workflows.plan import Plan

Model = Annotated[str, typer.Argument(help="A model folder in Hugging Face layout, or a Hub id.")]
NoAudit = Annotated[bool, typer.Option("--no-audit", help="Leave out audit and report.")]
AXES = (
    *("config", "overrides", "lora", "layers", "retain_term", "tokens", "combiner"),
    *("optimizer", "perturb", "penalty", "relabel", "stopper"),
)  # make the settings
PLAIN = (
    *("model", "out", "forget", "retain", "holdout", "base", "method", "suite", "forms", "paraphraser"),
    *("allow_remote", "max_length", "dtype", "allow_rejected", "allow_overlap", "keep_helpers"),
)  # mean in a request what they mean as a flag


def unlearn(
    model: Model,
    out: Annotated[Path, typer.Option("--out", help="The run folder; the same command goes on in it.")],
    forget: options.Forget = None,
    benchmark: options.Benchmark = None,
    retain: options.Retain = None,
    holdout: options.Holdout = None,
    split: options.Splits = None,
    retrained: options.Retrained = None,
    base: options.Base = None,
    method: options.Method = "npo",
    overrides: options.Set = None,
    config: options.Config = None,
    retain_term: options.RetainTerm = None,
    lora: options.Lora = None,
    layers: options.Layers = None,
    tokens: options.Tokens = None,
    combiner: options.Combiner = None,
    optimizer: options.Optimizer = None,
    perturb: options.Perturb = None,
    penalty: options.Penalty = None,
    relabel: options.Relabel = None,
    stopper: options.Stopper = None,
    suite: options.Suite = "quick",
    policy: options.Policy = None,
    forms: options.Forms = "auto",
    paraphraser: options.Paraphraser = None,
    allow_remote: options.AllowRemote = False,
    max_length: options.MaxLength = 512,
    columns: options.Columns = None,
    system: options.System = None,
    template: options.Template = None,
    thinking: options.Thinking = None,
    date: options.Date = None,
    allow_rejected: options.AllowRejected = False,
    dtype: options.Dtype = None,
    allow_overlap: options.AllowOverlap = False,
    no_audit: NoAudit = False,
    keep_helpers: options.KeepHelpers = False,
    as_json: options.Json = False,
) -> None:
    """Make a model forget records, audit the result and write a report."""
    flags = locals()  # before any other name is set

    def work(progress: Progress) -> dict[str, Any]:
        from expunge.api import unlearn as run

        return summary_of(run(_request(flags), (progress.listen,)))

    run_job("unlearn", work, as_json=as_json, run=out)


def plan(
    model: Model,
    out: Annotated[
        Path, typer.Option("--out", help="Taken so that the line can be unlearn's; nothing is written there.")
    ] = Path("unused"),
    forget: options.Forget = None,
    benchmark: options.Benchmark = None,
    retain: options.Retain = None,
    holdout: options.Holdout = None,
    split: options.Splits = None,
    retrained: options.Retrained = None,
    base: options.Base = None,
    method: options.Method = "npo",
    overrides: options.Set = None,
    config: options.Config = None,
    retain_term: options.RetainTerm = None,
    lora: options.Lora = None,
    layers: options.Layers = None,
    tokens: options.Tokens = None,
    combiner: options.Combiner = None,
    optimizer: options.Optimizer = None,
    perturb: options.Perturb = None,
    penalty: options.Penalty = None,
    relabel: options.Relabel = None,
    stopper: options.Stopper = None,
    suite: options.Suite = "quick",
    policy: options.Policy = None,
    forms: options.Forms = "auto",
    paraphraser: options.Paraphraser = None,
    allow_remote: options.AllowRemote = False,
    max_length: options.MaxLength = 512,
    columns: options.Columns = None,
    system: options.System = None,
    template: options.Template = None,
    thinking: options.Thinking = None,
    date: options.Date = None,
    allow_rejected: options.AllowRejected = False,
    dtype: options.Dtype = None,
    allow_overlap: options.AllowOverlap = False,
    no_audit: NoAudit = False,
    keep_helpers: options.KeepHelpers = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Say what a run will take, without reading the weights or asking a paraphraser; refuses what unlearn would."""
    flags = locals()  # before any other name is set
    from expunge.api import plan as make

    made = make(_request(flags))
    if as_json:
        document(made)
        return
    table(_rows(made))


def _request(flags: Mapping[str, Any]) -> Request:
    """The request that the flags of either command make."""
    from expunge.api import Request

    return Request(
        **{name: flags[name] for name in PLAIN},
        benchmark=options.choice(flags["benchmark"]),
        retrained=tuple(flags["retrained"] or ()),
        settings=options.settings(**{name: flags[name] for name in AXES}),
        columns=options.columns(flags["columns"]),
        **options.rendering(flags),
        evaluation=options.named_files(flags["split"]),
        audit=not flags["no_audit"],
        policy=options.policy(flags["policy"]),
    )


def _rows(made: Plan) -> list[tuple[str, str]]:
    return [
        ("method", made.method),
        ("records", ", ".join(f"{split} {count}" for split, count in made.records.items())),
        *_left_out(made),
        ("tokens", ", ".join(f"{split} {count:,}" for split, count in made.tokens.items())),
        ("steps", str(made.steps)),
        *((name.replace("_", " "), reason) for name, reason in made.reasons.items()),
        ("parameters", f"{made.parameters:,}"),
        ("memory", f"{made.memory_bytes / 1e9:.2f} GB"),
        ("disk", f"{made.disk_bytes / 1e9:.3f} GB"),
        ("unlearning", _effort(made.train, made.train_seconds, made.threads)),
        ("audit", _effort(made.audit, made.audit_seconds, made.threads)),
        ("basis", made.basis),
        *(("note", note) for note in made.notes),
        ("thresholds", ", ".join(f"{name} {value}" for name, value in vars(made.policy.thresholds).items())),
        ("accepted", ", ".join(made.policy.accept) or "any verdict"),
    ]


RANGE = 1.5  # times the fewest seconds, above which both are said


def _effort(processor: float, seconds: tuple[float, float], threads: int) -> str:
    """Such as ``about 80 processor seconds (40 s to 80 s if the machine is otherwise idle, with 2 threads)``."""
    if not processor:
        return "none"
    least, most = (duration(one) for one in seconds)
    time = f"{least} to {most}" if seconds[1] > RANGE * seconds[0] and least != most else most
    with_threads = f"with {threads} threads" if threads > 1 else "with one thread"
    return f"about {processor:,.0f} processor seconds ({time} if the machine is otherwise idle, {with_threads})"


def _left_out(made: Plan) -> list[tuple[str, str]]:
    """The lines of the files that could not be read, one row for each file."""
    from expunge.data.reader import Rejection, listing

    return [
        ("left out", f"{split} {facts['count']} ({listing([Rejection(**line) for line in facts['lines']])})")
        for split, facts in made.rejected.items()
    ]
