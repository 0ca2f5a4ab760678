"""``expunge attack``: attacks on the models of a run or of an audit, and its record and report with what they found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from expunge.config import build
from expunge.errors import InputError
from expunge.evaluation.verdict.policy import VerdictPolicy
from expunge.storage.run import RunFolder
from expunge.workflows.attacks import AttackChoice
from expunge.workflows.audit import AuditRequest, audit, last_audit
from expunge.workflows.finished import Finished


@dataclass(frozen=True, kw_only=True)
class AttackRequest:
    """What to attack, and with what.

    Attributes:
        audit: the run, or folder of an audit, and its records; suite, forms and policy are those of its last audit.
        choice: which attacks.
    """

    audit: AuditRequest
    choice: AttackChoice = field(default_factory=AttackChoice)


def attack(request: AttackRequest, listeners: Sequence[Any] = ()) -> Finished:
    """Runs attacks on a run and makes its card anew: what was read before is not read again.

    Raises:
        InputError: no run, no such attack, or one that cannot be run here.
        InterruptedRunError: stopped on request; the same command goes on.
    """
    folder = Path(request.audit.target)
    if not RunFolder.is_run(folder):
        raise InputError(
            f"{folder} is no run folder, and what an attack finds is kept in one; audit the model first: expunge audit "
            f"{folder} --original MODEL --retrained MODEL --out DIR --attacks quick."
        )
    last = last_audit(RunFolder.open(folder))
    policy = last.get("policy")
    wanted = replace(
        request.audit,
        suite=str(last.get("suite", request.audit.suite)),
        forms=str(last.get("forms", request.audit.forms)),
        policy=build(VerdictPolicy, policy, where="the policy of the last audit") if policy else None,
        attacks=request.choice,
    )
    return audit(wanted, listeners)
