"""Which models an audit reads: a column each, and those that are only read for comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from expunge.data.record import Record
from expunge.data.templates import DEFAULT, Rendering
from expunge.errors import InputError, VerificationError
from expunge.evaluation.subjects import Access, Subject
from expunge.evaluation.verdict.findings import Facts
from expunge.methods.base import WrapTask
from expunge.methods.guardrail import Guardrail, GuardrailPolicy
from expunge.metrics.ulira import INSIDE, OUTSIDE
from expunge.models.adapter import check_adapter, check_pair, describe_own, is_adapter, load_with_adapter
from expunge.models.changes import Changes, changes, equal_weights
from expunge.models.load import Description, LoadedModel, describe, load_model, local_folder
from expunge.storage import atomic
from expunge.storage.digests import DataKey, folder_digest
from expunge.storage.events import read_events
from expunge.storage.run import RunFolder
from expunge.workflows.identity import hash_plain, model_digest, weights_of
from expunge.workflows.inputs import TRAIN_RETAIN, check_models
from expunge.workflows.remote import Endpoint
from expunge.workflows.rendering import check_written, read_otherwise

SHADOW = "shadow_"  # how the roles of shadow models begin
REMEMBERED = ("retrained", "reference", INSIDE, OUTSIDE)  # roles of models that the next audit of a run reads again


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Models by what they are to each other.

    Attributes:
        original: the model before unlearning; None only where the candidate is read through prompts.
        candidate: the model that is judged, or an adapter for the original; where there is a policy, the model behind
            it. None for an endpoint.
        retrained: models that never saw the forget records.
        reference: other models that never saw them; they have no column.
        shadow_unlearned: models of the same recipe with other seeds, trained with the records and unlearned; no column.
        shadow_retrained: the same, trained without them; no column.
        policy: what stands between a user and the candidate.
        endpoint: address of the model that is judged, in place of a candidate.
        access: what may be read of the model that is judged.
        rendering: how records are written for all of them.
    """

    original: str | None
    candidate: str | None
    retrained: Sequence[str] = ()
    reference: Sequence[str] = ()
    shadow_unlearned: Sequence[str] = ()
    shadow_retrained: Sequence[str] = ()
    policy: GuardrailPolicy | None = None
    endpoint: Endpoint | None = None
    access: Access = "weights"
    rendering: Rendering = DEFAULT

    @property
    def judged(self) -> str:
        """Role that the verdict is about: the weights under a policy or an adapter; who has them bypasses those."""
        bare = self.policy is None and not self.adapter
        return "unlearned" if bare or self.access == "prompts" else "original"

    @property
    def spoken(self) -> str:
        """Role whose replies users see."""
        return "unlearned" if self.policy is None else "policy"

    @property
    def adapter(self) -> bool:
        """Whether the candidate is an adapter beside the original's weights."""
        return self.candidate is not None and is_adapter(Path(self.candidate))

    @property
    def families(self) -> dict[str, Sequence[str]]:
        """Models by role, where several may have one."""
        return {
            "retrained": self.retrained,
            "reference": self.reference,
            INSIDE: self.shadow_unlearned,
            OUTSIDE: self.shadow_retrained,
        }

    def check(self, splits: Mapping[str, Sequence[Record]] | None = None) -> None:
        """Refuses folders that cannot be loaded, by their layout alone, and records that cannot be written."""
        if self.adapter:
            if self.original is None:
                raise InputError("An adapter is read on the model it was trained on: pass --original MODEL.")
            check_adapter(Path(str(self.candidate)))
        others = [source for found in self.families.values() for source in found]
        check_models(self.original, *others, None if self.adapter else self.candidate)
        if self.adapter:
            check_pair(str(self.original), str(self.candidate), self.rendering)
        self._check_retrained()
        read = (self.original, *self.retrained, *self.reference, None if self.adapter else self.candidate)
        for source in filter(None, read if splits is not None else ()):
            check_written(source, self.rendering, splits or {})

    def _check_retrained(self) -> None:
        """Refuses a reference that is none: the original, the same one twice, or, of several, the judged model.

        By the files. What is one of these saved in another way shows when the weights are read, see ``duplicates``.
        """
        known = {} if self.original is None else {weights_of(self.original): "original"}
        if len(self.retrained) > 1 and self.candidate is not None and not self.adapter and self.policy is None:
            known.setdefault(weights_of(self.candidate), "unlearned")
        for place in self.retrained:
            own = weights_of(place)
            if own in known:
                raise InputError(
                    f"A --retrained model has the weights of the {known[own]} model. One that never saw the records "
                    "has a seed of its own; hand in each once."
                )
            known[own] = "retrained"

    def changes(self) -> Changes | None:
        """What unlearning did to the weights; None where it made none, others than the original's, or none are seen."""
        if self.original is None or self.candidate is None or self.access == "prompts":
            return None
        if self.policy is not None or self.adapter:
            return None
        return changes(local_folder(self.original), local_folder(self.candidate))

    def duplicates(self) -> dict[str, str]:
        """Retrained models that have the weights of another model, up to rounding, and its role, ``judged`` included.

        Two models are read until the first difference, so that models that were trained apart cost little.
        """
        judged = None if self.adapter or self.policy is not None else self.candidate
        known = [(role, place) for role, place in (("original", self.original), ("judged", judged)) if place]
        found = {}
        for number, place in enumerate(self.retrained, start=1):
            role = _numbered("retrained", number)
            same = (name for name, other in known if equal_weights(local_folder(other), local_folder(place)))
            if (first := next(same, None)) is not None:
                found[role] = first
            known.append((role, place))
        return found

    def limits(self) -> list[str]:
        """Sentences that belong to every claim about these models."""
        found = describe_own(str(self.original), str(self.candidate), self.rendering) if self.adapter else []
        if self.adapter or self.policy is not None:
            name = "adapter" if self.adapter else "policy"
            found.append(
                f"The verdict is about the original's weights without the {name}, since anyone with the weights can "
                f"remove the {name}."
            )
        for number, source in enumerate(self.retrained if self.original is not None else (), start=1):
            other = read_otherwise(str(self.original), source, self.rendering)
            if other is not None:
                named = "The retrained model" if number == 1 else f"The retrained model number {number}"
                found.append(
                    f"{named} has another {other} than the original, so it reads the same records in other tokens. "
                    "Their numbers per token are not of the same text."
                )
        return found

    def facts(self, changed: Changes | None) -> Facts:
        """What is known of the judged model besides its numbers."""
        return Facts(
            self.spoken,
            adapter=self.adapter,
            shallow=changed is not None and changed.shallow,
            unchanged=changed is not None and changed.equal and not self._is_original(),
            same=self.judged == "original" or (changed is not None and changed.equal),
            duplicates=self.duplicates(),
            prompted=self.access == "prompts",
        )

    def _is_original(self) -> bool:
        """Whether the candidate's folder holds the original's files and nothing else."""
        places = (self.original, self.candidate)
        return len({model_digest(place) for place in places if place is not None}) == 1

    def subjects(self) -> list[Subject]:
        """Returns all models in the order of the report, without that of an endpoint.

        Raises:
            InputError: a shadow model that is another of these models too: the attack would be fitted on its target.
        """
        found = [] if self.original is None else [self._subject("original", self.original)]
        for family, sources in self.families.items():
            for number, source in enumerate(sources, start=1):
                found.append(self._subject(_numbered(family, number), source, scored=family == "retrained"))
        if self.candidate is not None:
            found.append(self._judged_subject(self.candidate))
        _check_shadows(found)
        return found

    def baseline(self, policy: GuardrailPolicy) -> list[Subject]:
        """Returns the trivial baseline, a filter before the original; none where a policy is judged, which is one."""
        if self.policy is not None or self.original is None:
            return []
        return [self._subject("guardrail", self.original, policy)]

    def _judged_subject(self, candidate: str) -> Subject:
        if self.policy is not None:
            # The bare weights under a policy are the original's column.
            return self._subject("policy", candidate, self.policy)
        if self.adapter:
            return replace(self._with_adapter(str(self.original), candidate), access=self.access)
        return replace(self._subject("unlearned", candidate), access=self.access)

    def _with_adapter(self, original: str, adapter: str) -> Subject:
        bare = self._subject("unlearned", original)
        identity = {**bare.identity, "adapter": folder_digest(Path(adapter), follow_links=True).root}
        load = partial(load_with_adapter, original, adapter, rendering=self.rendering)
        return Subject(role="unlearned", identity=identity, load=load)

    def _subject(
        self, role: str, source: str, policy: GuardrailPolicy | None = None, *, scored: bool = True
    ) -> Subject:
        identity = {
            "weights": model_digest(source),
            "adapter": "none",
            "policy": "none" if policy is None else str(hash_plain(policy.to_plain())),
            "attack": "none",
            "dtype": "saved",
            "template": hash_plain(self.rendering.key),
        }
        load = partial(load_model, source, rendering=self.rendering)
        return Subject(role=role, identity=identity, load=load, policy=policy, scored=scored)


