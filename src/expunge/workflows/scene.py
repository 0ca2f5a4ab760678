"""What all attacks of one audit share: models, records, and what was found before, so that a stopped call goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from expunge.attacks.base import Attack, AttackTask, Budget, PromptAttack
from expunge.attacks.result import ORIGINAL, RETRAINED
from expunge.attacks.running import Outcome, limited, measures, plain, run_attack
from expunge.data.checks import own_digest
from expunge.data.record import Record
from expunge.errors import InputError
from expunge.evaluation.store import read_answer, write_answer
from expunge.evaluation.subjects import Policy, Subject
from expunge.metrics.base import Floats, is_of
from expunge.storage.digests import DataKey
from expunge.storage.progress import UNCOUNTED
from expunge.storage.run import RunFolder
from expunge.workflows.columns import Columns
from expunge.workflows.identity import code_digest
from expunge.workflows.inputs import reading_digests

SPOKEN = {"quick": 144, "paper": None}  # forget records that a model behind a filter is asked about, in each wording


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Models and records.

    Attributes:
        run: where numbers are kept.
        columns: the models of the audit.
        subjects: original, retrained and judged models by role.
        task: what every attack works with.
        budget: quick or paper.
        digests: HMAC of the records of each split.
    """

    run: RunFolder
    columns: Columns
    subjects: Mapping[str, Subject]
    task: AttackTask
    budget: Budget
    digests: Mapping[str, str]

    def task_for(self, policy: Policy | None) -> AttackTask:
        """The records that are asked about: replies take long, and a filter shows nothing else."""
        most = SPOKEN[self.budget] if policy is not None else None
        return self.task if most is None else limited(self.task, most)


def set_scene(
    run: RunFolder,
    splits: Mapping[str, Sequence[Record]],
    columns: Columns,
    budget: Budget,
    seed: int,
    max_length: int,
    stop_requested: Callable[[], bool],
) -> Scene:
    """Returns what the attacks of an audit work with.

    Raises:
        InputError: no weights may be read, or there is no original or no retrained model.
    """
    if columns.endpoint is not None or columns.access == "prompts":
        raise InputError(
            "Attacks act on weights or compare with models at hand, and only replies to prompts may be read here; "
            "leave out --attacks, or audit a model folder."
        )
    wanted = (ORIGINAL, RETRAINED, columns.judged, columns.spoken)
    found = [one.stopping(stop_requested) for one in columns.subjects()]
    subjects = {one.role: one for one in found if any(is_of(one.role, role) for role in wanted)}
    missing = [flag for role, flag in ((ORIGINAL, "--original"), (RETRAINED, "--retrained")) if role not in subjects]
    if missing:
        raise InputError(
            f"What an attack brings back is told by the original and by a model that never saw the records; pass "
            f"{' and '.join(missing)}."
        )
    task = AttackTask(
        splits=splits,
        max_length=max_length,
        seed=seed,
        original=subjects[ORIGINAL].loaded,
        retrained=subjects[RETRAINED].loaded,
        stop_requested=stop_requested,
        warn=partial(_warn, run),
    )
    return Scene(
        run=run, columns=columns, subjects=subjects, task=task, budget=budget, digests=split_digests(run, splits)
    )


def asked_hmac(run: RunFolder, attack: Attack, task: AttackTask) -> str:
    """HMAC of all that an attack on prompts asks: whatever its label says, the wordings decide. Empty for others."""
    if not isinstance(attack, PromptAttack):
        return ""
    return own_hmac(run, [one for records in attack.rewrite(task).values() for one in records if one is not None])


