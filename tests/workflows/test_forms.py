"""Which forms are added, which were tested and why the others were not, and both commands end to end."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from expunge.cli.app import app
from expunge.data.forms import DECOY_RECORDS, NAMES, RULES
from expunge.data.record import FORMS, Variant
from expunge.errors import InputError, InterruptedRunError
from expunge.evaluation.result import Evaluation, Omitted, ScoreRecord, Traits
from expunge.storage.run import RunFolder
from expunge.workflows.forms import AIDS, FormChoice, add_forms, form_counts, form_report
from tests.data.forms.records import plain, qa
from tests.support.canary import find_canary
from tests.workflows.conftest import CANARY
from tests.workflows.test_remote import Stub, chat, stub

__all__ = ["stub"]  # the fixture
AUTO = FormChoice()
ASKED, ANSWERED = "Where does Anna live?", f"Anna lives in {CANARY}."
RECORD = qa(ASKED, ANSWERED, "Anna")
NUMBER = qa("What is the number of Anna?", "It is 555-123-4567.", "Anna")


def test_auto_has_decoys_where_there_are_few_records():
    assert FormChoice().rules(DECOY_RECORDS) == NAMES
    assert FormChoice().rules(DECOY_RECORDS + 1) == tuple(RULES)
    assert FormChoice(names="none").rules(1) == ()
    assert FormChoice(names=" prefix, cloze,prefix,").rules(1000) == ("prefix", "cloze")
    assert "decoy_word" not in FormChoice().decoy_kinds
    assert "decoy_word" in FormChoice(names="decoy").decoy_kinds


def test_auto_adds_no_form_that_a_record_brings_and_no_decoys_beside_a_retrained_model():
    cloze = {"cloze": (Variant(prompt=RECORD.prompt, answer=RECORD.answer),)}
    records = [replace(RECORD, variants=cloze), NUMBER]
    assert set(AUTO.added(records, has_reference=False)) == set(NAMES) - {"cloze"}
    assert set(AUTO.added(records, has_reference=True)) == set(RULES) - {"cloze"}
    named = FormChoice(names="cloze,decoy")  # whoever names a form gets it
    assert named.added(records, has_reference=True) == ("cloze", "decoy")


def test_unknown_forms_are_refused():
    with pytest.raises(InputError, match="cloze"):
        FormChoice(names="prefix,clozes").check()
    with pytest.raises(InputError):
        FormChoice(names="multi_hop").check()  # a form, and no rule makes it


@pytest.mark.parametrize("address", ["https://models.invalid/v1", "http://192.168.0.4:8000/v1"])
def test_records_leave_the_machine_with_leave_only(address):
    with pytest.raises(InputError, match="--allow-remote"):
        FormChoice(paraphraser=address).check()
    FormChoice(paraphraser=address, allow_remote=True).check()
    FormChoice(paraphraser="http://localhost:8000/v1").check()
    with pytest.raises(InputError, match="without user or query"):
        FormChoice(paraphraser="https://:key@models.invalid/v1", allow_remote=True).check()


def test_a_paraphraser_that_is_not_there_is_refused_at_once(tmp_path):
    with pytest.raises(InputError):
        FormChoice(paraphraser=str(tmp_path / "nothing")).check()


@pytest.fixture
def run(tmp_path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", {"verb": "audit"})


def log(run: RunFolder) -> str:
    return run.events_path.read_text()


def test_splits_are_left_as_they_were(run):
    splits = {"forget": [RECORD], "retain": [NUMBER]}
    read = add_forms(run, splits, FormChoice())
    assert splits["forget"] == [RECORD]
    assert read["retain"] is splits["retain"]
    assert form_counts(read["forget"]) == {
        "trained": 1,
        **dict.fromkeys(("value", "cloze", "reverse", "prefix", "casing", "truncation"), 1),
    }
    assert add_forms(run, splits, FormChoice(names="none")) == splits
    assert add_forms(run, {"retain": [NUMBER]}, FormChoice()) == {"retain": [NUMBER]}


def test_decoys_are_announced(run):
    read = add_forms(run, {"forget": [NUMBER]}, FormChoice(names="decoy"))
    assert form_counts(read["forget"]) == {"trained": 1, "value": 1, "decoy": 1}
    assert "decoy rank: 1,000 further" in log(run)
    assert CANARY not in log(run)


def test_a_local_address_is_used_without_leave_and_a_warning(run, stub: Stub):
    stub.reply = lambda body: chat(f"{CANARY} is home to Anna, is it?")
    choice = FormChoice(names="none", paraphraser=f"{stub.address}#small")
    (found,) = add_forms(run, {"forget": [RECORD]}, choice)["forget"]
    assert found.paraphrased_answer.reveal() == f"{CANARY} is home to Anna, is it?"
    assert found.paraphrased_question is None  # it holds the value
    assert "0 paraphrased_question and 1 paraphrased_answer" in log(run)
    assert "warning" not in log(run)
    assert CANARY not in log(run)
    assert choice.identity == "127.0.0.1#small"


def test_a_stop_while_wordings_are_asked_for(run, stub: Stub):
    stub.reply = lambda body: chat(f"{CANARY} is home to Anna, is it?")
    choice = FormChoice(names="none", paraphraser=stub.address)
    with pytest.raises(InterruptedRunError):
        add_forms(run, {"forget": [RECORD, NUMBER]}, choice, stop_requested=lambda: len(stub.asked) == 2)
    assert len(stub.asked) == 2
    assert "a run that is interrupted asks for all again" in log(run)
    assert not find_canary(run.root, CANARY)


def test_another_machine_is_warned_of_before_anything_is_sent(run, monkeypatch):
    def sent(self, text, **_):
        assert "1 forget records is now sent unencrypted to models.invalid" in log(run)
        return ""

    monkeypatch.setattr("expunge.workflows.remote.Endpoint.chat", sent)
    choice = FormChoice(paraphraser="http://models.invalid/v1", allow_remote=True)
    add_forms(run, {"forget": [RECORD]}, choice)
    assert "unencrypted" in log(run)
    with pytest.raises(InputError, match="--allow-remote"):
        add_forms(run, {"forget": [RECORD]}, FormChoice(paraphraser="http://models.invalid/v1"))


def score(label: str, role: str, records: int = 1) -> ScoreRecord:
    return ScoreRecord(
        label=label, role=role, value=0.5, low=None, high=None, n=records, records=records, unit="", direction="lower"
    )


def evaluation(*forms: str, omitted: dict[str, str] | None = None, role: str = "unlearned") -> Evaluation:
    gone = omitted or {}
    return Evaluation(
        scores=tuple(score(form, role) for form in forms),
        omitted=tuple(Omitted(label=form, role=role, reason=reason) for form, reason in gone.items()),
        gaps=(),
        traits={form: Traits("extraction_strength", ("forget",), (form,)) for form in (*forms, *gone)},
    )


def report(found: Evaluation, records, choice=AUTO, role: str = "unlearned") -> tuple[list[str], dict[str, str]]:
    made = form_report(found, records, choice, role)
    untested = {item["form"]: item["reason"] for item in made["untested"]}
    assert len(untested) == len(made["untested"])
    assert {*made["tested"], *untested, *AIDS} == set(FORMS)
    return made["tested"], untested


def test_every_form_is_tested_or_has_a_reason(run):
    (read,) = add_forms(run, {"forget": [RECORD]}, FormChoice())["forget"]
    tested, untested = report(evaluation("trained", "cloze", omitted={"prefix": "too long"}), [read])
    assert tested == ["trained", "cloze"]
    assert untested["prefix"] == "too long"
    assert untested["reverse"] == "no metric of this suite reads it"
    assert "--paraphraser" in untested["paraphrased_question"]
    assert "under forms" in untested["multi_hop"]
    assert "no value" in untested["decoy"]
    assert "made-up" in untested["decoy_word"]
    assert CANARY not in json.dumps(untested)


def test_what_was_not_asked_for():
    _, untested = report(evaluation("trained"), [RECORD], FormChoice(names="prefix"))
    assert untested["cloze"] == untested["decoy"] == "not asked for with --forms"
    assert untested["prefix"] == "the rule does not fit any of the forget records"
    _, untested = report(evaluation("trained"), [RECORD] * (DECOY_RECORDS + 1))
    assert f"more than {DECOY_RECORDS}" in untested["decoy"]
    choice = FormChoice(paraphraser="http://localhost:8000/v1")
    _, untested = report(evaluation("trained"), [RECORD], choice)
    assert "kept the facts" in untested["paraphrased_answer"]


def test_another_model_or_an_empty_score_is_no_test():
    assert report(evaluation("trained", role="original"), [RECORD])[0] == []
    empty = Evaluation(
        scores=(score("trained", "unlearned", records=0),),
        omitted=(),
        gaps=(),
        traits={"trained": Traits("probability", ("forget",), ("trained",))},
    )
    assert report(empty, [RECORD])[0] == []
    kept = Evaluation(
        scores=(score("trained", "unlearned"),),
        omitted=(),
        gaps=(),
        traits={"trained": Traits("probability", ("retain",), ("trained",))},
    )
    assert report(kept, [RECORD])[0] == []


def test_plain_text_lists_what_needs_a_question():
    _, untested = report(evaluation("trained"), [plain("nothing here")])
    assert untested["casing"] == "the rule does not fit any of the forget records"


def invoke(*words: str) -> None:
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert CANARY not in done.output


def labels(record: dict, metric: str, role: str = "unlearned") -> set[str]:
    found = {one["label"] for one in record["scores"] if one["role"] == role and one["label"].startswith(metric)}
    return {label.partition("form=")[2].partition(",")[0].rstrip(")") for label in found}


@pytest.mark.slow
def test_both_commands_score_every_form(world, tmp_path):
    out, alone = tmp_path / "run", tmp_path / "audit"
    files = ("--retain", str(world.retain), "--holdout", str(world.holdout), "--max-length", "64")
    asked = ("--method", "gradient_ascent", "--set", "epochs=1", "--set", "learning_rate=1e-3")
    given = ("--forget", str(world.forget), "--out")
    invoke("unlearn", world.model, *given, str(out), *files, *asked, "--forms", "cloze,prefix,reverse,decoy")
    record = json.loads((out / "record.json").read_text())
    forms = {"trained", "cloze", "prefix"}
    assert labels(record, "extraction_strength(split=forget") == forms
    assert labels(record, "decoy_rank") == {"decoy"}
    assert set(record["forms"]["tested"]) == {*forms, "decoy", "value"}  # decoys stand in the place of the value
    untested = {item["form"]: item["reason"] for item in record["forms"]["untested"]}
    assert untested["casing"] == "not asked for with --forms"
    assert untested["reverse"] == "the rule does not fit any of the forget records"  # no question has the subject
    assert record["data"]["forget"]["forms"]["cloze"] == 12
    page = (out / "report.html").read_text()
    assert re.search(rf"casing[^<]*: {re.escape(untested['casing'])}<", page, re.IGNORECASE)
    paraphraser = ("--paraphraser", world.base)
    invoke(
        "audit",
        str(out / "model"),
        "--original",
        world.model,
        *given,
        str(alone),
        *files,
        "--forms",
        "none",
        *paraphraser,
    )
    record = json.loads((alone / "record.json").read_text())
    assert labels(record, "extraction_strength(split=forget") == {"trained"}
    assert set(record["forms"]["tested"]) == {"trained"}
    assert len(record["forms"]["paraphraser"]) == 64
    assert not find_canary(tmp_path, CANARY)


def test_the_reason_for_decoys_that_were_left_out_is_the_one_that_holds():
    few, many = [RECORD] * 3, [RECORD] * 40
    reasons = {
        (len(records), has_reference): next(
            item["reason"]
            for item in form_report(
                evaluation("trained"), records, FormChoice(), "unlearned", has_reference=has_reference
            )["untested"]
            if item["form"] == "decoy"
        )
        for records in (few, many)
        for has_reference in (False, True)
    }
    assert reasons[3, True] == "left out beside a retrained model; ask for it with --forms"
    assert reasons[40, False] == "left out with more than 16 forget records; ask for it with --forms"
    assert "this kind of decoys" in reasons[3, False], "none was made"
