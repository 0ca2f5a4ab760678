"""Options that several commands share, and how they become a request."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from expunge.config import Choice, build, parse_overrides, read_settings_file
from expunge.errors import InputError

if TYPE_CHECKING:
    from expunge.evaluation.verdict.policy import VerdictPolicy

FORMATS = ".jsonl, .json, .csv, .tsv, .parquet, or a folder that save_to_disk of datasets wrote"
Forget = Annotated[Path | None, typer.Option("--forget", help=f"Records to forget: {FORMATS}.")]
Benchmark = Annotated[
    str | None,
    typer.Option(
        "--benchmark", help="Where splits without a file come from: NAME or NAME:key=value,... See: list benchmarks."
    ),
]
Retain = Annotated[
    str | None, typer.Option("--retain", help="Records to keep: a file, or 'self' for the model's own text.")
]
Holdout = Annotated[Path | None, typer.Option("--holdout", help="Records of the same kind that no model has seen.")]
Splits = Annotated[list[str] | None, typer.Option("--split", help="NAME=FILE: a further split for the audit.")]
Retrained = Annotated[
    list[str] | None,
    typer.Option("--retrained", help="A model that never saw the records; may be given several times."),
]
Reference = Annotated[
    list[str] | None,
    typer.Option("--reference", help="Another model that never saw the records, for attacks that compare with one."),
]
ShadowUnlearned = Annotated[
    list[str] | None,
    typer.Option(
        "--shadow-unlearned", help="A model with other seeds, trained with the records and unlearned alike, for U-LiRA."
    ),
]
ShadowRetrained = Annotated[
    list[str] | None,
    typer.Option("--shadow-retrained", help="A model with other seeds that never saw the records, for U-LiRA."),
]
Base = Annotated[str | None, typer.Option("--base", help="The model before it saw the records, for exact methods.")]
Method = Annotated[str, typer.Option("--method", help="See: expunge list methods.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="key=value: a setting of the method or of its training.")]
Config = Annotated[Path | None, typer.Option("--config", help="Settings from a YAML or JSON file; --set wins.")]
RetainTerm = Annotated[str | None, typer.Option("--retain-term", help="See: expunge list retain_terms.")]
Lora = Annotated[int | None, typer.Option("--lora", help="Train a LoRA adapter of this rank and merge it.")]
Layers = Annotated[str | None, typer.Option("--layers", help="Change these layers only, such as 5-7.")]
Tokens = Annotated[str | None, typer.Option("--tokens", help="Which tokens count. See: expunge list token_choices.")]
Combiner = Annotated[
    str | None, typer.Option("--combiner", help="How forget and retain terms combine. See: expunge list combiners.")
]
Perturb = Annotated[
    str | None, typer.Option("--perturb", help="An adversary to forget against. See: expunge list perturbations.")
]
Penalty = Annotated[
    str | None, typer.Option("--penalty", help="What draws the weights back. See: expunge list penalties.")
]
Optimizer = Annotated[str | None, typer.Option("--optimizer", help="See: expunge list optimizers.")]
Relabel = Annotated[str | None, typer.Option("--relabel", help="See: expunge list relabellers.")]
Stopper = Annotated[
    str | None, typer.Option("--stopper", help="See: expunge list stoppers; NAME or NAME:key=value,...")
]
Policy = Annotated[
    Path | None,
    typer.Option(
        "--policy", help="YAML or JSON: accept (words of the verdict) and thresholds; exit code 3 where it is not met."
    ),
]
Suite = Annotated[str, typer.Option("--suite", help="See: expunge list suites.")]
Forms = Annotated[
    str,
    typer.Option(
        "--forms", help="Further forms of the forget records: auto, none, or names with commas. See: list forms."
    ),
]
Paraphraser = Annotated[
    str | None,
    typer.Option(
        "--paraphraser", help="A model folder, Hub id or address (https://host/v1#model) that rewords the records."
    ),
]
AllowRemote = Annotated[
    bool,
    typer.Option(
        "--allow-remote", help="Let records leave this machine: to --paraphraser, or to the address that is audited."
    ),
]
Access = Annotated[
    str, typer.Option("--access", help="What may be read of the target: weights, or prompts for its replies alone.")
]
MaxLength = Annotated[int, typer.Option("--max-length", help="Longest record, tokens.", min=2)]
LmEval = Annotated[
    str | None,
    typer.Option("--lm-eval", help="Tasks of lm_eval to run on every model, with commas; needs expunge[lm-eval]."),
]
LmEvalTasks = Annotated[
    list[Path] | None,
    typer.Option("--lm-eval-tasks", help="Folder of further task files for --lm-eval; may be given several times."),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--columns",
        help="field=column,...: columns of the files whose names are not those of the fields, such as "
        "question=prompt,answer=response.",
    ),
]
System = Annotated[
    str | None,
    typer.Option("--system", help="System prompt of every question and conversation without one: the text, or a file."),
]
Template = Annotated[
    str | None,
    typer.Option(
        "--template",
        help="How questions are written: chat, plain, tofu, tofu_llama2, muse, or a file: a Jinja chat template, or a "
        "text with {question} and {answer}. By default the tokenizer's chat template, or plain.",
    ),
]
Thinking = Annotated[
    str | None, typer.Option("--thinking", help="on or off: whether the chat template writes for a model that thinks.")
]
Date = Annotated[
    str | None, typer.Option("--date", help="YYYY-MM-DD: the day that chat templates write; by default 2024-07-26.")
]
AllowRejected = Annotated[
    bool,
    typer.Option(
        "--allow-rejected", help="Continue without records of the forget file that cannot be read; the report says so."
    ),
]
AllowOverlap = Annotated[
    bool, typer.Option("--allow-overlap", help="Go on although records are in two sets; the report says so.")
]
Dtype = Annotated[
    str | None,
    typer.Option("--dtype", help="Save the weights as float32, bfloat16 or float16; by default as they were."),
]
KeepHelpers = Annotated[
    bool,
    typer.Option("--keep-helpers", help="Keep checkpoints and helper models; their weights hold the forget set."),
]
Json = Annotated[bool, typer.Option("--json", help="JSON lines on stdout and nothing else there.")]


def columns(given: list[str] | None) -> dict[str, str]:
    """Reads ``field=column`` pairs with commas between them."""
    found: dict[str, str] = {}
    for pair in (part for text in given or [] for part in text.split(",")):
        name, separator, column = (part.strip() for part in pair.partition("="))
        if not (name and separator and column):
            raise InputError("--columns takes field=column, for example --columns question=prompt,answer=response.")
        if name in found:
            raise InputError(f"--columns names the field {name!r} twice; give each field one column.")
        if column in found.values():
            raise InputError(f"--columns takes two fields from the column {column!r}; each field needs its own column.")
        found[name] = column
    return found


def rendering(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the field ``rendering`` of a request by the flags that say how records are written; none without any."""
    given = [flags[name] for name in ("template", "system", "thinking", "date")]
    if all(value is None for value in given):
        return {}
    from expunge.data.templates import Rendering

    return {"rendering": Rendering.parse(*given)}


