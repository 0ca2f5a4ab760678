"""Which models an audit reads: a column each, and those that are only read for comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from expunge.data.record import Record
from expunge.errors import VerificationError
from expunge.evaluation.subjects import Subject
from expunge.evaluation.verdict.findings import Facts
from expunge.methods.base import WrapTask
from expunge.methods.guardrail import Guardrail, GuardrailPolicy
from expunge.models.adapter import check_adapter, is_adapter, load_with_adapter
from expunge.models.changes import Changes, changes
from expunge.models.load import load_model, local_folder
from expunge.storage import atomic
from expunge.storage.digests import DataKey, folder_digest
from expunge.storage.events import read_events
from expunge.storage.run import RunFolder
from expunge.workflows.identity import hash_plain, model_digest
from expunge.workflows.inputs import TRAIN_RETAIN, check_models


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Models by what they are to each other.

    Attributes:
        original: the model before unlearning.
        candidate: the model that is judged, or an adapter for the original; where there is a policy, the model behind
            it.
        retrained: models that never saw the forget records.
        reference: other models that never saw them; they have no column.
        policy: what stands between a user and the candidate.
    """

    original: str
    candidate: str
    retrained: Sequence[str] = ()
    reference: Sequence[str] = ()
    policy: GuardrailPolicy | None = None

    @property
    def judged(self) -> str:
        """Role that the verdict is about: the weights under a policy or an adapter; who has them bypasses those."""
        return "unlearned" if self.policy is None and not self.adapter else "original"

    @property
    def spoken(self) -> str:
        """Role whose replies users see."""
        return "unlearned" if self.policy is None else "policy"

    @property
    def adapter(self) -> bool:
        """Whether the candidate is an adapter beside the original's weights."""
        return is_adapter(Path(self.candidate))

    def check(self) -> None:
        """Refuses folders that cannot be loaded, by their layout alone."""
        if self.adapter:
            check_adapter(Path(self.candidate))
        check_models(self.original, *self.retrained, *self.reference, None if self.adapter else self.candidate)

    def changes(self) -> Changes | None:
        """What unlearning did to the weights; None where it made no weights, or others than the original's."""
        if self.policy is not None or self.adapter:
            return None
        return changes(local_folder(self.original), local_folder(self.candidate))

    def facts(self, changed: Changes | None) -> Facts:
        """What is known of the judged model besides its numbers."""
        return Facts(self.spoken, adapter=self.adapter, shallow=changed is not None and changed.shallow)

    def subjects(self, baseline: GuardrailPolicy | None = None) -> list[Subject]:
        """Returns all models in the order of the report.

        Args:
            baseline: the trivial baseline, a filter before the original, which every other result has to beat.
        """
        found = [_subject("original", self.original)]
        for family, sources in (("retrained", self.retrained), ("reference", self.reference)):
            for number, source in enumerate(sources, start=1):
                role = family if number == 1 else f"{family}_{number}"
                found.append(_subject(role, source, scored=family == "retrained"))
        if self.policy is not None:
            # The bare weights under a policy are the original's column.
            found.append(_subject("policy", self.candidate, self.policy))
        elif self.adapter:
            found.append(_with_adapter(self.original, self.candidate))
        else:
            found.append(_subject("unlearned", self.candidate))
        if baseline is not None and self.policy is None:
            found.append(_subject("guardrail", self.original, baseline))
        return found


def baseline_policy(splits: Mapping[str, Sequence[Record]], run: RunFolder) -> GuardrailPolicy:
    """Returns a guardrail for the forget records; it takes no training, and no model is looked at."""
    secret = bytes.fromhex(DataKey.load_or_create(run.root).hmac("policy"))
    kept = [record for name in (TRAIN_RETAIN, "retain") for record in splits.get(name, ())]
    task = WrapTask(forget=tuple(splits["forget"]), retain=tuple(kept), secret=secret)
    return Guardrail().wrap(None, task)


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


def stored_policy(run: RunFolder) -> GuardrailPolicy | None:
    """Returns the policy that a run made; None if it made a model."""
    path = run.root / "policy.json"
    return GuardrailPolicy.from_plain(atomic.read_json(path)) if path.is_file() else None


def is_gone(place: str) -> bool:
    """Whether a recorded place was a folder of this machine and is none now."""
    return Path(place).is_absolute() and not Path(place).is_dir()


def _with_adapter(original: str, adapter: str) -> Subject:
    bare = _subject("unlearned", original)
    identity = {**bare.identity, "adapter": folder_digest(Path(adapter), follow_links=True).root}
    return Subject(role="unlearned", identity=identity, load=partial(load_with_adapter, original, adapter))


def _subject(role: str, source: str, policy: GuardrailPolicy | None = None, *, scored: bool = True) -> Subject:
    identity = {
        "weights": model_digest(source),
        "adapter": "none",
        "policy": "none" if policy is None else str(hash_plain(policy.to_plain())),
        "attack": "none",
        "dtype": "saved",
        "template": "default",
    }
    return Subject(role=role, identity=identity, load=partial(load_model, source), policy=policy, scored=scored)
