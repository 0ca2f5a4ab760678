"""What a person should know about a prepared data set, in plain sentences made of its numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from expunge.data.partition import RETAIN
from expunge.evaluation.reduce import MIN_SUBJECTS

_HELD = {
    "exact": "equal a forget record",
    "near": "nearly equal a forget record",
    "subject": "have the subject of a forget record",
    "name": "name a forget subject",
    "match": "hold a phrase that was to be matched",
    "quote": "quote a forget record",
    "value": "hold an e-mail address, phone number or id of a forget record",
}
_NOTICED = {
    "mojibake": "look like text decoded with the wrong encoding",
    "replacement_characters": "hold replacement characters, so that letters are lost",
    "html_entities": "hold HTML entities, such as an ampersand written as a code",
}
LARGE_SHARE = 0.2  # of the data; a rule that moves more is worth a look


def advice(manifest: Mapping[str, Any]) -> list[str]:
    """Returns sentences for what is unusual in a manifest without its files; counts only."""
    return [*_inputs(manifest), *_lost(manifest["forget"]), *_forget(manifest), *_splits(manifest)]


def percent(count: int, total: int) -> str:
    """A share in words: ``12 %``, ``less than 1 %``."""
    share = 100 * count / total
    return "less than 1 %" if 0 < share < 1 else f"{share:.0f} %"


def _inputs(manifest: Mapping[str, Any]) -> Iterator[str]:
    rejected = sum(len(one.get("rejected", ())) for one in manifest["inputs"].values())
    if rejected:
        yield f"{_lines(rejected)} rejected; manifest.json has their numbers and reasons."
    total = sum(one["records"] for role, one in manifest["inputs"].items() if role.startswith("data"))
    for kind, text in _NOTICED.items():
        count = manifest["cleaning"]["noticed"][kind]
        if count:
            yield f"{_records(count)} of the data {text}; nothing was changed there."
    moved = manifest["excluded"]["records"]
    if moved > LARGE_SHARE * total:
        yield f"{percent(moved, total)} of the data was excluded; look through excluded.jsonl."
    common = manifest["excluded"]["common_passages"]
    if common:
        yield f"{common} passages of forget records stand in many records and were taken for common wording."


def _forget(manifest: Mapping[str, Any]) -> Iterator[str]:
    if "forget" not in manifest["splits"]:
        return
    held, names = manifest["excluded"]["holds_for"], manifest["names"]
    if "forget" in manifest["inputs"] and not held["exact"] + held["near"]:
        yield "No record of the data equals a forget record, even nearly; was the model trained on other data?"
    if names["single_word"]:
        yield f"{names['single_word']} of the names are a single word; every record with this word was excluded."
    if names["not_searched"]:
        yield f"{names['not_searched']} forget subjects are numbers or one character and were not looked for in texts."
    if not names["searched"] and not names["not_searched"]:
        yield "No forget record has a subject and no names were given: mentions in other words are not found."
    if manifest["splits"]["forget"]["records"] > manifest["splits"][RETAIN]["records"]:
        yield "There are more forget than retain records."


def _lost(forget: Mapping[str, Any]) -> Iterator[str]:
    if empty := forget["lost"]["empty"]:
        yield f"Left out of the forget set: {_records(empty)} without visible text; look through dropped.jsonl."
    if exact := forget["lost"]["exact"]:
        yield f"Left out of the forget set: {_records(exact)} equal to another; look through duplicates.jsonl."
    if outside := forget["outside_length"]:
        yield f"Kept in the forget set: {_records(outside)} outside the token limits, which hold for other sets only."


def _splits(manifest: Mapping[str, Any]) -> Iterator[str]:
    for name, split in manifest["splits"].items():
        for rule, count in manifest["overlap"].get(name, {}).get("forget", {}).items():
            if count:
                yield f"{percent(count, split['records'])} of {name} records {_HELD[rule]}."
        elsewhere = manifest["overlap"].get(name, {}).get("named_in_retain", 0)
        if elsewhere:
            yield f"{_records(elsewhere)} of the retain set name a subject of the {name} set."
        clusters = split["subjects"] + split["without_subject"]
        if name != RETAIN and clusters < MIN_SUBJECTS:
            what = "subjects" if split["subjects"] else "records"
            yield f"The {name} set has fewer than {MIN_SUBJECTS} {what}: no interval will be printed."
    kept = [split for name, split in manifest["splits"].items() if name != "forget"]
    if not any(split["subjects"] for split in kept):
        yield "No record that stays has a subject: splits and intervals take each record for a person of its own."


def _lines(count: int) -> str:
    return "1 line was" if count == 1 else f"{count} lines were"


def _records(count: int) -> str:
    return "1 record" if count == 1 else f"{count} records"