def _numbered(family: str, number: int) -> str:
    return family if number == 1 else f"{family}_{number}"


def baseline_policy(splits: Mapping[str, Sequence[Record]], run: RunFolder) -> GuardrailPolicy:
    """Returns a guardrail for the forget records; it takes no training, and no model is looked at."""
    secret = bytes.fromhex(DataKey.load_or_create(run.root).hmac("policy"))
    kept = [record for name in (TRAIN_RETAIN, "retain") for record in splits.get(name, ())]
    task = WrapTask(forget=tuple(splits["forget"]), retain=tuple(kept), secret=secret)
    return Guardrail().wrap(None, task)


def _check_shadows(subjects: Sequence[Subject]) -> None:
    for one in (subject for subject in subjects if subject.role.startswith(SHADOW)):
        for other in subjects:
            if other is not one and other.identity["weights"] == one.identity["weights"]:
                raise InputError(
                    f"The {one.role} model is the {other.role} model too. A shadow model has seeds of its own; hand in "
                    "each once, and none that is audited."
                )


def check_digests(run: RunFolder, subjects: Sequence[Subject]) -> None:
    """Refuses models that are not those the run vouches for.

    Raises:
        VerificationError: the original or the unlearned model has changed since.
    """
    saved = next((event.data for event in reversed(read_events(run.events_path)) if event.kind == "saved"), {})
    known = saved.get("folders", {}) if run.config.get("verb") == "unlearn" else {}
    for subject in subjects:
        if subject.role in known and subject.identity["weights"] != known[subject.role]:
            raise VerificationError(
                f"The {subject.role} model is not the one that {run.root} was made with: its files have changed. "
                "Restore it, or audit the folder by itself with --original and --out."
            )


def noting(subject: Subject, notes: dict[str, Description]) -> Subject:
    """Returns the subject; when it is loaded, what a record says of the model is noted under its role."""
    if subject.load is None:
        return subject

    def load() -> LoadedModel:
        loaded = subject.loaded()
        notes[subject.role] = describe(loaded.model)
        return loaded

    return replace(subject, load=load)


def stored_policy(run: RunFolder) -> GuardrailPolicy | None:
    """Returns the policy that a run made; None if it made a model."""
    path = run.root / "policy.json"
    return GuardrailPolicy.from_plain(atomic.read_json(path)) if path.is_file() else None


def is_gone(place: str) -> bool:
    """Whether a recorded place was a folder of this machine and is none now."""
    return Path(place).is_absolute() and not Path(place).is_dir()
