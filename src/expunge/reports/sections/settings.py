"""Settings and digests of a run, named as a reader says them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from expunge.reports.record import RunRecord
from expunge.reports.words import model, setting, words

Pairs = list[tuple[str, str]]
_FACTS = ("guarantee", "artefact", "reversible", "access", "paper")


def groups(record: RunRecord) -> list[tuple[str, Pairs]]:
    """Returns names and values in groups; a group without any is left out."""
    method = record.method
    facts = [("name", method["name"]), *((name, method[name]) for name in _FACTS if method[name] not in ("", None))]
    found = [
        ("Model", _model(record)),
        ("Method", _pairs(dict(facts)) + _pairs(method["settings"]) + _loading(record)),
        ("Parts of the loss and the weights trained", _pairs(record.axes)),
        ("Training", _pairs({**record.training, **record.adapted.get("reasons", {})})),
        ("Thresholds of the verdict", _pairs(record.thresholds)),
        ("Environment", [("Expunge", record.expunge), *_pairs(record.environment)]),
    ]
    return [(name, pairs) for name, pairs in found if pairs]


def _pairs(values: Mapping[str, Any]) -> Pairs:
    return [(words(name), setting(value)) for name, value in values.items()]


def _loading(record: RunRecord) -> Pairs:
    if record.result:
        return [("loads with", f'transformers, from_pretrained("{record.result["folder"]}")')]
    return [("loads with", "expunge.load")] if record.method["reversible"] else []


def _model(record: RunRecord) -> Pairs:
    facts = record.model
    read = [("parameters", facts["parameters"], ","), ("number format", facts["dtype"], "")]
    asked = [("asked at", facts["endpoint"])] if facts.get("endpoint") else []
    return [("name", facts["name"]), *((name, format(value, spec)) for name, value, spec in read if value), *asked]


def digests(record: RunRecord) -> Pairs:
    """Returns the digests of the models that were read, of the model that was made, the tokenizer and the code.

    The weights that a run saved have a digest of their own beside that of the folder they stand in.
    """
    roles = {name: digest for name, digest in record.digests.items() if name not in ("code", "tokenizer")}
    found = [(f"{model(role)} model", digest) for role, digest in roles.items()]
    if "original" not in roles and record.access == "weights":
        found.insert(0, ("original model", record.model["digest"]))
    if record.result and record.result["digest"] not in roles.values():
        found.append(("unlearned weights", record.result["digest"]))
    others = [(name, record.digests[name]) for name in ("tokenizer", "code") if name in record.digests]
    return [*found, *others]
