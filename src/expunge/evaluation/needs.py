"""Which metric can be computed for which model, and the numbers that takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from expunge.data.record import Record
from expunge.errors import InputError
from expunge.evaluation.replies import can_ask
from expunge.evaluation.result import Omitted
from expunge.evaluation.subjects import Subject
from expunge.metrics.base import Metric, Need, is_of

JUDGE = "original"  # role that reads the replies of all


class Plan(NamedTuple):
    """What to compute for each role.

    Attributes:
        metrics: metrics of each role, in the order they were asked for; none of a model that is read for comparison.
        needs: numbers of each role, each once; those that only a comparison with it reads are included.
        omitted: what cannot be computed, and why.
    """

    metrics: dict[str, list[Metric]]
    needs: dict[str, list[Need]]
    omitted: tuple[Omitted, ...]


def plan(subjects: Sequence[Subject], splits: Mapping[str, Sequence[Record]], metrics: Sequence[Metric]) -> Plan:
    """Sorts metrics into those that can be computed and those that cannot.

    Raises:
        InputError: two subjects of one role, or a policy that would share its stored answers with the bare weights.
    """
    check_subjects(subjects)
    roles = [subject.role for subject in subjects]
    wanted: dict[str, list[Metric]] = {role: [] for role in roles}
    needs: dict[str, dict[Need, None]] = {role: {} for role in roles}
    omitted = []
    for subject in (one for one in subjects if one.scored):
        for metric in dict.fromkeys(metrics):
            reason = unfit(metric, subject, splits, subjects)
            if reason is not None:
                omitted.append(Omitted(label=metric.label, role=subject.role, reason=reason))
                continue
            wanted[subject.role].append(metric)
            families = (*metric.compares_to, *metric.may_compare_to)
            others = [role for role in roles for family in families if is_of(role, family)]
            for role in dict.fromkeys((subject.role, *others)):
                mine = (need for need in metric.needs() if role == subject.role or not need.paired)
                needs[role].update(dict.fromkeys(need for need in mine if _absent(need, splits) is None))
    return Plan(wanted, {role: list(found) for role, found in needs.items()}, tuple(omitted))


def check_subjects(subjects: Sequence[Subject]) -> None:
    """Refuses columns that could not be told apart.

    Raises:
        InputError: two subjects of one role, or with one identity but not one policy.
    """
    for number, subject in enumerate(subjects):
        for other in subjects[:number]:
            if other.role == subject.role:
                raise InputError(f"Two models have the role {subject.role!r}; call the second {subject.role + '_2'!r}.")
            if dict(other.identity) == dict(subject.identity) and other.policy is not subject.policy:
                raise InputError(
                    f"The {other.role} and {subject.role} models have one identity but not one policy; put a digest of "
                    "the policy into the identity, so that their answers are stored apart."
                )


def unfit(
    metric: Metric, subject: Subject, splits: Mapping[str, Sequence[Record]], subjects: Sequence[Subject]
) -> str | None:
    """Returns why a metric cannot be computed for a model, or None."""
    if subject.policy is not None and any(need.reads_logits for need in metric.needs()):
        return "log-probabilities are not visible through a policy; see the bare weights"
    if subject.access == "prompts" and (reason := _hidden(metric)) is not None:
        return reason
    for need in metric.needs():
        if need.second is not None and need.second not in {other.role for other in subjects}:
            return f"no {need.second} model was handed in that could read the same"
    for role in metric.compares_to:
        if role == subject.role:
            return "this model is what the others are compared with"
        compared = next((other for other in subjects if other.role == role), None)
        if compared is None:
            return f"no {role} model was handed in"
        if compared.policy is not None:
            return f"the {role} model is behind a policy"
    others = [one for one in subjects if any(is_of(one.role, family) for family in metric.may_compare_to)]
    besides = [other.role for other in others if other.role != subject.role]
    if len(besides) < metric.least_others:
        families = " or ".join(metric.may_compare_to)
        return f"{len(besides)} {families} models besides this one were handed in, and it takes {metric.least_others}"
    if (reason := metric.lacks(besides)) is not None:
        return reason
    wanted = [need for need in metric.needs() if not need.optional]
    return next((reason for need in wanted if (reason := _absent(need, splits)) is not None), None)


def _hidden(metric: Metric) -> str | None:
    """Why a metric cannot be computed of a model that only answers prompts."""
    unsaid = [need for need in metric.needs() if need.reads_model and not need.generates]
    if any(need.reads_logits for need in unsaid):
        return "log-probabilities are not visible through prompts"
    return "tokens are not visible through prompts" if unsaid else None


def _absent(need: Need, splits: Mapping[str, Sequence[Record]]) -> str | None:
    records = splits.get(need.split, ())
    if need.beside is not None and not splits.get(need.beside):
        return f"no {need.beside} records were handed in"
    if not records:
        return f"no {need.split} records were handed in"
    second = None if need.transform is None else need.transform.needs_form
    forms = (need.form,) if second is None else (need.form, second)
    for form in forms:
        if not any(record.forms(form) for record in records):
            return f"the {need.split} records have no {form}"
    if not any(all(record.forms(form) for form in forms) for record in records):
        return f"no {need.split} record has both {' and '.join(forms)}"
    if need.generates and not any(can_ask(one) for record in records for one in record.forms(need.form)):
        return f"the {need.split} records ask nothing: they are plain text, or their prompts are empty"
    return None
