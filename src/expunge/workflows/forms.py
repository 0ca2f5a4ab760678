"""Which forms of the forget records an audit reads beyond those in the user's file. All live in memory only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expunge.data.checks import own_digest
from expunge.data.forms import DECOY, DECOY_RECORDS, NAMES, RULES, with_forms
from expunge.data.forms.decoy import DECOY_FORMS, TESTS
from expunge.data.record import FORMS, Record
from expunge.errors import InputError
from expunge.evaluation.result import Evaluation
from expunge.models.load import HUB_ID
from expunge.registry import suggest
from expunge.storage.digests import DataKey
from expunge.storage.run import RunFolder
from expunge.workflows.identity import model_digest
from expunge.workflows.inputs import check_models
from expunge.workflows.paraphrase import add_paraphrases, rewriter
from expunge.workflows.remote import Endpoint, is_address

AUTO, NONE = "auto", "none"
# Not a way to ask for the fact, but what another form is measured against.
AIDS = ("perturbed_answer",)


@dataclass(frozen=True, kw_only=True)
class FormChoice:
    """What to add to the forget records.

    Attributes:
        names: ``auto``: every rule, and decoys where there are few records and no retrained model; ``none``; or names
            with commas.
        paraphraser: model folder, Hub id or address that gives other wordings where there are none.
        allow_remote: whether records may be sent to an address.
    """

    names: str = AUTO
    paraphraser: str | None = None
    allow_remote: bool = False

    def check(self, *, fetch: bool = True) -> None:
        """Refuses what cannot be done, before anything is read or sent.

        Args:
            fetch: look at a paraphraser on the Hub too, which downloads it.

        Raises:
            InputError: an unknown form, no such model, or an address without leave to send records there.
        """
        for name in self._asked():
            if name not in NAMES:
                raise InputError(f"--forms has no rule for {name!r}.{suggest(name, (*NAMES, AUTO, NONE))}")
        if self.paraphraser is not None and is_address(self.paraphraser):
            Endpoint.parse(self.paraphraser).check_leave(allow_remote=self.allow_remote)
        elif self.paraphraser is not None and (fetch or not _is_elsewhere(self.paraphraser)):
            check_models(self.paraphraser)

    def rules(self, records: int, *, has_reference: bool = False) -> tuple[str, ...]:
        """Names of the rules for a forget set of this size; beside a retrained model decoys tell nothing more."""
        if self.names == AUTO:
            return NAMES if records <= DECOY_RECORDS and not has_reference else tuple(RULES)
        return self._asked()

    def added(self, forget: Sequence[Record], *, has_reference: bool) -> tuple[str, ...]:
        """Names of the rules for these records, before any is applied."""
        rules = self.rules(len(forget), has_reference=has_reference)
        if self.names != AUTO:
            return rules
        # Whoever brings a form for some records left it out of the others for a reason.
        brought = {name for record in forget for name in record.variants}
        return tuple(name for name in rules if name not in brought)

    @property
    def decoy_kinds(self) -> tuple[str, ...]:
        """Kinds of decoys of use: all where they were asked for by name."""
        return TESTS if self.names == AUTO else DECOY_FORMS

    @property
    def identity(self) -> str | None:
        """What a record says of the paraphraser: digest of a model folder, or host and model."""
        if self.paraphraser is None:
            return None
        if is_address(self.paraphraser):
            return Endpoint.parse(self.paraphraser).name
        return model_digest(self.paraphraser)

    def _asked(self) -> tuple[str, ...]:
        listed = "" if self.names in (AUTO, NONE) else self.names
        return tuple(dict.fromkeys(name.strip().replace("-", "_") for name in listed.split(",") if name.strip()))


def _is_elsewhere(paraphraser: str) -> bool:
    return not Path(paraphraser).exists() and HUB_ID.fullmatch(paraphraser) is not None


def add_forms(
    run: RunFolder,
    splits: Mapping[str, Sequence[Record]],
    choice: FormChoice,
    *,
    has_reference: bool = False,
    stop_requested: Callable[[], bool] = lambda: False,
) -> dict[str, Sequence[Record]]:
    """Returns the splits with further forms of the forget records, and says in the log what it costs.

    Raises:
        InterruptedRunError: stopped on request while a paraphraser was asked; the next call asks for all again.
    """
    choice.check()
    forget = list(splits.get("forget", ()))
    if choice.paraphraser is not None and forget:
        forget = _paraphrased(run, forget, choice.paraphraser, stop_requested)
    rules = choice.added(forget, has_reference=has_reference)
    others = splits.get("holdout", ())
    forget = with_forms(forget, rules, decoy_kinds=choice.decoy_kinds, others=others)
    decoys = sum(len(record.forms(form)) for record in forget for form in DECOY_FORMS)
    if DECOY in rules and decoys:
        run.phases.begin(f"decoy rank: {decoys:,} further short sequences for each model", 1).end()
    return {**splits, "forget": forget} if forget else dict(splits)


def form_counts(records: Sequence[Record]) -> dict[str, int]:
    """Returns how many records have each form."""
    counts = {form: sum(bool(record.forms(form)) for record in records) for form in FORMS}
    return {form: count for form, count in counts.items() if count}


def form_hmacs(records: Sequence[Record], key: DataKey) -> dict[str, str]:
    """Returns an HMAC of the wordings of each form, by which audits can tell whether they asked in the same words."""
    return {
        form: key.hmac_many(own_digest(one).hex() for record in records for one in record.forms(form))
        for form in form_counts(records)
        if form != "trained"
    }


def form_report(
    evaluation: Evaluation, forget: Sequence[Record], choice: FormChoice, role: str, *, has_reference: bool = False
) -> dict[str, Any]:
    """Returns which forms of the forget records a model was scored on, and which not and why; nothing of the records.

    Args:
        evaluation: what was found.
        forget: the records with their further forms.
        choice: what was asked for.
        role: model that counts as the result.
        has_reference: whether a retrained model was read.
    """
    counts, read = form_counts(forget), _read_forms(evaluation)
    labels = {score.label for score in evaluation.scores if score.role == role and score.records}
    tested = [form for form in FORMS if form not in AIDS and any(label in labels for label in read.get(form, ()))]
    reasons = {item.label: item.reason for item in evaluation.omitted if item.role == role}
    untested = []
    for form in FORMS:
        if form in AIDS or form in tested:
            continue
        found = [reasons[label] for label in read.get(form, ()) if label in reasons]
        if not counts.get(form):
            reason = _missing(form, choice, len(forget), has_reference=has_reference)
        else:
            reason = found[0] if found else "no metric of this suite reads it"
        untested.append({"form": form, "reason": reason})
    return {"tested": tested, "untested": untested, "paraphraser": choice.identity}


def _read_forms(evaluation: Evaluation) -> dict[str, list[str]]:
    """Labels of the metrics that read each form of the forget set."""
    read: dict[str, list[str]] = {}
    for label, traits in evaluation.traits.items():
        if "forget" in traits.splits:
            for form in traits.forms:
                read.setdefault(form, []).append(label)
    return read


def _missing(form: str, choice: FormChoice, records: int, *, has_reference: bool) -> str:
    """Why no forget record has a form."""
    if form in ("paraphrased_question", "paraphrased_answer"):
        if choice.paraphraser is None:
            return f"no forget record has one and no --paraphraser was given; a field {form} in the file works too"
        return "the paraphraser gave no wording that kept the facts"
    rule = DECOY if form in DECOY_FORMS else form
    if rule not in NAMES:
        return "no rule makes it; write it into the forget file under forms"
    if rule not in choice.rules(records, has_reference=has_reference):
        if choice.names != AUTO:
            return "not asked for with --forms"
        why = "beside a retrained model" if has_reference else f"with more than {DECOY_RECORDS} forget records"
        return f"left out {why}; ask for it with --forms"
    if form in DECOY_FORMS and form not in choice.decoy_kinds:
        return "a model prefers any real word to a made-up one, so it is no test; ask for it with --forms decoy"
    if form in DECOY_FORMS:
        return "no value of a forget record has this kind of decoys"
    return "the rule does not fit any of the forget records"


def _paraphrased(
    run: RunFolder, forget: list[Record], paraphraser: str, stop_requested: Callable[[], bool]
) -> list[Record]:
    if is_address(paraphraser) and not (endpoint := Endpoint.parse(paraphraser)).is_local:
        said = (
            f"The text of {len(forget)} forget records is now sent{endpoint.plainly} to {endpoint.host}, as "
            "--allow-remote says."
        )
        run.events.append("warning", text=said)
    ask = rewriter(paraphraser, stop_requested)
    found = add_paraphrases(forget, ask, stop_requested, run.phases)
    sides = ("paraphrased_question", "paraphrased_answer")
    before, after = ([sum(bool(record.forms(side)) for record in part) for side in sides] for part in (forget, found))
    gained = " and ".join(f"{new - old} {side}" for old, new, side in zip(before, after, sides, strict=True))
    run.phases.begin(f"paraphrases kept: {gained}", 1).end()
    return found
