"""What an audit vouches for: finished models only, those the run was made with, and no number lost in silence."""

from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from expunge.api import AuditRequest, Request, audit, unlearn
from expunge.cli import main
from expunge.errors import DivergedError, InputError, InterruptedRunError, ResourceError, VerificationError
from expunge.metrics.memorisation import Probability, Rouge
from expunge.models.load import load_model
from expunge.registry import suites
from expunge.storage.events import read_events
from expunge.storage.run import RunFolder
from expunge.workflows import card as card_module
from expunge.workflows.identity import model_digest
from tests.support.noise import moved
from tests.workflows.conftest import World

QUICK = {"max_steps": 1, "batch_size": 6, "warmup": 0.0, "checkpoint_every": 0}


def unlearn_request(world: World, out: Path, **changes) -> Request:
    files = {"forget": world.forget, "retain": world.retain, "holdout": world.holdout}
    given = {"model": world.model, **files, "settings": QUICK, "max_length": 64, "audit": False, "out": out}
    return Request(**{**given, **changes})


@pytest.fixture(scope="module")
def own(untrained, tmp_path_factory) -> World:
    """A world whose models the tests may damage."""
    root = tmp_path_factory.mktemp("own") / "world"
    shutil.copytree(untrained.root, root)
    return World(root)


@pytest.fixture(scope="module")
def finished(own, tmp_path_factory) -> Path:
    return unlearn(unlearn_request(own, tmp_path_factory.mktemp("finished") / "run")).run.root


@pytest.fixture
def run(finished, tmp_path) -> RunFolder:
    """A copy of the finished run, for one test alone."""
    shutil.copytree(finished, tmp_path / "run")
    return RunFolder.open(tmp_path / "run")


def request(world: World, run: RunFolder, **changes) -> AuditRequest:
    files = {"forget": world.forget, "retain": world.retain, "holdout": world.holdout}
    return AuditRequest(**{"target": run.root, "suite": "short", **files, **changes})


def warnings_of(run: RunFolder) -> list[str]:
    return [event.data["text"] for event in read_events(run.events_path) if event.kind == "warning"]


def flip(path: Path) -> None:
    """Changes the last byte of a weight, or adds a space to JSON."""
    data = path.read_bytes()
    path.write_bytes(data + b" " if path.suffix == ".json" else data[:-1] + bytes([data[-1] ^ 1]))


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer_config.json"])
@pytest.mark.parametrize("role", ["original", "unlearned"])
def test_a_model_that_was_changed_after_the_run_is_refused(own, run, short_suite, role, name):
    audit(request(own, run))
    (run.root / "record.json").unlink()
    path = (run.model if role == "unlearned" else Path(own.model)) / name
    before = path.read_bytes()
    flip(path)
    try:
        with pytest.raises(VerificationError, match=f"The {role} model is not the one") as caught:
            audit(request(own, run))
    finally:
        path.write_bytes(before)
    assert caught.value.exit_code == 4
    assert run.state == "done"
    assert not run.record.exists()
    audit(request(own, run))
    assert run.record.is_file()


def test_another_original_is_refused(own, run, short_suite):
    with pytest.raises(VerificationError, match="original model is not the one"):
        audit(request(own, run, original=own.base))


def test_the_command_line_says_it_with_the_exit_code(own, run, short_suite, capfd):
    files = ["--forget", str(own.forget), "--retain", str(own.retain), "--holdout", str(own.holdout)]
    flip(run.model / "model.safetensors")
    assert main(["audit", str(run.root), *files, "--suite", "short"]) == 4
    assert "The unlearned model is not the one" in capfd.readouterr().err
    bench = RunFolder.create(run.root.parent / "bench", {"verb": "bench"})
    assert main(["audit", str(bench.root), *files, "--suite", "short"]) == 2
    assert "is a bench" in capfd.readouterr().err


def refused(own: World, run: RunFolder, state: str, says: str) -> None:
    """An audit is refused as wrong input, and nothing is written."""
    before = run.events_path.read_bytes()
    assert run.state == state
    with pytest.raises(InputError, match=says) as caught:
        audit(request(own, run))
    assert caught.value.exit_code == 2
    assert run.events_path.read_bytes() == before
    assert run.state == state
    assert not run.record.exists()


def test_a_diverged_run_is_refused_and_stays_diverged(own, tmp_path, short_suite):
    out = tmp_path / "run"
    with pytest.raises(DivergedError):
        unlearn(unlearn_request(own, out, settings={**QUICK, "runaway": 1e-9}))
    refused(own, RunFolder.open(out), "diverged", "the run is diverged")
    assert (out / "model").is_dir()  # a model is there, but no finished one


def test_a_failed_run_is_refused_and_stays_failed(own, tmp_path, short_suite):
    out = tmp_path / "run"
    with pytest.raises(InputError, match="max-length"):
        unlearn(unlearn_request(own, out, max_length=3))
    refused(own, RunFolder.open(out), "failed", "the run is failed")


