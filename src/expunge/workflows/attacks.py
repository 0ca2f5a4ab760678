"""Runs attacks on the models of an audit; each leaves one file in the run folder, which records and reports quote."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from expunge.attacks.base import Attack, AttackTask, Budget, ProbeAttack, PromptAttack
from expunge.attacks.result import (
    ORIGINAL,
    RETRAINED,
    VERSION,
    AttackResult,
    build_rows,
    excess_before,
    half_way,
    mean_value,
    saved_steps,
)
from expunge.attacks.running import Outcome, measures
from expunge.config import build, to_plain
from expunge.data.record import Record
from expunge.errors import DivergedError, InputError, InterruptedRunError, MissingNeedError
from expunge.evaluation.subjects import Policy, Subject
from expunge.metrics.base import is_of
from expunge.registry import attacks as registry
from expunge.storage import atomic
from expunge.storage.digests import text_digest
from expunge.storage.run import RunFolder
from expunge.workflows.columns import Columns
from expunge.workflows.identity import code_digest
from expunge.workflows.scene import (
    Scene,
    asked_hmac,
    is_stored,
    outcomes,
    own_hmac,
    set_scene,
    subjects_of,
    without_attack,
)

FOLDER = "attacks"


@dataclass(frozen=True, kw_only=True)
class AttackChoice:
    """Which attacks to run, and how hard.

    Attributes:
        names: registry names; none for all.
        budget: quick or paper.
        settings: changes to the settings of a single attack.
        seed: of every draw.
    """

    names: tuple[str, ...] = ()
    budget: Budget = "quick"
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0

    def create(self) -> list[Attack]:
        """Returns the attacks.

        Raises:
            InputError: a name, a budget or a setting that does not exist.
        """
        if self.budget not in ("quick", "paper"):
            raise InputError(f"There is no budget {self.budget!r}; the budgets are quick and paper.")
        if self.settings and len(self.names) != 1:
            raise InputError("Settings belong to one attack; name it, or leave out --set.")
        return [registry.get(name).at(self.budget, **self.settings) for name in self.names or registry.names()]


def run_attacks(
    run: RunFolder,
    splits: Mapping[str, Sequence[Record]],
    columns: Columns,
    choice: AttackChoice,
    *,
    max_length: int,
    stop_requested: Callable[[], bool] = lambda: False,
) -> None:
    """Runs the chosen attacks; what cannot be run is told with the reason, or refused where nothing else was asked for.

    Killed and called again it goes on with the model that it was at.

    Raises:
        InputError: no weights, no retrained model, or the only attack that was asked for cannot be run here.
        DivergedError: the only attack that was asked for broke a model beyond reading.
        InterruptedRunError: stopped on request; the same call goes on.
    """
    chosen = choice.create()
    scene = set_scene(run, splits, columns, choice.budget, choice.seed, max_length, stop_requested)
    for place, attack in enumerate(chosen, start=1):
        name = registry.name_of(attack)
        if stop_requested():
            raise InterruptedRunError(f"Stopped before the attack {name}; the same command goes on.")
        numbered = f" ({place} of {len(chosen)})" if len(chosen) > 1 else ""
        try:
            result = _result(scene, attack, choice, f"attack with {name}{numbered}")
        except (InputError, DivergedError) as error:
            if len(choice.names) == 1:
                raise
            told = _described(attack, choice, columns, omitted=str(error))
            result = replace(told, key=_key(scene))
        atomic.write_json(_place(run, result), to_plain(result))
        run.events.append("attack", attack=name, seconds=dict(result.seconds), omitted=result.omitted)


def stored_attacks(
    run: RunFolder, splits: Mapping[str, Sequence[Record]], subjects: Sequence[Subject], max_length: int
) -> list[AttackResult]:
    """Returns the attacks that were run on these models and records, by name; those on others stay where they are.

    Records that were cut at another length are others too.

    Of one attack all results count, whatever its settings and budget; why it could not be run only where it never was.
    """
    identities = {subject.role: dict(subject.identity) for subject in subjects}
    hmacs = {split: own_hmac(run, records) for split, records in splits.items()}
    found = []
    for path in sorted((run.root / FOLDER).glob("*.json")):
        plain = atomic.read_json(path)
        if plain.get("version") != VERSION:  # of another version of the program; running the attack again replaces it
            continue
        result = build(AttackResult, plain, where=f"{FOLDER}/{path.name}", finite=False)
        if result.key.get("max_length") == max_length and _fits(result.key, identities, hmacs):
            found.append(result)
    ran = {result.name for result in found if not result.omitted}
    return [result for result in found if not result.omitted or result.name not in ran]


def _fits(key: Mapping[str, Any], identities: Mapping[str, Mapping[str, str]], hmacs: Mapping[str, str]) -> bool:
    """Whether a result is of these models, all retrained ones among them, and of these records where they are here."""
    known: Mapping[str, Any] = key.get("models", {})
    references = {role for role in identities if is_of(role, RETRAINED)}
    return (
        bool(known)
        and references == {role for role in known if is_of(role, RETRAINED)}
        and all(identities.get(role) == identity for role, identity in known.items())
        and all(hmacs.get(split, hmac) == hmac for split, hmac in key.get("records", {}).items())
    )


def _result(scene: Scene, attack: Attack, choice: AttackChoice, phase: str) -> AttackResult:
    columns = scene.columns
    _check_target(attack, columns)
    # Whoever has the weights goes around a filter; an adapter that stands beside them is attacked as it is used.
    role = columns.spoken if isinstance(attack, PromptAttack) or columns.adapter else columns.judged
    policy = scene.subjects[role].policy if isinstance(attack, PromptAttack) else None
    spoken = policy is not None
    task = scene.task_for(policy)
    attack.check(task)
    references = [name for name in scene.subjects if is_of(name, RETRAINED)]
    found = measures(spoken=spoken)
    # A probe with a measure of its own tells what the original knows; a measure that is read anyway needs no probe.
    probed = isinstance(attack, ProbeAttack) and attack.unit not in {metric.label for metric in found}
    controls = references if attack.controlled else []
    roles = list(dict.fromkeys((role, *controls, *((ORIGINAL,) if probed else ()))))
    asked = asked_hmac(scene.run, attack, task)
    attacked, seconds = _run(scene, attack, task, roles, {role: policy}, asked, phase, spoken=spoken)
    before = without_attack(scene, task, (ORIGINAL, *references, role), spoken=spoken)
    people = subjects_of(task.forget)
    decisive = attack.unit if isinstance(attack, ProbeAttack) else found[0].label
    if not attacked[role]:
        raise MissingNeedError("No forget record can be attacked in this way.")
    told = {
        name: {measure: mean_value(values, people) for measure, values in known.items()}
        for name, known in before.items()
    }
    rows = build_rows(attacked, before, people, role, decisive, decides=attack.decides)
    steps = half_way(rows, told) if attack.threat.family == "relearning" else {}
    return replace(
        _described(attack, choice, columns, role=role),
        records=len(task.forget),
        seconds=seconds,
        before=told,
        start=excess_before(before, people, role, found[0].label),
        rows=rows,
        half_way=steps,
        savings=saved_steps(steps, role),
        key={**_key(scene), "asked": asked},
    )


class _Ran(NamedTuple):
    """What each model showed under an attack, and the seconds that took."""

    found: dict[str, dict[str, Outcome]]
    seconds: dict[str, float]


def _run(
    scene: Scene,
    attack: Attack,
    task: AttackTask,
    roles: Sequence[str],
    policies: Mapping[str, Policy | None],
    asked: str,
    phase: str,
    *,
    spoken: bool,
) -> _Ran:
    """Runs an attack on each model as one phase; models that an earlier call found are done when it begins."""
    pending = [role for role in roles if not is_stored(scene, attack, task, role, asked, spoken=spoken)]
    count, ran = attack.count(task), _Ran({}, {})
    with scene.run.phases.phase(phase, count * len(roles), count * (len(roles) - len(pending))) as steps:
        task = replace(task, steps=steps)
        for role in roles:
            with steps.part(count if role in pending else 0, f"the {role} model"):
                ran.found[role], ran.seconds[role] = outcomes(
                    scene, attack, task, role, policies.get(role), asked, spoken=spoken
                )
    return ran


def _key(scene: Scene) -> dict[str, Any]:
    """Models, records and their length, which a later record must share to quote the result; the code is told."""
    return {
        "code": code_digest(),
        "max_length": scene.task.max_length,
        "models": {role: dict(subject.identity) for role, subject in scene.subjects.items()},
        "records": {split: own_hmac(scene.run, records) for split, records in scene.task.splits.items()},
    }


def _check_target(attack: Attack, columns: Columns) -> None:
    if attack.threat.adapter and not columns.adapter:
        raise MissingNeedError("The model that is judged is no adapter beside the original, so none can be removed.")
    if attack.threat.policy and columns.policy is None:
        raise MissingNeedError("There is no filter before the model that is judged.")


def _described(
    attack: Attack, choice: AttackChoice, columns: Columns, *, role: str = "", omitted: str = ""
) -> AttackResult:
    threat = attack.threat
    return AttackResult(
        name=registry.name_of(attack),
        label=attack.label,
        title=attack.title,
        family=threat.family,
        access=threat.access,
        paper=threat.paper,
        axis=attack.axis,
        budget=choice.budget,
        # What is kept out of the label is nobody's business, such as the path of a file.
        settings={item.name: to_plain(getattr(attack, item.name)) for item in dataclasses.fields(attack) if item.repr},
        role=role or columns.judged,
        seed=choice.seed,
        changed=_changed(attack, choice.budget),
        omitted=omitted,
    )


def _changed(attack: Attack, budget: Budget) -> tuple[str, ...]:
    """Names of the settings that are not those of the budget."""
    own = type(attack).at(budget)
    names = (item.name for item in dataclasses.fields(attack))
    return tuple(name for name in names if getattr(attack, name) != getattr(own, name))


def _place(run: RunFolder, result: AttackResult) -> Path:
    """A file for each way to run an attack: another budget, other prompts or nothing at all take no other's place."""
    (run.root / FOLDER).mkdir(mode=0o700, exist_ok=True)
    way = f"{result.label} {result.budget} {result.seed} {result.key['max_length']} {result.key.get('asked', '')}"
    kind = "omitted" if result.omitted else text_digest(way)[:8]
    return run.root / FOLDER / f"{result.name}-{kind}.json"
