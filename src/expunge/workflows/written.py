"""How the records of a run are written and what ends an answer, kept in the run folder for every later audit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from expunge.config import build, to_plain
from expunge.data.record import Record
from expunge.data.render import render
from expunge.data.templates import DEFAULT, Rendering, chat_template, write_turns
from expunge.data.tokenize import end_mark
from expunge.errors import InputError
from expunge.models.ending import Ending, find_ending, without_end
from expunge.models.load import LoadedModel, load_model, local_folder
from expunge.models.tokenizer import load_tokenizer
from expunge.storage import atomic
from expunge.storage.digests import text_digest
from expunge.storage.events import read_events
from expunge.storage.run import RunFolder
from expunge.workflows.inputs import TRAIN_RETAIN

KIND = "rendering"  # of the event that says what ends an answer
OTHER_DAY = "1999-12-31"
FLAGS = "--system, --template, --thinking or --date"
TRAINED = ("forget", TRAIN_RETAIN, "retain")  # splits that the original was trained on


def rendering_config(rendering: Rendering) -> dict[str, Any]:
    """What the settings of a run say of its rendering: no text, only whether there is one, and a digest."""
    if rendering == DEFAULT:
        return {}
    facts = {"template": rendering.template, "thinking": rendering.thinking, "date": rendering.date}
    texts = {"has_system": bool(rendering.system), "texts": text_digest(f"{rendering.text}\x00{rendering.system}")}
    return {"rendering": {**facts, **texts}}


def keep_rendering(run: RunFolder, rendering: Rendering) -> None:
    """Writes the rendering of a run beside its settings, where later audits find it."""
    if rendering != DEFAULT and not run.rendering.is_file():
        atomic.write_json(run.rendering, to_plain(rendering))


def kept_rendering(run: RunFolder, given: Rendering | None) -> Rendering:
    """Returns the rendering that a run was made with.

    Raises:
        InputError: another one is given, or the file of the run's rendering is missing or was changed.
    """
    kept = (
        build(Rendering, atomic.read_json(run.rendering), where="rendering.json")
        if run.rendering.is_file()
        else DEFAULT
    )
    if rendering_config(kept).get("rendering") != run.config.get("rendering"):
        raise InputError(
            f"{run.rendering.name} in {run.root} is missing or was changed since the run was made, so its records "
            "cannot be written as before. Restore it, or audit the model folder with --original and --out."
        )
    if given is not None and given != kept:
        raise InputError(
            f"The records of {run.root} were written in another way when it was made. Leave out {FLAGS} to read them "
            "the same way, or audit its model folder with --original and --out."
        )
    return kept


def settled_rendering(run: RunFolder) -> Rendering:
    """Returns the rendering of a run with the end of answers that its last training or audit found."""
    found = [event.data for event in read_events(run.events_path) if event.kind == KIND]
    return replace(kept_rendering(run, None), end=found[0]["end"] if found else None)


def settle_end(
    run: RunFolder,
    rendering: Rendering,
    source: str | None,
    splits: Mapping[str, Sequence[Record]],
    max_length: int,
    *,
    load: Callable[[], LoadedModel] | None = None,
) -> Rendering:
    """Returns the rendering of a run with the token that ends an answer, read off the original once and then kept.

    Args:
        run: whose log keeps what was found.
        rendering: how records are written.
        source: folder or Hub id of the original; None where there is none, and the tokenizer's end token stays.
        splits: records.
        max_length: longest record, tokens.
        load: gives the original where it is loaded already.

    Raises:
        InputError: the tokenizer of the original cannot be read, or a record cannot be written with it.
    """
    earlier = [event.data for event in read_events(run.events_path) if event.kind == KIND]
    if earlier:
        return replace(rendering, end=earlier[0]["end"])
    if source is None:
        return rendering
    records = [*chain.from_iterable(splits.get(name, ()) for name in TRAINED)]
    tokenizer = load_tokenizer(local_folder(source), rendering)
    examples = without_end(records, tokenizer, max_length)
    ending = Ending(None, "template", None, 0)
    if examples:
        loaded = load() if load is not None else load_model(source, rendering=rendering)
        ending = find_ending(loaded, examples)
    verbatim = {split: _verbatim(rows, tokenizer) for split, rows in splits.items()}
    facts = {
        **ending._asdict(),
        "mark": end_mark(tokenizer).text,
        "dated": _is_dated(tokenizer, rendering),
        "verbatim": {split: count for split, count in verbatim.items() if count},
    }
    run.events.append(KIND, **{"end" if name == "token" else name: value for name, value in facts.items()})
    for split, count in facts["verbatim"].items():
        run.events.append(
            "warning",
            text=f"The chat template leaves out a part of the answers of {count} {split} records (such as thoughts); "
            "these answers are read and trained as they are, after what the template writes before an answer.",
        )
    return replace(rendering, end=ending.token)


def rendering_facts(run: RunFolder) -> dict[str, Any]:
    """What ``record.json`` says of how records were written."""
    found = [event.data for event in read_events(run.events_path) if event.kind == KIND]
    given = run.config.get("rendering", {"template": DEFAULT.template, "thinking": None, "date": DEFAULT.date})
    return {**given, **(found[0] if found else {})}


def check_written(source: str, rendering: Rendering, splits: Mapping[str, Sequence[Record]]) -> None:
    """Refuses conversations that the template cannot write, and a rendering that does not fit or that changes nothing.

    Raises:
        InputError: see above; or the tokenizer cannot be read.
    """
    tokenizer = load_tokenizer(local_folder(source), rendering)
    records = [*chain.from_iterable(splits.values())]
    for record in records:
        if record.kind == "messages":
            render(record, tokenizer)
    asks = any(record.kind in ("qa", "messages") for record in records)
    has_template = any(record.kind == "messages" for record in records) or chat_template(tokenizer)
    if rendering.system and not asks:
        raise InputError(
            "--system: no record has a question or a conversation, so no system prompt would be written. Leave it out, "
            "or write it into the prompts."
        )
    if rendering.thinking is not None and not (asks and has_template):
        raise InputError(
            "--thinking: no chat template writes these records, so the flag changes nothing. Leave it out."
        )


def _verbatim(records: Sequence[Record], tokenizer: Any) -> int:
    """How many answers are written as they are, since the template would leave out a part of them."""
    return sum(render(record, tokenizer).verbatim for record in records if record.kind in ("qa", "messages"))


def _is_dated(tokenizer: Any, rendering: Rendering) -> bool:
    """Whether the chat template writes the date."""
    if not chat_template(tokenizer):
        return False
    turns = [{"role": "user", "content": "?"}]
    texts = (
        write_turns(tokenizer, turns, rendering=replace(rendering, date=day)) for day in (OTHER_DAY, rendering.date)
    )
    first, second = texts
    return first != second