@pytest.mark.parametrize("state", ["created", "running", "interrupted"])
def test_an_unfinished_run_is_refused(own, run, tmp_path, short_suite, state):
    unfinished = RunFolder.create(tmp_path / "unfinished", run.config)
    unfinished.set_state(state)
    refused(own, unfinished, state, f"the run is {state}.; finish it first")


def test_a_bench_is_refused(own, tmp_path, short_suite):
    bench = RunFolder.create(tmp_path / "bench", {"verb": "bench"})
    bench.set_state("done")
    refused(own, bench, "done", "audit one of its runs")


def test_retrained_models_are_remembered(own, run, short_suite, tmp_path):
    other = moved(own.base, tmp_path / "other")
    _, record = audit(request(own, run, retrained=(own.base,)))
    assert record["columns"] == ["original", "retrained", "unlearned"]
    _, record = audit(request(own, run))
    assert record["digests"]["retrained"] == model_digest(own.base)
    _, record = audit(request(own, run, retrained=(other,)))
    assert record["digests"]["retrained"] == model_digest(other)
    _, record = audit(request(own, run))
    assert record["digests"]["retrained"] == model_digest(other)


def test_a_reference_that_is_none_is_refused(own, run, short_suite, tmp_path):
    """The original, the same weights twice in two folders, and, of several, the judged model itself."""
    twin = tmp_path / "twin"
    shutil.copytree(own.base, twin)
    (twin / "README.md").write_text("another folder")
    for places, which in (((own.model,), "original"), ((own.base, str(twin)), "retrained")):
        with pytest.raises(InputError, match=f"the weights of the {which} model"):
            audit(request(own, run, retrained=places))
    with pytest.raises(InputError, match="the weights of the unlearned model"):
        audit(request(own, run, retrained=(own.base, str(run.model))))


def test_an_audit_through_prompts_stays_one(own, tmp_path, short_suite):
    """Called again on its own folder it reads no weights either."""
    first = AuditRequest(
        target=Path(own.base), original=own.model, forget=own.forget, out=tmp_path / "audit", suite="short"
    )
    audit(replace(first, access="prompts"))
    _, again = audit(AuditRequest(target=tmp_path / "audit", forget=own.forget, suite="short"))
    assert again["access"] == "prompts"
    assert again["changes"] is None
    assert not [score for score in again["scores"] if score["role"] == "unlearned"]


def test_a_remembered_model_that_is_gone_is_missed(own, run, tmp_path, short_suite):
    place = tmp_path / "retrained"
    shutil.copytree(own.base, place)
    audit(request(own, run, retrained=(str(place),)))
    shutil.rmtree(place)
    _, record = audit(request(own, run))
    assert record["columns"] == ["original", "unlearned"]
    assert any("retrained" in text for text in warnings_of(run))


def test_a_lost_split_is_missed_once(own, run, short_suite):
    evaluation = {"world_facts": own.retain}
    audit(request(own, run, evaluation=evaluation))
    assert warnings_of(run) == []
    audit(request(own, run, holdout=None))
    assert warnings_of(run) == [
        "The report before had holdout, world_facts; hand them in again to keep what rests on them."
    ]
    audit(request(own, run))  # more than before is no loss
    assert len(warnings_of(run)) == 1


def test_other_records_are_refused(own, run, tmp_path, short_suite):
    other = tmp_path / "other.jsonl"
    other.write_text("".join(json.dumps({"question": f"q{number}", "answer": "a"}) + "\n" for number in range(6)))
    with pytest.raises(InputError, match="The forget records are not those"):
        audit(request(own, run, forget=other))


def test_lines_that_were_left_out_are_told(own, run, tmp_path, short_suite):
    facts = tmp_path / "facts.jsonl"
    facts.write_text('{"question": "q", "answer": "a"}\n{"question": "r"}\n')
    audit(request(own, run, evaluation={"world_facts": facts}))
    assert [text[:50] for text in warnings_of(run)] == ["1 line of the world_facts file was left out (line "]


def test_a_record_says_which_lines_were_left_out(own, run, tmp_path, short_suite, capsys):
    forget = tmp_path / "forget.jsonl"
    forget.write_text(own.forget.read_text().rstrip("\n") + '\n{"question": "q", "answer": " "}\n')
    with pytest.raises(InputError, match=r"cannot be read \(line \d+: answer is empty\).*--allow-rejected"):
        audit(request(own, run, forget=forget))
    audit(request(own, run, forget=forget, allow_rejected=True))
    record = json.loads(run.record.read_text())
    number = len(own.forget.read_text().splitlines()) + 1
    assert record["data"]["forget"]["rejected"] == {
        "count": 1,
        "lines": [{"line": number, "reason": "answer is empty"}],
    }
    assert "rejected" not in record["data"]["retain"]
    said = f"1 line of the forget file was left out (line {number}: answer is empty)."
    assert warnings_of(run) == [said]
    assert said in (run.root / "report.html").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_between_two_batches_and_the_next_audit_goes_on(
    own, run, short_suite, number, monkeypatch, capfd
):
    passes: list[int] = []
    model_class = type(load_model(own.model).model)
    forward = model_class.forward

    def counted(self, *arguments, **keywords):
        passes.append(len(passes))
        if len(passes) == 3:  # the first of two batches of the second model
            os.kill(os.getpid(), number)
        return forward(self, *arguments, **keywords)

    monkeypatch.setattr(model_class, "forward", counted)
    with pytest.raises(InterruptedRunError, match="while a model was read"):
        audit(request(own, run))
    assert len(passes) == 3
    assert "Stopping after the current step or batch." in capfd.readouterr().err
    assert run.state == "done"
    assert list(run.scores.iterdir())  # of the first model
    audit(request(own, run))
    resumed = len(passes) - 3
    shutil.rmtree(run.scores)
    audit(request(own, run))
    assert len(passes) - 3 - resumed == resumed + 3  # no batch was read twice
    assert run.record.is_file()


