"""Audits of a model behind an address: a server on this machine, scripted or with a small model behind it."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from expunge.api import AuditRequest, audit
from expunge.cli import main
from expunge.data.record import Record
from expunge.errors import InputError, InterruptedRunError, ResourceError
from expunge.evaluation import served
from expunge.evaluation.replies import Asking, generate_replies
from expunge.metrics.answers import RefusalRate
from expunge.metrics.fluency import ReplyPerplexity
from expunge.metrics.leakage import LeakAtK
from expunge.metrics.memorisation import Probability, Rouge
from expunge.models.load import load_model
from expunge.registry import suites
from expunge.storage.events import read_events
from expunge.storage.run import RunFolder
from expunge.storage.secret import Secret
from expunge.workflows import prompted
from expunge.workflows.prompted import AUDITED, LIMIT
from expunge.workflows.record import LIMITS, NO_ATTACK
from tests.support.canary import find_canary
from tests.support.noise import moved
from tests.workflows.conftest import CANARY, World, rows
from tests.workflows.test_no_trace import finish, places, start
from tests.workflows.test_remote import KEY, Stub, chat, shown, stub

__all__ = ["places", "stub"]  # fixtures
ANSWERS = {row["question"]: str(row["answer"]) for split in ("forget", "retain", "holdout") for row in rows(split, 12)}
REFUSAL = f"I'm sorry, but I can't help with {CANARY}."  # nothing that is said may be kept either
ROUGE, RETAIN = "rouge(split=forget", "rouge(split=retain"
NO_LOGITS = "log-probabilities are not visible through prompts"


def tells(body) -> bytes:
    return chat(ANSWERS[body["messages"][-1]["content"]])


def refuses(body) -> bytes:
    return chat(REFUSAL)


def forgets(body) -> bytes:
    """Refuses what is to be forgotten and knows the rest."""
    return (refuses if CANARY in body["messages"][-1]["content"] else tells)(body)


@pytest.fixture
def texts(monkeypatch) -> str:
    """A suite of two ways of asking that is over in seconds, with metrics that no address answers."""

    def suite(splits):
        asked = [split for split in ("forget", "retain") if split in splits]
        rouge = tuple(Rouge(split=split, max_new_tokens=16) for split in asked)
        return (*rouge, RefusalRate(max_new_tokens=16), ReplyPerplexity(max_new_tokens=16), Probability())

    monkeypatch.setitem(suites._objects, "texts", suite)
    return "texts"


def request(world: World, stub: Stub, place: Path, **changes) -> AuditRequest:
    given: dict[str, Any] = {
        "target": f"{stub.address}#small",
        "access": "prompts",
        "forget": world.forget,
        "retain": world.retain,
        "forms": "none",
        "suite": "texts",
        "max_length": 64,
        "out": place,
    }
    return AuditRequest(**{**given, **changes})


def value(record, start: str, role: str = "unlearned") -> float:
    (found,) = [
        score["value"] for score in record["scores"] if score["label"].startswith(start) and score["role"] == role
    ]
    return found


def reasons(record, role: str = "unlearned") -> dict[str, str]:
    return {item["label"].partition("(")[0]: item["reason"] for item in record["omitted"] if item["role"] == role}


def asked_of(stub: Stub) -> Counter[str]:
    return Counter(body["messages"][-1]["content"] for body in stub.asked)


def test_one_that_tells_and_one_that_refuses(untrained, stub, tmp_path):
    stub.reply = tells
    told = audit(request(untrained, stub, tmp_path / "teller", suite="quick", holdout=untrained.holdout)).record
    assert value(told, ROUGE) == value(told, RETAIN) == 1.0
    assert value(told, "refusal_rate") == value(told, "empty_rate(split=forget") == 0.0
    stub.reply = forgets
    hidden = audit(request(untrained, stub, tmp_path / "refuser", suite="quick")).record
    assert value(hidden, ROUGE) < 0.5
    assert value(hidden, RETAIN) == 1.0
    assert value(hidden, "refusal_rate") == 1.0
    assert value(hidden, "over_refusal") == 0.0
    for record in (told, hidden):
        assert record["columns"] == ["unlearned"]
        assert record["verdict"]["word"] == "not verifiable"
        assert {score["label"].partition("(")[0] for score in record["scores"]} == {
            *("rouge", "refusal_rate", "over_refusal", "repetition", "empty_rate")
        }
    omitted = reasons(told)
    for name in ("extraction_strength", "probability", "truth_ratio", "mia_loss", "perplexity", "exact_memorisation"):
        assert omitted[name] == NO_LOGITS
    assert "no original model" in omitted["reply_perplexity"] == omitted["answer_mix"]


def test_all_refused(untrained, stub, tmp_path, texts):
    stub.reply = refuses
    record = audit(request(untrained, stub, tmp_path / "out")).record
    assert value(record, "refusal_rate") == 1.0
    assert value(record, RETAIN) == 0.0


def test_what_the_record_and_report_say_without_any_weights(untrained, stub, tmp_path, texts, monkeypatch):
    def loaded(source):
        raise AssertionError("nothing is there to load")

    monkeypatch.setattr("expunge.workflows.columns.load_model", loaded)
    monkeypatch.setattr("expunge.workflows.record.load_model", loaded)
    stub.reply = tells
    run, record = audit(request(untrained, stub, tmp_path / "out"))
    name = "127.0.0.1#small"
    unread = {"digest": None, "dtype": None, "parameters": None}
    assert record["model"] == {"name": name, **unread, "endpoint": name, "judged": name}
    assert f"<h1>Expunge report: {name}</h1>" in run.report.read_text()
    assert record["access"] == "prompts"
    assert record["limits"] == [*LIMITS, NO_ATTACK, LIMIT]
    assert set(record["digests"]) == {"code"}
    assert record["result"] is None
    assert record["run"]["curves"] == []
    assert json.loads(run.record.read_text()) == dict(record)
    page = run.report.read_text()
    assert name in page
    assert LIMIT in page
    assert "None" not in page
    assert record._repr_html_()
    names = [event.data["name"] for event in read_events(run.events_path) if event.kind == "phase"]
    assert f"send 12 prompts to {name}" in names
    assert not any(event.kind == "warning" for event in read_events(run.events_path))
    assert run.state == "done"


def test_nothing_that_was_sent_or_said_is_left(untrained, stub, tmp_path, texts, monkeypatch, capfd):
    monkeypatch.setenv(AUDITED.key_variable, KEY)
    stub.reply = forgets
    files = ["--forget", str(untrained.forget), "--retain", str(untrained.retain), "--suite", texts]
    out = tmp_path / "out"
    command = ["audit", f"{stub.address}#small", "--access", "prompts", *files, "--out", str(out), "--json"]
    assert main(command) == 0
    shown_there = capfd.readouterr()
    for place in (tmp_path, (shown_there.out + shown_there.err).encode()):
        assert find_canary(place, CANARY) == []
        assert find_canary(place, KEY) == []
        assert find_canary(place, "Maro Keld") == []
    events = [json.loads(line) for line in shown_there.out.splitlines()]
    assert events[-1]["event"] == "done"
    assert {"event": "phase", "name": "send 12 prompts to 127.0.0.1#small", "total": 12}.items() <= next(
        event.items() for event in events if str(event.get("name")).startswith("send")
    )
    assert all(headers["Authorization"] == f"Bearer {KEY}" for headers in stub.headers)


def test_what_is_sent(untrained, stub, tmp_path, monkeypatch):
    drawn = LeakAtK(max_new_tokens=16, k=2, samples=3, temperature=0.7, top_p=0.9, draw_seed=2)
    monkeypatch.setitem(suites._objects, "drawn", lambda splits: (Rouge(max_new_tokens=16), drawn))
    stub.reply = tells
    run, record = audit(request(untrained, stub, tmp_path / "out", suite="drawn"))
    questions = [row["question"] for row in rows("forget", 6)]
    greedy, draws = stub.asked[:6], stub.asked[6:]
    assert greedy == [
        {
            "model": "small",
            "messages": [{"role": "user", "content": question}],
            "temperature": 0.0,
            "max_tokens": 16,
        }
        for question in questions
    ]
    assert asked_of(stub) == dict.fromkeys(questions, 4)
    seeds = {2_000_006: 6, 2_000_007: 6, 2_000_008: 6}
    assert Counter(body.pop("seed") for body in draws) == seeds
    kept = {"model": "small", "temperature": 0.7, "top_p": 0.9, "max_tokens": 16}
    assert all({**body, "messages": None} == {**kept, "messages": None} for body in draws)
    assert value(record, "leak_at_k") == 1.0
    names = [event.data["name"] for event in read_events(run.events_path) if event.kind == "phase"]
    assert "send 24 prompts to 127.0.0.1#small" in names


def test_conversations_keep_their_turns_and_answers_stay_here(untrained, stub, tmp_path, texts):
    turns = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Who is Maro?"},
        {"role": "assistant", "content": "A baker."},
        {"role": "user", "content": f"Where does {CANARY} live?"},
    ]
    rows = [
        {"messages": [*turns, {"role": "assistant", "content": "In Quellmar, by the sea."}]},
        {"prompt": "The town of Maro is", "completion": " Ondra."},
        {"text": "Ulba lives in Sest."},
    ]
    path = tmp_path / "talk.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    stub.reply = lambda body: chat("By the sea, in Quellmar.")
    record = audit(request(untrained, stub, tmp_path / "out", forget=path, retain=None)).record
    assert [body["messages"] for body in stub.asked] == [
        turns,
        [{"role": "user", "content": "The town of Maro is"}],
    ]
    (rouge,) = [score for score in record["scores"] if score["label"].startswith(ROUGE)]
    assert rouge["value"] == pytest.approx((3 / 5 + 0) / 2)  # "by the sea" of five words
    assert rouge["records"] == 2
    assert rouge["details"]["not_asked"] == 1.0


@pytest.mark.slow
def test_the_same_numbers_as_of_the_folder_behind_the_address(world, stub, tmp_path, texts):
    """A model answers at the address, asked as this package asks it, and its folder is read through prompts."""
    loaded = load_model(world.model)

    def reply(body):
        question, tokens = body["messages"][0]["content"], body["max_tokens"]
        # The answer decides which token begins it, as in the folder's own reading.
        texts = (Secret(text, "x") for text in (question, ANSWERS[question]))
        record = Record(index=0, split="x", kind="qa", prompt=next(texts), answer=next(texts))
        (text,) = generate_replies(
            loaded, {"x": [record]}, Asking("x", "trained", tokens), max_length=64, batch_size=1, policy=None
        ).texts
        return chat(text.reveal())

    stub.reply = reply
    given = {"original": world.base, "retrained": (moved(world.base, tmp_path / "retrained"),)}
    asked = audit(request(world, stub, tmp_path / "address", **given)).record
    read = audit(request(world, stub, tmp_path / "folder", target=Path(world.model), **given)).record
    assert asked["columns"] == read["columns"] == ["original", "retrained", "unlearned", "guardrail"]
    assert value(asked, ROUGE) > 0.9  # it learnt them by heart, and the original did not
    assert value(asked, ROUGE, "original") < 0.3
    for label in (ROUGE, RETAIN, "refusal_rate", "reply_perplexity"):
        assert value(asked, label) == pytest.approx(value(read, label), rel=1e-4)
    strip = [[score for score in record["scores"] if score["role"] != "unlearned"] for record in (asked, read)]
    assert strip[0] == strip[1]
    assert value(asked, "probability", "original") > 0
    assert reasons(asked) == reasons(read) == {"probability": NO_LOGITS}
    assert asked["access"] == read["access"] == "prompts"
    assert asked["model"]["endpoint"] == "127.0.0.1#small"
    assert asked["model"]["digest"] == read["model"]["digest"] == asked["digests"]["original"]
    assert "unlearned" in read["digests"]
    assert "unlearned" not in asked["digests"]
    assert [gap for gap in asked["gaps"] if gap["role"] == "unlearned"]


def test_a_folder_through_prompts_without_an_original(untrained, tmp_path, texts, stub):
    record = audit(request(untrained, stub, tmp_path / "out", target=Path(untrained.model))).record
    assert not stub.asked
    assert record["columns"] == ["unlearned"]
    assert record["model"]["name"] == "model"
    assert record["model"]["digest"] == record["digests"]["unlearned"]
    assert record["model"]["parameters"] > 0
    assert reasons(record)["probability"] == NO_LOGITS


def test_a_stop_between_two_prompts_and_what_goes_on(untrained, stub, tmp_path, texts, monkeypatch):
    """The signal comes with the ninth prompt, the third of the second split: what came before it is not asked again."""

    def stopping(body):
        if len(stub.asked) == 9:
            os.kill(os.getpid(), signal.SIGTERM)
        return tells(body)

    monkeypatch.setattr(served, "BATCH", 2)
    stub.reply = stopping
    asked = request(untrained, stub, tmp_path / "out")
    with pytest.raises(InterruptedRunError, match="the same command goes on") as caught:
        audit(asked)
    assert caught.value.exit_code == 75
    run = RunFolder.open(tmp_path / "out")
    assert run.state == "interrupted"
    assert len(stub.asked) == 9
    assert find_canary(run.root, CANARY) == []
    stub.reply = tells
    record = audit(asked).record
    again = [body["messages"][-1]["content"] for body in stub.asked[9:]]
    assert again == [row["question"] for row in rows("retain", 6)][2:]  # the third was said with its batch half full
    names = [event.data["name"] for event in read_events(run.events_path) if event.kind == "phase"]
    assert [name for name in names if name.startswith("send")] == [
        "send 12 prompts to 127.0.0.1#small",
        "send 4 prompts to 127.0.0.1#small",
    ]
    assert value(record, ROUGE) == value(record, RETAIN) == 1.0
    assert run.state == "done"


def test_stored_answers_are_of_one_audit_alone(untrained, stub, tmp_path, texts):
    """A model at an address may change: neither another folder nor a later call reads what an earlier one was told."""
    stub.reply = tells
    asked = request(untrained, stub, tmp_path / "out")
    assert value(audit(asked).record, ROUGE) == 1.0
    stub.reply = forgets
    assert value(audit(asked).record, ROUGE) < 0.5
    assert len(stub.asked) == 24
    keys = [json.loads(path.read_text())["key"] for path in RunFolder.open(tmp_path / "out").scores.iterdir()]
    audit(request(untrained, stub, tmp_path / "other"))
    others = [json.loads(path.read_text())["key"] for path in RunFolder.open(tmp_path / "other").scores.iterdir()]
    identities = [{key["subject"]["endpoint"] for key in found} for found in (keys, others)]
    assert [len(found) for found in identities] == [2, 1]
    assert not identities[0] & identities[1]
    with pytest.raises(InputError, match="other settings"):
        audit(request(untrained, stub, tmp_path / "out", target=f"{stub.address}#large"))
    with pytest.raises(InputError, match="endpoint"):  # another path; none is shown or written
        audit(request(untrained, stub, tmp_path / "out", target=f"{stub.address}/{KEY}#small"))
    assert "/v1" not in RunFolder.open(tmp_path / "out").config_path.read_text()


def test_a_busy_service_is_waited_for(untrained, stub, tmp_path, texts, monkeypatch):
    pauses: list[float] = []
    monkeypatch.setattr(prompted, "wait", lambda seconds, **_: pauses.append(seconds))
    stub.reply = lambda body: (429, CANARY.encode(), {}) if len(stub.asked) in (3, 4) else tells(body)
    record = audit(request(untrained, stub, tmp_path / "out")).record
    assert pauses == [1.0, 2.0]
    assert len(stub.asked) == 14
    assert value(record, ROUGE) == 1.0


def test_a_service_that_stays_broken_ends_the_audit_and_is_asked_for_the_rest_later(
    untrained, stub, tmp_path, texts, monkeypatch
):
    monkeypatch.setattr(prompted, "wait", lambda seconds, **_: None)
    monkeypatch.setattr(served, "BATCH", 2)
    stub.reply = lambda body: (502, CANARY.encode(), {}) if len(stub.asked) >= 5 else tells(body)
    with pytest.raises(ResourceError, match="answers 502") as caught:
        audit(request(untrained, stub, tmp_path / "out"))
    assert CANARY not in shown(caught.value)
    stub.asked.clear()
    stub.reply = tells
    record = audit(request(untrained, stub, tmp_path / "out")).record
    assert len(stub.asked) == 8
    assert value(record, ROUGE) == 1.0


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        ((401, CANARY.encode(), {}), "The model at 127.0.0.1 answers 401"),
        ((400, CANARY.encode(), {}), "answers 400"),
        (CANARY.encode(), "expunge audit needs an OpenAI-compatible address"),
        (chat(None), "no chat completion"),
        (json.dumps({"choices": [{"message": CANARY}]}).encode(), "no chat completion"),
    ],
)
def test_what_is_no_reply_ends_the_audit_and_repeats_nothing(
    untrained, stub, tmp_path, texts, monkeypatch, reply, says
):
    monkeypatch.setenv(AUDITED.key_variable, KEY)
    stub.reply = lambda body: reply if len(stub.asked) == 8 else tells(body)
    with pytest.raises(InputError, match=says) as caught:
        audit(request(untrained, stub, tmp_path / "out"))
    for secret in (CANARY, KEY, "Maro"):
        assert secret not in shown(caught.value)
        assert find_canary(tmp_path, secret if len(secret) > 5 else "Maro Keld") == []
    assert "PARAPHRASER" not in str(caught.value)
    assert RunFolder.open(tmp_path / "out").state == "failed"


def test_a_refusal_in_a_field_of_its_own_and_a_filter(untrained, stub, tmp_path, texts):
    refused = {"choices": [{"message": {"role": "assistant", "content": None, "refusal": REFUSAL}}]}
    stub.reply = lambda body: json.dumps(refused).encode()
    assert value(audit(request(untrained, stub, tmp_path / "a")).record, "refusal_rate") == 1.0
    filtered = {"choices": [{"message": {"role": "assistant", "content": None}, "finish_reason": "content_filter"}]}
    stub.reply = lambda body: json.dumps(filtered).encode()
    record = audit(request(untrained, stub, tmp_path / "b")).record
    assert value(record, ROUGE) == value(record, "refusal_rate") == 0.0


def test_nobody_there(untrained, stub, tmp_path, texts, capfd):
    free = stub.address
    stub.shutdown()
    stub.server_close()
    with pytest.raises(ResourceError, match="cannot be reached"):
        audit(request(untrained, stub, tmp_path / "out", target=free))
    files = ["--forget", str(untrained.forget), "--suite", texts, "--out", str(tmp_path / "out2")]
    assert main(["audit", free, "--access", "prompts", *files]) == 5
    assert CANARY not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"access": "weights"}, "say so with --access prompts"),
        ({"access": "logits"}, "--access is weights or prompts"),
        ({"target": "https://models.invalid/v1"}, "Pass --allow-remote"),
        ({"target": "https://models.invalid/v1"}, "the prompts of all records"),
        ({"target": f"https://{KEY}:x@models.invalid/v1", "allow_remote": True}, AUDITED.key_variable),
        ({"out": None}, "pass --out DIR"),
    ],
)
def test_what_is_refused_before_anything_is_sent(untrained, stub, tmp_path, texts, changes, says):
    with pytest.raises(InputError, match=says) as caught:
        audit(request(untrained, stub, tmp_path / "out", **changes))
    assert caught.value.exit_code == 2
    assert KEY not in shown(caught.value)
    assert not (tmp_path / "out").exists()
    assert not stub.asked


def test_the_command_line_refuses_another_machine(untrained, tmp_path, texts, capfd):
    rest = ["--access", "prompts", "--forget", str(untrained.forget), "--out", str(tmp_path / "out"), "--json"]
    assert main(["audit", f"https://me:{KEY}@models.invalid/v1", *rest]) == 2
    assert main(["audit", "https://models.invalid/v1", *rest]) == 2
    said = capfd.readouterr()
    assert "--allow-remote" in said.err
    assert KEY not in said.out + said.err
    assert main(["audit", "https://models.invalid/v1", *rest[2:]]) == 2
    assert "--access prompts" in capfd.readouterr().err


@pytest.mark.parametrize("access", ["prompts", "weights"])
@pytest.mark.parametrize("mistyped", [f"https:/models.invalid/v1?key={KEY}", f"HTTP:models.invalid/{KEY}"])
def test_a_mistyped_address_is_not_repeated(untrained, tmp_path, texts, capfd, access, mistyped):
    rest = ["--access", access, "--forget", str(untrained.forget), "--out", str(tmp_path / "out"), "--json"]
    assert main(["audit", mistyped, *rest]) == 2
    said = capfd.readouterr()
    assert ("such as https://host/v1" if access == "prompts" else "The target is an address") in said.err
    assert KEY not in said.out + said.err
    assert not (tmp_path / "out").exists()


def test_another_machine_is_warned_of_before_the_first_prompt(untrained, stub, tmp_path, texts, monkeypatch):
    out = tmp_path / "out"

    def sent(self, turns, settings, **_):
        log = (out / "events.jsonl").read_text()
        assert "prompts of all records are now sent unencrypted to models.invalid" in log
        assert "send 12 prompts to models.invalid#default" in log
        return ""

    monkeypatch.setattr("expunge.workflows.remote.Endpoint.complete", sent)
    target = "http://models.invalid/v1"
    record = audit(request(untrained, stub, out, target=target, allow_remote=True)).record
    assert record["model"]["name"] == "models.invalid#default"
    assert record["limits"][-1] == LIMIT


def test_a_run_is_audited_by_its_weights(untrained, stub, tmp_path, texts):
    run = RunFolder.create(tmp_path / "run", {"verb": "unlearn"})
    with pytest.raises(InputError, match="audit its model folder"):
        audit(request(untrained, stub, tmp_path / "out", target=run.root))


def test_weights_stay_the_default(untrained, stub, tmp_path, texts, monkeypatch):
    def loaded(source):
        raise AssertionError("the original was read already and can be described without another load")

    monkeypatch.setattr("expunge.workflows.record.load_model", loaded)
    given = {"target": Path(untrained.model), "access": "weights"}
    with pytest.raises(InputError, match="pass --original"):
        audit(request(untrained, stub, tmp_path / "out", **given))
    run, record = audit(request(untrained, stub, tmp_path / "out", original=untrained.base, **given))
    assert record["access"] == "weights"
    assert record["limits"] == [*LIMITS, NO_ATTACK]
    assert value(record, "probability") > 0
    assert "access" not in run.config


@pytest.mark.slow
def test_killed_and_continued(untrained, stub, places, tmp_path):
    """The process dies while the ninth prompt waits for its reply; what goes on asks the second split alone."""
    processes: list[Any] = []

    def killing(body):
        if len(stub.asked) == 9:
            processes[0].send_signal(signal.SIGKILL)
        return tells(body)

    files = ["--forget", str(untrained.forget), "--retain", str(untrained.retain), "--forms", "none"]
    out = tmp_path / "out"
    command = ["audit", stub.address, "--access", "prompts", *files, "--out", str(out)]
    stub.reply = killing
    processes.append(start(places, *command, cwd=tmp_path))
    finish(processes[0], code=-signal.SIGKILL)
    assert find_canary(tmp_path, CANARY) == []
    stub.asked.clear()
    stub.reply = tells
    finish(start(places, *command, cwd=tmp_path))
    assert [body["messages"][-1]["content"] for body in stub.asked] == [row["question"] for row in rows("retain", 6)]
    assert find_canary(tmp_path, CANARY) == []
    assert RunFolder.open(out).state == "done"


def test_records_of_addresses_are_compared(untrained, stub, tmp_path, texts):
    """No digest says that two addresses had one original."""
    runs = []
    for name, reply in (("a", tells), ("b", forgets)):
        stub.reply = reply
        runs.append(audit(request(untrained, stub, tmp_path / name)).run.root)
    page = tmp_path / "compare.html"
    assert main(["compare", *map(str, runs), "--out", str(page)]) == 0
    assert page.is_file()
    assert find_canary(page, CANARY) == []
