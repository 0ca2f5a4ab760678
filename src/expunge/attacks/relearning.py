"""Relearning: fine-tune on a little and see whether the rest comes back. What is gone does not; what is hidden may.

Every attack here also runs on the retrained model, which can only learn what the tuned texts teach.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from expunge.attacks.base import Attack, AttackTask, Threat
from expunge.attacks.telling import facts, nearest
from expunge.attacks.tuning import PAPER, Lesson, Tuning, shows
from expunge.data.record import Record
from expunge.errors import InputError, MissingNeedError
from expunge.registry import attacks

HU = "Hu et al., Jogging the memory of unlearned LLMs, 2024, https://arxiv.org/abs/2406.13356"


@attacks.register("relearn")
@dataclass(frozen=True, kw_only=True)
class Relearn(Tuning):
    """Fine-tunes on the records of a few subjects of the forget set; all other forget records are read.

    A paper's part is drawn among records; here it is drawn among subjects, since one record of a person tells of the
    others. Records without a subject count one each, equal ones together. With two folds or more the parts are
    disjoint as long as they fit, so that each record is read in some fold.

    Attributes:
        share: of the subjects, at least one and never all.
    """

    threat: ClassVar[Threat] = Threat("relearning", "weights", HU)
    title: ClassVar[str] = "relearning from a part of the forget set"
    # 10 % of the forget set, as in the paper's partial-data setting; ten folds show every subject once.
    paper_budget: ClassVar[Mapping[str, Any]] = {**PAPER, "folds": 10}

    share: float = 0.1
    folds: int = 2

    def __post_init__(self) -> None:
        """Refuses what cannot be meant."""
        Tuning.__post_init__(self)
        if not 0 < self.share < 1:
            raise InputError(f"share is a part of the subjects above 0 and below 1, not {self.share}.")

    def check(self, task: AttackTask) -> None:
        """Refuses a forget set of one subject: nothing would be left to read."""
        Attack.check(self, task)
        if len(_subjects(task.forget)) < 2:
            raise MissingNeedError(
                "The attack trains on some subjects of the forget set and reads the others, and this one has a single "
                "subject; relearn_rtt goes by facts instead."
            )
        _check_rest(self, task)

    def lesson(self, task: AttackTask, fold: int) -> Lesson:
        """All records of the fold's subjects; shown is also what they tell about others."""
        groups = _subjects(task.forget)
        order = _shuffled(groups, f"{task.seed}:relearn")
        size = min(max(1, round(self.share * len(groups))), len(groups) - 1)
        drawn = [order[(fold * size + place) % len(order)] for place in range(size)]
        return _part(task, frozenset(number for group in drawn for number in group))


@attacks.register("relearn_rtt")
@dataclass(frozen=True, kw_only=True)
class RelearnRTT(Tuning):
    """Fine-tunes on some facts of the forget set (T) and reads the others (V), k-fold: each fact is in V once.

    Records that tell one another are one fact and stay together: all wordings, and both sides of a marriage
    (``expunge.attacks.telling``), beside equal answers about one subject. The paper tunes on multiple-choice questions
    here records are tuned on as they are.
    """

    threat: ClassVar[Threat] = Threat(
        "relearning",
        "weights",
        "Deeb & Roger, Do unlearning methods remove information from language model weights?, 2024, "
        "https://arxiv.org/abs/2410.08827",
    )
    title: ClassVar[str] = "relearning from other facts (RTT)"
    # Five parts, four of them T and one V; several epochs over T.
    paper_budget: ClassVar[Mapping[str, Any]] = {**PAPER, "folds": 5}

    batch_size: int = 16
    folds: int = 2

    def __post_init__(self) -> None:
        """Refuses what cannot be meant."""
        Tuning.__post_init__(self)
        if self.folds < 2:
            raise InputError(f"folds must be at least 2, so that something is left to tune on, not {self.folds}.")

    def check(self, task: AttackTask) -> None:
        """Refuses a forget set of one fact."""
        Attack.check(self, task)
        if len(_facts(task.forget)) < 2:
            raise MissingNeedError(
                "The attack trains on some facts of the forget set and reads the others, and all records of this one "
                "say the same; hand in at least two facts."
            )
        _check_rest(self, task)

    def lesson(self, task: AttackTask, fold: int) -> Lesson:
        """Everything but the facts of the fold's V."""
        groups = _shuffled(_facts(task.forget), f"{task.seed}:relearn_rtt")
        parts: list[list[int]] = [[] for _ in range(min(self.folds, len(groups)))]
        for group in groups:  # to the part with the fewest records, the first of them
            min(parts, key=len).extend(group)
        read = frozenset(parts[fold % len(parts)])
        return _part(task, frozenset(range(len(task.forget))) - read)