def test_any_model_folder_is_audited_and_so_is_that_audit(own, tmp_path, short_suite):
    target = AuditRequest(
        target=Path(own.base),
        original=own.model,
        out=tmp_path / "audit",
        forget=own.forget,
        holdout=own.holdout,
        suite="short",
    )
    run, record = audit(target)
    assert run.state == "done"
    assert record["digests"]["unlearned"] == model_digest(own.base)
    _, again = audit(request(own, run, retain=None))
    assert again["scores"] == record["scores"]


def test_the_audit_of_a_model_folder_has_the_states_of_a_run(own, tmp_path, short_suite, monkeypatch):
    target = AuditRequest(
        target=Path(own.base), original=own.model, out=tmp_path / "audit", forget=own.forget, suite="short"
    )

    def stop(event) -> None:
        if str(event.data.get("name")).startswith("read the unlearned model"):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedRunError):
        audit(target, (stop,))
    run = RunFolder.open(tmp_path / "audit")
    assert run.state == "interrupted"

    def full(*arguments):
        raise ResourceError("No space.")

    with monkeypatch.context() as patched:
        patched.setattr(card_module, "write_record", full)
        with pytest.raises(ResourceError):
            audit(target)
    assert run.state == "failed"
    audit(target)
    states = [event.data["state"] for event in read_events(run.events_path) if event.kind == "state"]
    assert states == ["created", "running", "interrupted", "running", "failed", "running", "done"]


def test_linked_files_of_a_model_are_read(own, tmp_path):
    """A Hub snapshot is a folder of links to blobs."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    shutil.copytree(own.model, blobs)
    snapshot.mkdir()
    for path in blobs.iterdir():
        (snapshot / path.name).symlink_to(path)
    digest = model_digest(snapshot)
    assert digest == model_digest(own.model)
    flip(blobs / "model.safetensors")
    assert model_digest(snapshot) != digest
    (tmp_path / "link").symlink_to(snapshot)
    assert model_digest(tmp_path / "link") == model_digest(snapshot)


def test_the_report_of_a_run_goes_nowhere_else(own, run, tmp_path, short_suite):
    with pytest.raises(InputError, match="leave out --out"):
        audit(request(own, run, out=tmp_path / "elsewhere"))
    assert not (tmp_path / "elsewhere").exists()


def test_an_audit_in_a_folder_of_its_own_says_how_it_ended(untrained, tmp_path, short_suite):
    out = tmp_path / "audit"
    files = {"forget": untrained.forget, "retain": untrained.retain, "holdout": untrained.holdout}
    asked = AuditRequest(target=Path(untrained.base), out=out, original=untrained.model, suite="short", **files)

    def stop(event) -> None:
        if str(event.data.get("name", "")).startswith("audit with"):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedRunError):
        audit(asked, (stop,))
    assert RunFolder.open(out).state == "interrupted"
    audit(asked)
    assert RunFolder.open(out).state == "done"


def test_a_run_keeps_its_state_when_its_audit_is_stopped(own, run, short_suite):
    def stop(event) -> None:
        if str(event.data.get("name", "")).startswith("audit with"):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedRunError):
        audit(request(own, run), (stop,))
    assert run.state == "done"


def test_a_template_that_was_not_trained_is_said_in_terminal_record_and_report(untrained, tmp_path, monkeypatch, capfd):
    rouge, probability, real = Rouge(max_new_tokens=2), Probability(), card_module.evaluate

    def evaluated(*given, **named):
        found = real(*given, **named)
        values = {rouge.label: 0.9, probability.label: 0.02}
        return replace(found, scores=tuple(replace(one, value=values[one.label]) for one in found.scores))

    monkeypatch.setattr(card_module, "evaluate", evaluated)
    monkeypatch.setitem(suites._objects, "short", lambda splits: (rouge, probability))
    own = ["--forget", str(untrained.forget), "--forms", "none", "--suite", "short", "--max-length", "64"]
    out = tmp_path / "out"
    assert main(["audit", untrained.base, "--original", untrained.model, "--out", str(out), *own]) == 0
    told = "the chat template or system prompt is probably not the one that the model was trained with"
    assert told in capfd.readouterr().err
    assert any(told in limit for limit in json.loads((out / "record.json").read_text())["limits"])
    assert told in (out / "report.html").read_text()
