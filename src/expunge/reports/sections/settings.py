"""Settings and digests of a run, named as a reader says them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from expunge.reports.record import RunRecord
from expunge.reports.words import model, setting, words

Pairs = list[tuple[str, str]]
TEMPLATES = {"own": "the chat template of the tokenizer, or plain", "chat": "the chat template", "file": "from a file"}
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
        ("How records are written", _rendering(record.rendering)),
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


def _rendering(facts: Mapping[str, Any]) -> Pairs:
    if not facts:
        return []
    found = [("template", _template(facts))]
    if facts.get("has_system"):
        found.append(("system prompt", "given"))
    if facts["thinking"] is not None:
        found.append(("thinking", "on" if facts["thinking"] else "off"))
    if facts.get("dated"):
        found.append(("date in the template", facts["date"]))
    if "source" in facts:
        found.append(("end of an answer", _end(facts)))
    verbatim = [f"{split} {count}" for split, count in facts.get("verbatim", {}).items()]
    return [*found, ("answers that the template would shorten", ", ".join(verbatim))] if verbatim else found


def _template(facts: Mapping[str, Any]) -> str:
    """What writes a question; a tokenizer's own choice in words, as far as a model was read."""
    if facts["template"] == "own" and "chat" in facts:
        return (
            "the tokenizer's chat template" if facts["chat"] else "plain questions; the tokenizer has no chat template"
        )
    name = str(facts["template"])
    return TEMPLATES.get(name, name)


def _end(facts: Mapping[str, Any]) -> str:
    """What ends an answer, and how that is known."""
    mark = facts["mark"]
    if facts["source"] == "template":
        return f"{mark}, written by the template" if mark else "none; every record is plain text"
    if facts["source"] == "tokenizer":
        return "the end token of the tokenizer; no record was short enough to see what the original expects"
    token = facts["end"] or "none"
    if facts["probability"] is None:
        return "none; the model has no end token"
    seen = f"mean probability {facts['probability']:.2f} after {facts['records']} answers"
    known = f"the original expects it ({seen})" if facts["end"] else f"the original expects no end token ({seen})"
    return f"{token}; {known}"


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