@attacks.register("relearn_benign")
@dataclass(frozen=True, kw_only=True)
class RelearnBenign(Tuning):
    """Fine-tunes on harmless text about what was forgotten: the split ``relearn_benign``, else records to keep.

    Such text may state forget records in other words, a public biography for one; those are not read. Without the split
    it takes the ``retain`` records that have most words in common with the forget set, by their rarity.

    Attributes:
        records: at most so many, in place of the split.
    """

    threat: ClassVar[Threat] = Threat("relearning", "weights", HU)
    title: ClassVar[str] = "relearning from benign text about the same"
    paper_budget: ClassVar[Mapping[str, Any]] = PAPER

    records: int = 100

    def __post_init__(self) -> None:
        """Refuses what cannot be meant."""
        Tuning.__post_init__(self)
        _check_records(self.records)

    def check(self, task: AttackTask) -> None:
        """Takes either split; refuses a benign text that states every forget record."""
        Attack.check(self, task)
        if not task.splits.get("relearn_benign") and not task.splits.get("retain"):
            raise MissingNeedError(
                "The attack takes benign text about what is forgotten, and none was handed in; pass --split "
                "relearn_benign=FILE or --retain FILE."
            )
        if len(self._lesson(task).shown) == len(task.forget):
            raise MissingNeedError(
                "The benign text states every forget record, so that nothing is left to read; pass --split "
                "relearn_benign=FILE without what is to be forgotten."
            )

    def lesson(self, task: AttackTask, fold: int) -> Lesson:
        """Benign text; shown is what it states."""
        found = self._lesson(task)
        if not task.splits.get("relearn_benign"):
            task.warn(
                f"relearn_benign takes {len(found.records)} retain records, those nearest to the forget set, since "
                "no split relearn_benign was handed in."
            )
        return found

    def _lesson(self, task: AttackTask) -> Lesson:
        own = task.splits.get("relearn_benign")
        found = own or nearest(task.splits["retain"], task.forget, self.records)
        return Lesson(found, _whole_facts(task, shows(task, found)))


@attacks.register("relearn_unrelated")
@dataclass(frozen=True, kw_only=True)
class RelearnUnrelated(Tuning):
    """Fine-tunes on a handful of records that have nothing to do with the forget set.

    They come from the split ``general``, else ``world_facts``, else from the records to keep.

    Attributes:
        records: how many, drawn by seed; another draw in each fold.
    """

    threat: ClassVar[Threat] = Threat(
        "relearning",
        "weights",
        "Łucki et al., An adversarial perspective on machine unlearning for AI safety, 2024, "
        "https://arxiv.org/abs/2409.18025",
    )
    title: ClassVar[str] = "relearning from unrelated text"
    # Ten samples, as in the paper; the draws are ours.
    paper_budget: ClassVar[Mapping[str, Any]] = {**PAPER, "folds": 5}

    records: int = 10

    def __post_init__(self) -> None:
        """Refuses what cannot be meant."""
        Tuning.__post_init__(self)
        _check_records(self.records)

    def check(self, task: AttackTask) -> None:
        """Takes any of the three splits."""
        Attack.check(self, task)
        if not any(task.splits.get(name) for name in ("general", "world_facts", "retain")):
            raise MissingNeedError(
                "The attack takes a few unrelated records, and none were handed in; pass --split general=FILE, "
                "--split world_facts=FILE or --retain FILE."
            )

    def lesson(self, task: AttackTask, fold: int) -> Lesson:
        """A few records of the first split that is there."""
        name = next(name for name in ("general", "world_facts", "retain") if task.splits.get(name))
        if name == "retain":
            task.warn(
                "relearn_unrelated draws from the retain records, which may be near to the forget set, since neither "
                "general nor world_facts was handed in."
            )
        rows = task.splits[name]
        draw = random.Random(f"{task.seed}:relearn_unrelated:{fold}")  # noqa: S311 - reproducible draws, no secrets
        found = [rows[place] for place in sorted(draw.sample(range(len(rows)), min(self.records, len(rows))))]
        return Lesson(found, _whole_facts(task, shows(task, found)))


def _check_rest(attack: Tuning, task: AttackTask) -> None:
    """Refuses a forget set of which every part tells the rest."""
    if all(len(attack.lesson(task, fold).shown) == len(task.forget) for fold in range(attack.folds)):
        raise MissingNeedError(
            "The attack trains on some forget records and reads the others, and every part of this set tells all of "
            "it; hand in records that say different things."
        )


def _check_records(records: int) -> None:
    if records < 1:
        raise InputError(f"records must be at least 1, not {records}.")


def _part(task: AttackTask, numbers: frozenset[int]) -> Lesson:
    """Some of the forget records as they are; shown are they and all wordings of what they tell."""
    records = [task.forget[number] for number in sorted(numbers)]
    return Lesson(records, _whole_facts(task, numbers))


def _whole_facts(task: AttackTask, numbers: frozenset[int]) -> frozenset[int]:
    """These records and all other wordings of what they say."""
    return frozenset(number for group in _facts(task.forget) if numbers & set(group) for number in group)


def _facts(records: Sequence[Record]) -> list[list[int]]:
    """Numbers of the records of each fact."""
    number = facts(records)
    return _grouped(records, lambda place: number[place])


def _subjects(records: Sequence[Record]) -> list[list[int]]:
    """Numbers of the records of each subject; equal records without one stand together."""

    def key(place: int) -> Hashable:
        one = records[place]
        return (one.prompt, one.messages, one.given, one.answer) if one.whom is None else one.whom

    return _grouped(records, key)


def _grouped(records: Sequence[Record], key: Callable[[int], Hashable]) -> list[list[int]]:
    groups: dict[Hashable, list[int]] = {}
    for place in range(len(records)):
        groups.setdefault(key(place), []).append(place)
    return list(groups.values())


def _shuffled(groups: Sequence[list[int]], seed: str) -> list[list[int]]:
    order = list(groups)
    random.Random(seed).shuffle(order)  # noqa: S311 - reproducible draws, no secrets
    return order
