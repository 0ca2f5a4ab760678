"""``expunge prepare``: clean data sets without duplicates and without what must be forgotten."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from expunge.cli import options
from expunge.cli.job import shown_progress
from expunge.cli.output import complain, document, table
from expunge.errors import InputError

if TYPE_CHECKING:
    from expunge.workflows.prepared import Prepared

Data = Annotated[list[Path], typer.Argument(help=f"Files of records: {options.FORMATS}.")]
SHOWN = 10  # rejected lines that are listed
SMALL_SHARE = 0.0005  # would print as 0.0 %


def prepare(
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="Folder to make; never overwritten.")],
    forget: options.Forget = None,
    columns: options.Columns = None,
    allow_rejected: options.AllowRejected = False,
    subject: Annotated[
        Path | None, typer.Option("--subject", help="File of names, one a line: what names one of them is forgotten.")
    ] = None,
    match: Annotated[
        Path | None, typer.Option("--match", help="File of texts, one a line: what holds one of them is forgotten.")
    ] = None,
    holdout: Annotated[
        float | None, typer.Option("--holdout", help="Share of subjects that are kept out as unseen, such as 0.1.")
    ] = None,
    split: Annotated[
        list[str] | None, typer.Option("--split", help="NAME=SHARE: a further split; may be given several times.")
    ] = None,
    near: Annotated[float, typer.Option("--near", help="Least Jaccard similarity of near duplicates.")] = 0.8,
    min_tokens: Annotated[int | None, typer.Option("--min-tokens", help="Shortest record to keep.", min=1)] = None,
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", help="Longest record to keep.", min=1)] = None,
    tokenizer: Annotated[
        str | None, typer.Option("--tokenizer", help="Model folder or Hub id whose tokens are counted.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the splits.")] = 0,
    skip: Annotated[
        list[str] | None,
        typer.Option(
            "--skip", help="A step to leave out, such as nfc, trailing_space, near; may be given several times."
        ),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option("--keep", help="A rule that excludes nothing and is only counted, such as name or value."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The manifest as one JSON document.")] = False,
) -> None:
    """Clean, deduplicate, split and describe records, and take out what must be forgotten."""
    # Not from the api, which loads torch.
    from expunge.data.duplicates import Near
    from expunge.data.selection import Selection
    from expunge.workflows.prepare import PrepareRequest
    from expunge.workflows.prepare import prepare as run

    request = PrepareRequest(
        data=tuple(data),
        out=out,
        forget=forget,
        columns=options.columns(columns),
        allow_rejected=allow_rejected,
        names=subject,
        phrases=match,
        shares={**({} if holdout is None else {"holdout": holdout}), **_shares(split)},
        selection=Selection(
            near=Near(threshold=near, seed=seed),
            min_tokens=min_tokens,
            max_tokens=max_tokens,
            skip=_names(skip),
            keep=_names(keep),
        ),
        tokenizer=tokenizer,
        seed=seed,
    )
    with shown_progress() as progress:
        made = run(request, (progress.listen,))
    _show(made, as_json=as_json)


def _show(made: Prepared, *, as_json: bool) -> None:
    if as_json:
        document(made.manifest)
    else:
        there = " (already there, the same)" if made.unchanged else ""
        table([*_lines(made.manifest), ("folder", f"{made.folder}{there}")])
    for warning in made.manifest["warnings"]:
        complain(f"warning: {warning}")


MOST_LETTERS = 40  # of a split's name, which becomes a file name


def _shares(pairs: list[str] | None) -> dict[str, float]:
    """Reads ``NAME=SHARE`` pairs."""
    found: dict[str, float] = {}
    for pair in pairs or []:
        name, _, share = pair.partition("=")
        if name in found:
            raise InputError(f"--split names {name!r} twice; give each split one share.")
        if not name.isidentifier() or len(name) > MOST_LETTERS:
            raise InputError(f"The name of a split is a word of at most {MOST_LETTERS} letters, such as validation.")
        try:
            found[name] = float(share)
        except ValueError:
            raise InputError("--split takes NAME=SHARE, for example --split validation=0.1.") from None
    return found


def _names(given: list[str] | None) -> frozenset[str]:
    return frozenset(name.replace("-", "_") for name in given or [])


def _lines(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The description of a data set, a name and a text a line."""
    for role, one in manifest["inputs"].items():
        rejected = one.get("rejected", [])
        more = f", {len(rejected):,} rejected" if rejected else ""
        yield role, f"{one['records']:,} {'lines' if role in ('names', 'phrases') else 'records'}{more}"
        for line in rejected[:SHOWN]:
            yield "", f"line {line['line']}: {line['reason']}"
    yield "cleaned", _counts(manifest["cleaning"]["changed"])
    yield "noticed", _counts(manifest["cleaning"]["noticed"])
    if manifest["outside_length"]:
        yield "outside length", f"{manifest['outside_length']:,}"
    yield "duplicates", _counts(manifest["duplicates"])
    forget = manifest["forget"]
    if any(forget["lost"].values()):
        yield "forget, lost", _counts(forget["lost"])
    if forget["outside_length"]:
        yield "forget, kept", f"{forget['outside_length']:,} outside length"
    yield "excluded", _counts(manifest["excluded"]["moved_by"])
    for name, split in manifest["splits"].items():
        yield from _split(name, split)


def _split(name: str, split: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield name, f"{split['records']:,} records, {split['subjects']:,} subjects; {_counts(split['shapes'])}"
    for unit in ("characters", "tokens"):
        if split[unit]:
            yield f"  {unit}", ", ".join(f"{what} {value:,g}" for what, value in split[unit].items())
    yield "  scripts", ", ".join(f"{script} {_share(share)}" for script, share in split["scripts"].items()) or "none"
    yield "  looks like", f"{_counts(split['personal'])} (heuristic)"


def _share(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= SMALL_SHARE else "below 0.1 %"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in counts.items() if count) or "none"