def outcomes(
    scene: Scene, attack: Attack, task: AttackTask, role: str, policy: Policy | None, asked: str, *, spoken: bool
) -> tuple[dict[str, Outcome], float]:
    """What one model shows under an attack, and the seconds it took; read back where an earlier call found it.

    Args:
        scene: models and records.
        attack: what to do.
        task: what it works with.
        role: the model.
        policy: the filter before this model, if there is one.
        asked: see ``asked_hmac``.
        spoken: whether replies are read, of all models alike.
    """
    key = _attack_key(scene, attack, task, role, asked, spoken=spoken)
    stored = read_answer(scene.run.scores, key)
    if stored is None:
        began = time.perf_counter()
        found = run_attack(attack, scene.subjects[role].loaded, task, policy, spoken=spoken)
        seconds = round(time.perf_counter() - began, 2)
        stored = {"seconds": seconds, "points": {point: _plain(outcome) for point, outcome in found.items()}}
        write_answer(scene.run.scores, key, stored)
    return {point: _outcome(one) for point, one in stored["points"].items()}, stored["seconds"]


def is_stored(scene: Scene, attack: Attack, task: AttackTask, role: str, asked: str, *, spoken: bool) -> bool:
    """Whether an earlier call found what one model shows under an attack."""
    key = _attack_key(scene, attack, task, role, asked, spoken=spoken)
    return read_answer(scene.run.scores, key) is not None


def _attack_key(
    scene: Scene, attack: Attack, task: AttackTask, role: str, asked: str, *, spoken: bool
) -> dict[str, Any]:
    return {**_key(scene, attack.label, task, role, spoken=spoken), "asked": asked}


def without_attack(
    scene: Scene, task: AttackTask, roles: Sequence[str], *, spoken: bool
) -> dict[str, dict[str, Floats]]:
    """What each model shows without an attack."""
    read = measures(spoken=spoken)
    label = f"none ({', '.join(one.label for one in read)})"
    keys = {role: _key(scene, label, task, role, spoken=spoken) for role in roles}
    stored = {role: read_answer(scene.run.scores, key) for role, key in keys.items()}
    missing = [role for role, answer in stored.items() if answer is None]
    with scene.run.phases.phase("read without an attack", len(missing)) if missing else nullcontext(UNCOUNTED) as steps:
        for role in missing:
            steps.describe(f"the {role} model")
            own = scene.subjects[role].policy if spoken else None
            values = plain(scene.subjects[role].loaded, task, read, own)
            stored[role] = {name: numbers.tolist() for name, numbers in values.items()}
            write_answer(scene.run.scores, keys[role], stored[role])
            steps.advance()
    return {
        role: {name: np.asarray(numbers, dtype=np.float64) for name, numbers in answer.items()}
        for role, answer in stored.items()
    }


def _key(scene: Scene, label: str, task: AttackTask, role: str, *, spoken: bool) -> dict[str, Any]:
    """Everything that decides the numbers: an attack may read the other models too."""
    return {
        "version": 2,
        "code": code_digest(),
        "attack": label,
        "subject": dict(sorted(scene.subjects[role].identity.items())),
        "original": scene.subjects[ORIGINAL].identity["weights"],
        "retrained": scene.subjects[RETRAINED].identity["weights"],
        "spoken": spoken,
        "records": dict(sorted(scene.digests.items())),
        "read": len(task.forget),
        "seed": task.seed,
        "max_length": task.max_length,
    }


def _plain(outcome: Outcome) -> dict[str, Any]:
    values = {name: numbers.tolist() for name, numbers in outcome.values.items()}
    return {**outcome._asdict(), "values": values, "details": dict(outcome.details)}


def _outcome(stored: Mapping[str, Any]) -> Outcome:
    values = {name: np.asarray(numbers, dtype=np.float64) for name, numbers in stored["values"].items()}
    return Outcome(**{**stored, "values": values})


def subjects_of(records: Sequence[Record]) -> list[object]:
    """Whom each record is about; a record without a subject, given or found, is its own."""
    return [place if record.whom is None else record.whom for place, record in enumerate(records)]


def split_digests(run: RunFolder, splits: Mapping[str, Sequence[Record]]) -> dict[str, str]:
    """HMAC of the records of each split."""
    return reading_digests(splits, DataKey.load_or_create(run.root))


def own_hmac(run: RunFolder, records: Sequence[Record]) -> str:
    """HMAC of records alone, whatever forms were added to them."""
    return DataKey.load_or_create(run.root).hmac_many(own_digest(record).hex() for record in records)


def _warn(run: RunFolder, text: str) -> None:
    run.events.append("warning", text=text)
