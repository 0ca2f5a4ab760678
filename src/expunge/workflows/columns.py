"""Which models an audit reads: a column each, and those that are only read for comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from expunge.errors import VerificationError
from expunge.evaluation.subjects import Subject
from expunge.methods.guardrail import GuardrailPolicy
from expunge.models.load import load_model
from expunge.storage import atomic
from expunge.storage.events import read_events
from expunge.storage.run import RunFolder
from expunge.workflows.identity import hash_plain, model_digest
from expunge.workflows.inputs import check_models


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Models by what they are to each other.

    Attributes:
        original: the model before unlearning.
        candidate: the model that is judged; where there is a policy, the model behind it.
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
        """Role that the verdict is about: the bare weights under a policy, which whoever has them bypasses."""
        return "unlearned" if self.policy is None else "original"

    def check(self) -> None:
        """Refuses folders that cannot be loaded, by their layout alone."""
        check_models(self.candidate, self.original, *self.retrained, *self.reference)

    def subjects(self) -> list[Subject]:
        """Returns all models in the order of the report."""
        found = [_subject("original", self.original)]
        for family, sources in (("retrained", self.retrained), ("reference", self.reference)):
            for number, source in enumerate(sources, start=1):
                role = family if number == 1 else f"{family}_{number}"
                found.append(_subject(role, source, scored=family == "retrained"))
        if self.policy is not None:
            # The bare weights under a policy are the original's column.
            found.append(_subject("policy", self.candidate, self.policy))
        else:
            found.append(_subject("unlearned", self.candidate))
        return found


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
