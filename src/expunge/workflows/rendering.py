"""How the records of a run are written and what ends an answer, kept in the run folder for every later audit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from expunge.config import build, to_plain
from expunge.data.batch import Example
from expunge.data.record import Record
from expunge.data.render import render
from expunge.data.templates import DEFAULT, Rendering, chat_template, write_turns
from expunge.data.tokenize import end_mark
from expunge.errors import InputError
from expunge.models.ending import Ending, find_ending, unended
from expunge.models.load import LoadedModel, load_model, local_folder
from expunge.models.tokenizer import load_tokenizer
from expunge.storage import atomic
from expunge.storage.digests import DataKey, text_digest
from expunge.storage.events import read_events
from expunge.storage.run import RunFolder
from expunge.workflows.inputs import TRAIN_RETAIN

KIND = "rendering"  # of the event that says what ends an answer
OTHER_DAY = "1999-12-31"
LONG = 8  # characters of an answer, from which a system prompt contains it by no accident
FLAGS = "--system, --template, --thinking or --date"
# The records to forget decide; where none of them needs an end token, what was kept; and then any other split.
ASKED = (("forget",), (TRAIN_RETAIN, "retain"))


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
    return replace(kept_rendering(run, None), end=found[-1]["end"] if found else None)


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
    found = [event.data for event in read_events(run.events_path) if event.kind == KIND]
    if found and found[-1]["source"] != "template":
        return replace(rendering, end=found[-1]["end"])
    if source is None or (not found and _is_begun(run)):
        return rendering
    tokenizer = load_tokenizer(local_folder(source), rendering)
    examples = _examples(splits, tokenizer, max_length)
    if found and not examples:
        return rendering
    ending = Ending(None, "template", None, 0)
    if examples:
        loaded = load() if load is not None else load_model(source, rendering=rendering)
        ending = find_ending(loaded, examples)
    _tell(run, rendering, ending, splits, tokenizer)
    return replace(rendering, end=ending.token)


def _is_begun(run: RunFolder) -> bool:
    """Whether an earlier version began the training, which ended every answer with the tokenizer's end token."""
    return run.checkpoints.is_dir() and any(run.checkpoints.iterdir())


def _examples(splits: Mapping[str, Sequence[Record]], tokenizer: Any, max_length: int) -> list[Example]:
    """Answers without an end, of the first of several groups of splits that has any."""
    named = {name for names in ASKED for name in names}
    for names in (*ASKED, tuple(name for name in splits if name not in named)):
        records = [*chain.from_iterable(splits.get(name, ()) for name in names)]
        if examples := unended(records, tokenizer, max_length):
            return examples
    return []


def _tell(
    run: RunFolder,
    rendering: Rendering,
    ending: Ending,
    splits: Mapping[str, Sequence[Record]],
    tokenizer: Any,
) -> None:
    """Logs what ends an answer, and how many answers the template would shorten."""
    counts = {split: _verbatim(rows, tokenizer) for split, rows in splits.items()}
    verbatim = {split: count for split, count in counts.items() if count}
    run.events.append(
        KIND,
        end=ending.token,
        source=ending.source,
        probability=ending.probability,
        records=ending.records,
        mark=end_mark(tokenizer).text,
        chat=chat_template(tokenizer) is not None,
        dated=_is_dated(tokenizer, rendering),
        verbatim=verbatim,
    )
    for split, count in verbatim.items():
        run.events.append(
            "warning",
            text=f"The chat template leaves out a part of the answers of {count} {split} records (such as thoughts). "
            "These answers are read and trained whole, after what the template writes before an answer.",
        )


def rendering_facts(run: RunFolder) -> dict[str, Any]:
    """What ``record.json`` says of how records were written."""
    found = [event.data for event in read_events(run.events_path) if event.kind == KIND]
    given = run.config.get("rendering", {"template": DEFAULT.template, "thinking": None, "date": DEFAULT.date})
    facts = {name: value for name, value in given.items() if name != "texts"}
    if "texts" in given:  # a digest with the run's key: a system prompt could be guessed from a plain one
        facts["texts"] = DataKey.load_or_create(run.root).hmac(given["texts"])
    return {**facts, **(found[-1] if found else {})}


def check_written(source: str, rendering: Rendering, splits: Mapping[str, Sequence[Record]]) -> None:
    """Refuses records that the template of a model cannot write, and a rendering that does not fit or changes nothing.

    Raises:
        InputError: see above; or the tokenizer cannot be read.
    """
    tokenizer = load_tokenizer(local_folder(source), rendering)
    records = [*chain.from_iterable(splits.values())]
    asking = [record for record in records if record.kind in ("qa", "messages")]
    for record in asking:
        if record.kind == "messages" or chat_template(tokenizer):
            render(record, tokenizer)
    if rendering.system and not asking:
        raise InputError(
            "--system: no record has a question or a conversation, so no system prompt would be written. Leave it out, "
            "or write it into the prompts."
        )
    _check_system(rendering.system, splits)
    if rendering.thinking is not None and not (asking and _reads_thinking(tokenizer, rendering)):
        raise InputError(
            "--thinking: no chat template that knows of thinking writes these records, so the flag changes nothing. "
            "Leave it out."
        )


def read_otherwise(original: str, other: str, rendering: Rendering) -> str | None:
    """Returns in which respect a model reads records otherwise than the original; None if it reads them alike."""
    first, second = (load_tokenizer(local_folder(source), rendering) for source in (original, other))
    found = []
    if first.get_vocab() != second.get_vocab():
        found.append("vocabulary")
    if chat_template(first) != chat_template(second):
        found.append("chat template")
    return " and ".join(found) or None


def _check_system(system: str, splits: Mapping[str, Sequence[Record]]) -> None:
    """Refuses a system prompt with answers that are to be forgotten: the run folder keeps the system prompt."""
    told = [
        record.index
        for record in splits.get("forget", ())
        if len(record.answer) >= LONG and record.answer.reveal().strip() in system
    ]
    if told:
        raise InputError(
            f"--system: the system prompt contains the answers of {len(told)} forget records, and the run folder keeps "
            "the system prompt. Was a file of records passed? Pass the text of the system prompt, or a file with it."
        )


def _reads_thinking(tokenizer: Any, rendering: Rendering) -> bool:
    if not chat_template(tokenizer):
        return False
    turns = [{"role": "user", "content": "?"}]
    on, off = (
        write_turns(tokenizer, turns, generation=True, rendering=replace(rendering, thinking=thinking))
        for thinking in (True, False)
    )
    return on != off


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
