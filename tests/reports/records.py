"""Records as plain data, small enough to check by hand, and pages taken apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Any

EVIL = '<script>alert("x")</script>\'"&{{ 7 * 7 }}</svg></title>'
STRENGTH = "extraction_strength(split=forget, form=trained)"
PARAPHRASED = "probability(split=forget, form=paraphrased_answer, normalised=False)"
ACCURACY = "exact_memorisation(split=retain, form=trained)"
LOSS = "mia_loss(split=forget, against=holdout)"
QUALITY = "forget_quality(split=forget, form=paraphrased_answer)"
RATIO = "truth_ratio(split=forget, form=paraphrased_answer)"
ROUGE = "rouge(split=forget, form=trained)"
SPOKEN = (("refusal_rate", "forget"), ("over_refusal", "retain"))
ROLES = ["original", "retrained", "unlearned"]
Plain = dict[str, Any]


def score(label: str, role: str, value: float | None, low: Any = None, high: Any = None, **details: Any) -> Plain:
    return {
        "label": label,
        "role": role,
        "value": value,
        "low": low,
        "high": high,
        "n": 12,
        "records": 48,
        "unit": "fraction, 0 to 1",
        "direction": "closer",
        "details": details,
    }


def gap(label: str, role: str, value: float, low: Any = None, high: Any = None) -> Plain:
    return {"label": label, "role": role, "value": value, "low": low, "high": high, "n": 12}


def sample(label: str, role: str, split: str, values: list[float]) -> Plain:
    return {"label": label, "role": role, "split": split, "records": len(values), "values": values}


def empty(text: str = "npo") -> Plain:
    """A record in which nothing was measured."""
    return {
        "schema_version": 1,
        "expunge": "0.1",
        "finished": "2026-01-01T00:00:00+00:00",
        "model": {"name": text, "digest": "ab", "dtype": "float32", "parameters": 1234567},
        "method": {
            "name": text,
            "guarantee": "approximate",
            "artefact": "weights",
            "reversible": False,
            "access": "weights",
            "paper": text,
            "settings": {"beta": 0.1, "note_of_user": text},
        },
        "axes": {"retain_term": {"name": "nll", "settings": {"top_k": 3}}, "forget_weight": 1.0, "stopper": None},
        "training": {"learning_rate": 1e-05},
        "data": {"forget": {"records": 48, "subjects": 12, "hmac": "cd"}},
        "run": {"steps": 2, "reason": text, "seconds": 1.5, "curves": []},
        "result": {"digest": "ef", "folder": "model"},
        "columns": [],
        "scores": [],
        "gaps": [],
        "omitted": [],
        "verdict": {"word": "not verifiable", "reasons": [text]},
        "thresholds": {"margin": 0.05, "utility": 0.95, "damage": 0.9, "recovery": 0.1},
        "limits": [text],
        "environment": {"python": text},
    }


def full(text: str = "npo") -> Plain:
    """A record with something for every section."""
    neighbours = [f"exact_memorisation(split=neighbours_{place}, form=trained)" for place in ("1", "2", "far")]
    return {
        **empty(text),
        "columns": list(ROLES),
        "digests": {"code": "c0de", "tokenizer": "70c3", "original": "ab", "retrained": "ae", "unlearned": "ad"},
        "scores": [
            *_row(STRENGTH, (0.98765, 0.9, 1.0), (0.11, 0.05, 0.2), (0.1234, 0.08, 0.19)),
            *_row(PARAPHRASED, (0.7,), (0.2,), (0.5,)),
            *_row(ACCURACY, (0.8, 0.7, 0.9), (0.8, 0.7, 0.9), (0.76, 0.6, 0.84)),
            *_row(LOSS, (0.9375, 0.8, 1.0), (0.5,), (math.nan,)),
            score(QUALITY, "unlearned", 1.8e-21, D=0.3967, p_value=1.8e-21),
            *_row(RATIO, (0.2,), (0.6,), (0.5,)),
            *_row(neighbours[0], (0.8,), (0.8,), (0.4,)),
            *_row(neighbours[1], (0.8,), (0.8,), (0.6,)),
            *_row(neighbours[2], (0.8,), (0.8,), (0.8,)),
        ],
        "gaps": [
            gap(STRENGTH, "original", 0.87765, 0.8, 0.9),
            gap(STRENGTH, "unlearned", 0.0134, -0.04, 0.045),
            gap(PARAPHRASED, "unlearned", 0.3, 0.1, 0.5),
            gap(LOSS, "unlearned", math.nan),
        ],
        "omitted": [{"label": "x", "role": "original", "reason": text}],
        "run": {
            "steps": 2,
            "reason": text,
            "seconds": 1.5,
            "curves": [
                {"step": 1, "terms": {"forget": 2.0, "retain_kl": 0.5}},
                {"step": 2, "terms": {"forget": math.nan, "retain_kl": 0.25}},
            ],
        },
        "verdict": {"word": "partly removed", "reasons": [f"{STRENGTH} is 0.12.", text]},
        "distributions": [
            *(sample(RATIO, role, "forget", [0.1 * place, 0.2 * place]) for place, role in enumerate(ROLES, start=1)),
            *_membership("original", [-0.1, -0.2, -0.3, -3.0], [-2.0, -2.5, -3.5, -4.0]),
            *_membership("unlearned", [-1.0, -2.0, -3.0, -4.0], [-1.5, -2.0, -3.5, -4.5]),
        ],
        "forms": {
            "tested": ["trained", "paraphrased_answer"],
            "untested": [
                {"form": "second_language", "reason": "the records have none"},
                {"form": "cloze", "reason": text},
            ],
        },
    }  # fmt: skip


def audited(text: str = "npo") -> Plain:
    """A record with everything that later records have: named findings, what decided, a baseline, weights, rows."""
    plain = full(text)
    refusal, over = (f"{name}(split={split}, form=trained)" for name, split in SPOKEN)
    roles = [*ROLES, "guardrail"]
    found = {"name": text, "sentence": f"{STRENGTH} is 0.12 in {text}.", "bars": True}
    distance = {"value": 0.0134, "low": -0.04, "high": 0.045, "p": 0.25, "detectable": 0.0607}
    return {
        **plain,
        "columns": roles,
        "scores": [
            *plain["scores"],
            *_row(ROUGE, (1.0,), (0.5,), (0.3,), (0.0,), roles=roles),
            *_row(ROUGE.replace("forget", "retain"), (1.0,), (1.0,), (0.9,), (1.0,), roles=roles, direction="higher"),
            *_row(refusal, (0.0,), (0.0,), (0.0,), (1.0,), roles=roles),
            *_row(over, (0.0,), (0.0,), (0.02,), (0.0,), roles=roles, direction="lower"),
        ],
        "verdict": {
            "word": "partly removed",
            "reasons": [f"{PARAPHRASED} is 0.50, versus 0.20 for the retrained model.", found["sentence"]],
            "findings": [found],
            "measures": [
                {"label": STRENGTH, "standing": "inside", "distance": distance},
                {"label": LOSS, "standing": "undecided", "distance": None},
            ],
        },
        "omitted": [
            *(
                {"label": label, "role": "guardrail", "reason": f"hidden by {text}"}
                for label in (STRENGTH, PARAPHRASED)
            ),
            *({"label": RATIO, "role": role, "reason": "the forget records have no decoy_word"} for role in ROLES),
        ],
        "policy": {"accept": ["removed", "not known", text], "met": False},
        "changes": {
            "share": 0.25,
            "parts": [
                {"part": "embeddings", "weights": 100, "changed": 0, "relative": 0.0},
                {"part": "0", "weights": 100, "changed": 25, "relative": 0.5},
                {"part": "1", "weights": 100, "changed": 75, "relative": 1.5},
                {"part": text, "weights": 100, "changed": 0, "relative": 0.0},
            ],
        },
        "rows": [
            {"name": text, "labels": [STRENGTH, ROUGE], "absent": ""},
            {"name": "jailbreak prompts", "labels": [], "absent": f"takes an attack of {text}"},
            {"name": "downstream tasks", "labels": ["multiple_choice(split=forget)"], "absent": ""},
        ],
    }


def _row(
    label: str, *values: tuple[Any, ...], roles: Sequence[str] = tuple(ROLES), direction: str = "closer"
) -> list[Plain]:
    found = [score(label, role, *bounds) for role, bounds in zip(roles, values, strict=True)]
    return [{**one, "direction": direction} for one in found]


def _membership(role: str, forget: list[float], holdout: list[float]) -> list[Plain]:
    return [sample(LOSS, role, "forget", forget), sample(LOSS, role, "holdout", holdout)]


def without(plain: Plain, role: str) -> Plain:
    """A record of an audit that did not read one of the models."""
    kept = {
        name: [item for item in plain[name] if item["role"] != role] for name in ("scores", "gaps", "distributions")
    }
    if role == "retrained":
        kept["gaps"] = []
    return {**plain, **kept, "columns": [name for name in plain["columns"] if name != role]}


class Page(HTMLParser):
    """Tags with their attributes, tables as rows of cells, and all text outside of style sheets."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[str]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(html)

    @property
    def text(self) -> str:
        return " ".join(self.texts)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "br"):
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not data.strip() or "style" in self._open:
            return
        self.texts.append(data.strip())
        if {"td", "th"} & set(self._open):
            row = self.tables[-1][-1]
            row[-1] = f"{row[-1]} {data.strip()}".strip()