def named_files(pairs: list[str] | None) -> dict[str, Path]:
    """Reads ``NAME=FILE`` pairs."""
    found = {}
    for pair in pairs or []:
        name, separator, file = pair.partition("=")
        if not separator or not name.isidentifier() or not file:
            raise InputError("--split takes NAME=FILE, for example --split world_facts=facts.jsonl.")
        if name in found:
            raise InputError(f"--split names {name!r} twice; give each split one file.")
        found[name] = Path(file)
    return found


def settings(
    *,
    config: Path | None,
    overrides: list[str] | None,
    lora: int | None,
    layers: str | None,
    **axes: str | None,
) -> dict[str, Any]:
    """Merges a settings file, ``--set`` and the flags of the axes; later ones win, and contradictions are refused."""
    merged: dict[str, Any] = read_settings_file(config) if config is not None else {}
    merged = _merged(merged, parse_overrides(overrides or []))
    if lora is not None and layers is not None:
        raise InputError(
            "--lora and --layers both choose what may change; for LoRA on some layers pass --set "
            "'parameters={name: lora, settings: {rank: 16, layers: 5-7}}'."
        )
    if "parameters" in merged and (lora is not None or layers is not None):
        raise InputError("--lora and --layers choose what may change, and so does the setting parameters; give one.")
    if lora is not None:
        merged["parameters"] = Choice("lora", {"rank": lora, "alpha": 2.0 * lora})
    if layers is not None:
        merged["parameters"] = Choice("layers", {"layers": layers})
    for axis, value in axes.items():
        if value is not None:
            merged[axis] = _choice(value)
    return merged


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lays settings over others, at any depth: ``--set parameters.settings.rank=4`` keeps the name from a file."""
    found = dict(below)
    for key, value in above.items():
        under = found.get(key)
        if isinstance(under, str) and isinstance(value, Mapping) and set(value) == {"settings"}:
            under = {"name": under}  # the short form of an axis
        found[key] = _merged(under, value) if isinstance(under, Mapping) and isinstance(value, Mapping) else value
    return found


def choice(text: str | None) -> Choice | None:
    """Reads the value of a flag that may be absent."""
    return None if text is None else _choice(text)


def _choice(text: str) -> Choice:
    """Reads ``NAME`` or ``NAME:key=value,key=value``; a part without ``=`` belongs to the value before its comma."""
    name, _, rest = text.partition(":")
    pairs: list[str] = []
    for part in rest.split(",") if rest else ():
        if pairs and "=" not in part:
            pairs[-1] += f",{part}"
        else:
            pairs.append(part)
    return Choice(name, parse_overrides(pairs))


def policy(path: Path | None) -> VerdictPolicy | None:
    """Reads ``--policy FILE``."""
    if path is None:
        return None
    from expunge.evaluation.verdict.policy import VerdictPolicy

    return build(VerdictPolicy, read_settings_file(path), where=f"the policy {path.name}")
