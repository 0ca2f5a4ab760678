"""Linear probes: whether an attribute can still be read off the hidden states of a question about it.

As a test of unlearning: Lynch et al., Eight Methods to Evaluate Robust Unlearning in LLMs, 2024,
https://arxiv.org/abs/2402.16835. Control: Hewitt and Liang, 2019, https://arxiv.org/abs/1909.03368.

Shapes: N records, C classes, D width, P penalties.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch

from expunge.attacks.base import AttackTask, Probe, ProbeAttack, Threat
from expunge.attacks.inside import ALL, SPREAD, Scored, batches, encode_scored, first_place, wording
from expunge.data.batch import Example
from expunge.data.forms.value import question_of, value_of
from expunge.data.record import Record
from expunge.errors import InputError, MissingNeedError
from expunge.functional.ridge import RidgePath
from expunge.metrics.base import Floats
from expunge.models.load import LoadedModel
from expunge.models.modes import evaluating
from expunge.models.modules import resolve_layers
from expunge.models.reading import read
from expunge.registry import attacks

FEWEST = 10  # forget records with a class; fewer say nothing
HELD_OUT = 5  # every fifth retain subject chooses layer and penalty
CHOSEN = "chosen layer"


class Labelled(NamedTuple):
    """What of a record a probe works with; hashes in place of texts, made and dropped in one process.

    Attributes:
        subject: whom it is about.
        asked: its question without the subject's name, the same for all who are asked alike.
        answer: what is to be read; empty where there is nothing.
    """

    subject: str
    asked: str
    answer: str


class _Asked(NamedTuple):
    """A tokenised record and the place of the first token that counts."""

    example: Example
    place: int | None


class Found(NamedTuple):
    """Of one layer: share right on held-out retain subjects, whether each forget record is, and with other labels."""

    chosen_by: float
    right_N: Floats
    control_N: Floats


@attacks.register("linear_probe")
@dataclass(frozen=True, kw_only=True)
class LinearProbe(ProbeAttack):
    """Reads an answer off hidden states, by a linear classifier that has learnt it from retain records.

    Classes are answers that several retain subjects share; forget records with another one have no number, nor those
    whose question all retain subjects answer alike. A record is represented by the state that the first token of its
    answer is predicted from. Ridge regression on one-hot classes; its penalty, and the layer that decides, are those
    best on every fifth retain subject, so that no result on a forget record chooses anything.

    The control (details) learns from answers permuted among the retain records that are asked alike: what it gets
    right on forget records is chance and frequency. Selectivity is the difference.

    Departure from the papers: they probe for attributes of few values, which is ``classes="value"``. Where values are
    many and hardly two subjects share one, their first tokens are shared still.

    Attributes:
        classes: ``first_token`` of the answer, or its whole ``value``.
        layers: which ones, see ``resolve_layers``.
        least: retain subjects that a class takes.
        penalties: those that are tried, relative to the variance of a feature.
        scored: ``value``, the fact in the answer; ``answer``, all of it, and the state at the end of the prompt.
    """

    threat: ClassVar[Threat] = Threat(
        "latent", "weights", "Lynch et al., 2024, https://arxiv.org/abs/2402.16835", splits=("retain",)
    )
    title: ClassVar[str] = "linear probe"
    axis: ClassVar[str] = "layer"
    unit: ClassVar[str] = "share of records whose value is read right"
    paper_budget: ClassVar[Mapping[str, Any]] = {"layers": ALL}  # the paper probes each layer

    classes: Literal["first_token", "value"] = "first_token"
    layers: str = SPREAD
    least: int = 5
    penalties: tuple[float, ...] = (0.01, 0.1, 1.0, 10.0)
    scored: Scored = "value"

    def __post_init__(self) -> None:
        if self.classes not in ("first_token", "value") or self.scored not in ("value", "answer"):
            raise InputError(
                f"classes={self.classes}, scored={self.scored}: classes is first_token or value, scored value or "
                "answer."
            )
        if self.least < 2 or not self.penalties or min(self.penalties) <= 0:
            raise InputError(f"least={self.least}, penalties={self.penalties}: at least 2, and all above 0.")

    def count(self, task: AttackTask) -> int:
        """Records that are read, of both sides."""
        return len(task.forget) + len(task.splits["retain"])

    def probe(self, loaded: LoadedModel, task: AttackTask) -> Probe:
        """Right (1) or wrong (0) of each layer, and of the layer that retain subjects choose.

        Raises:
            MissingNeedError: too few values are shared by retain subjects and forget records.
        """
        sides = {split: self._encoded(loaded, task, split) for split in ("retain", "forget")}
        parts = informative({split: self._labelled(loaded, task, split, side) for split, side in sides.items()})
        classes = shared_classes(parts["retain"], parts["forget"], self.least)
        control = permuted([one for one in parts["retain"] if one.answer in classes], task.seed)
        features = {split: self._features(loaded, task, side) for split, side in sides.items()}
        found: dict[int, Found] = {}
        for layer in features["retain"]:
            states = features["retain"][layer], features["forget"][layer]
            found[layer] = self._one_layer(states, parts, classes, control, task.seed)
        chosen = max(found, key=lambda layer: (found[layer].chosen_by, -layer))
        values = {f"layer {layer}": one.right_N for layer, one in found.items()}
        details = {"classes": float(len(classes)), "chosen_layer": float(chosen), **_details(found)}
        at = {f"layer {layer}": float(layer) for layer in found}
        return Probe({CHOSEN: found[chosen].right_N, **values}, CHOSEN, details, at)

    def _encoded(self, loaded: LoadedModel, task: AttackTask, split: str) -> list[_Asked]:
        examples = encode_scored(task.splits[split], loaded, task, self.scored)
        return [_Asked(example, first_place(example, loaded.tokenizer)) for example in examples]

    def _labelled(self, loaded: LoadedModel, task: AttackTask, split: str, side: Sequence[_Asked]) -> list[Labelled]:
        common = wording(task)
        found = []
        for record, (example, place) in zip(task.splits[split], side, strict=True):
            value = value_of(record, common) if self.scored == "value" else None
            answer = record.answer.reveal() if value is None else value
            if self.classes == "first_token" and place is not None:
                answer = str(example.input_ids[place])
            found.append(labelled(record, "" if place is None else answer))
        return found

    def _features(self, loaded: LoadedModel, task: AttackTask, side: Sequence[_Asked]) -> dict[int, torch.Tensor]:
        """For each layer (N, D): the states that first tokens are predicted from; zeros where there is none."""
        asked = [example for example, place in side if place is not None]
        layers = resolve_layers(loaded.model, self.layers)
        found: dict[int, torch.Tensor] = {}
        with torch.inference_mode(), evaluating(loaded.model):
            for batch in batches(asked, loaded, task, "linear_probe"):
                rows = batch.rows_B.tolist()
                at = torch.tensor([side[row].place or 0 for row in rows], device=batch.labels_BT.device)
                reading = read(loaded.model, batch, hidden_layers=layers, logits=False)
                for layer in layers:
                    part_BD = reading.hidden(layer)[torch.arange(len(at), device=at.device), at - 1].cpu().double()
                    # A broken model may give no numbers, and the decomposition takes nothing else.
                    part_BD = part_BD.nan_to_num(0.0, 0.0, 0.0)
                    found.setdefault(layer, part_BD.new_zeros(len(side), part_BD.shape[-1]))[rows] = part_BD
        return found

    def _one_layer(
        self,
        states: tuple[torch.Tensor, torch.Tensor],
        parts: Mapping[str, Sequence[Labelled]],
        classes: Mapping[str, int],
        control: Sequence[str],
        seed: int,
    ) -> Found:
        (retain_ND, forget_ND), retain = states, parts["retain"]
        kept = [row for row, one in enumerate(retain) if one.answer in classes]
        held_out_N = held_out([retain[row].subject for row in kept], seed)
        truth_N = torch.tensor([classes.get(one.answer, -1) for one in parts["forget"]])
        results = []
        for answers in ([retain[row].answer for row in kept], control):
            labels_N = torch.tensor([classes[answer] for answer in answers])
            shares_P = _shares(retain_ND[kept], labels_N, held_out_N, self.penalties, len(classes))
            best = int(np.argmax(shares_P))
            path = RidgePath.of(retain_ND[kept], labels_N, len(classes))
            right_N = (path.predict(forget_ND, self.penalties[best]) == truth_N).double()
            results.append((float(shares_P[best]), right_N.masked_fill(truth_N < 0, torch.nan).numpy()))
        return Found(results[0][0], results[0][1], results[1][1])


def labelled(record: Record, answer: str) -> Labelled:
    """Returns subject, question and answer of a record as hashes; spaces and case make no difference.

    Args:
        record: of any kind.
        answer: what is to be read; may be empty.
    """
    whom = f"record {record.index}" if record.whom is None else record.whom.reveal()
    about = whom if record.subject is None else record.subject.reveal()
    asked = (question_of(record) or "").replace(about, "")
    return Labelled(_hash(whom), _hash(asked), _hash(answer) if answer else "")


def informative(parts: Mapping[str, Sequence[Labelled]]) -> dict[str, list[Labelled]]:
    """Returns the records with empty answers where all of several retain subjects answer the same question alike."""
    subjects, answers = defaultdict(set), defaultdict(set)
    for one in parts["retain"]:
        subjects[one.asked].add(one.subject)
        answers[one.asked].add(one.answer)
    idle = {asked for asked in subjects if len(subjects[asked]) > 1 and len(answers[asked]) == 1}
    return {
        split: [one._replace(answer="") if one.asked in idle else one for one in found]
        for split, found in parts.items()
    }


def shared_classes(retain: Sequence[Labelled], forget: Sequence[Labelled], least: int) -> dict[str, int]:
    """Returns the answers that ``least`` retain subjects and a forget record have, numbered in order of appearance.

    Raises:
        MissingNeedError: fewer than two, or too few forget records that have them.
    """
    owners: dict[str, set[str]] = defaultdict(set)
    for one in retain:
        owners[one.answer].add(one.subject)
    wanted = {one.answer for one in forget} - {""}
    shared = [answer for answer, subjects in owners.items() if len(subjects) >= least and answer in wanted]
    tested = sum(one.answer in shared for one in forget)
    if len(shared) < 2 or tested < FEWEST:
        raise MissingNeedError(
            f"A probe learns from answers that {least} or more retain subjects and a forget record have, such as "
            f"cities or professions; it takes 2 of them and {FEWEST} forget records that have one, and here are "
            f"{len(shared)} and {tested}. Hand in more records, or set least lower."
        )
    return {answer: number for number, answer in enumerate(shared)}


def permuted(records: Sequence[Labelled], seed: int) -> list[str]:
    """Returns the answers, each moved by chance to a record with the same question.

    Records whose question nobody else is asked are permuted among themselves.
    """
    alike = Counter(one.asked for one in records)
    groups: dict[str, list[int]] = defaultdict(list)
    for row, one in enumerate(records):
        groups[one.asked if alike[one.asked] > 1 else ""].append(row)
    draw = random.Random(f"{seed}:linear_probe control")  # noqa: S311 - reproducible draws, no secrets
    found = [one.answer for one in records]
    for rows in groups.values():
        moved = draw.sample(rows, len(rows))
        for row, source in zip(rows, moved, strict=True):
            found[row] = records[source].answer
    return found


def held_out(subjects: Sequence[str], seed: int) -> torch.Tensor:
    """Returns True (N,) for the records of every fifth subject, in an order by chance."""
    order = list(dict.fromkeys(subjects))
    random.Random(f"{seed}:linear_probe subjects").shuffle(order)  # noqa: S311 - reproducible draws, no secrets
    out = set(order[::HELD_OUT])
    return torch.tensor([subject in out for subject in subjects])


def _shares(
    features_ND: torch.Tensor,
    labels_N: torch.Tensor,
    held_out_N: torch.Tensor,
    penalties: Sequence[float],
    classes: int,
) -> Floats:
    """Share right on held-out records (P,), learnt from the others."""
    path = RidgePath.of(features_ND[~held_out_N], labels_N[~held_out_N], classes)
    test_ND, truth_N = features_ND[held_out_N], labels_N[held_out_N]
    return np.array([float((path.predict(test_ND, one) == truth_N).double().mean()) for one in penalties])


def _details(found: Mapping[int, Found]) -> dict[str, float]:
    details: dict[str, float] = {}
    for layer, one in found.items():
        right, control = float(np.nanmean(one.right_N)), float(np.nanmean(one.control_N))
        details |= {f"accuracy_layer_{layer}": right, f"control_layer_{layer}": control}
        details |= {f"selectivity_layer_{layer}": right - control, f"retain_layer_{layer}": one.chosen_by}
    return details


def _hash(text: str) -> str:
    return blake2b(" ".join(text.casefold().split()).encode(), digest_size=16).hexdigest()
