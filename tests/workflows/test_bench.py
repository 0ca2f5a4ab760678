"""Methods over seeds on a model that was handed in: every run once, failures as rows, no trace of the records."""

from __future__ import annotations

import errno
import json
import os
import signal
from dataclasses import fields, replace
from pathlib import Path

import pytest

from expunge.api import AuditRequest, BenchRequest, Request, audit, bench
from expunge.cli import main
from expunge.cli.bench import parse_seeds
from expunge.config import Choice
from expunge.data.templates import Rendering
from expunge.errors import (
    DivergedError,
    ExpungeError,
    InputError,
    InterruptedRunError,
    ResourceError,
    UnknownNameError,
    VerificationError,
)
from expunge.executors.local import Job, Outcome
from expunge.models.load import load_model
from expunge.reports.record import read_record
from expunge.storage.events import read_events
from expunge.storage.run import RunFolder
from expunge.workflows import bench as module
from expunge.workflows import columns
from expunge.workflows.demo import check_outcome
from tests.support.canary import find_canary
from tests.support.jobs import run_here
from tests.workflows.conftest import CANARY
from tests.workflows.test_audit import QUICK, unlearn_request
from tests.workflows.test_unlearn import SETTINGS


def request(world, out, **changes) -> BenchRequest:
    own = Request(
        model=world.model,
        out=out,
        forget=world.forget,
        retain=world.retain,
        holdout=world.holdout,
        max_length=64,
        forms="none",
    )
    given = {
        "methods": ("npo", "gradient_ascent", "guardrail"),
        "seeds": (0, 1),
        "settings": {"npo": SETTINGS, "gradient_ascent": {**SETTINGS, "runaway": 1e-9}},
        "own": own,
        "workers": 1,
    }
    return BenchRequest(**{**given, "out": out, **changes})


@pytest.mark.slow
def test_every_run_once_failures_as_rows_and_no_trace(world, tmp_path):
    out = tmp_path / "bench"
    finished = bench(request(world, out))
    verdicts = {(row.method, row.seed): row.verdict for row in finished.rows}
    assert len(verdicts) == 6
    assert verdicts["gradient_ascent", 0] == "failed"
    assert "diverged" in next(row.trouble for row in finished.rows if row.method == "gradient_ascent")
    # Without a retrained model nothing can be called removed or partly removed.
    assert {verdicts["npo", seed] for seed in (0, 1)} <= {"not verifiable", "damaged", "exposed"}
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert [(line["method"], line["seed"]) for line in lines] == list(verdicts)
    npo = [(out / "runs" / f"npo-seed-{seed}" / "model" / "model.safetensors").read_bytes() for seed in (0, 1)]
    assert npo[0] != npo[1]  # the seed orders the records
    before = len(read_events(finished.run.events_path))
    again = bench(request(world, out))
    assert [row.verdict for row in again.rows] == list(verdicts.values())
    new = read_events(finished.run.events_path, after=before)
    assert not [event for event in new if event.kind == "job"]
    assert find_canary(out, CANARY) == []


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"methods": ("npoo",), "settings": {}}, UnknownNameError, "Did you mean 'npo'"),
        ({"methods": ("npo",), "settings": {"nxo": {}}}, InputError, "not among the methods"),
        ({"methods": (), "settings": {}}, InputError, "at least one"),
        ({"methods": ("retrain",), "settings": {}}, InputError, "exact"),
        ({"methods": ("npo",), "settings": {"npo": {"betta": 1}}}, UnknownNameError, "betta"),
    ],
)
def test_nonsense_is_refused_before_anything_runs(world, tmp_path, changes, error, says):
    with pytest.raises(error, match=says):
        bench(request(world, tmp_path / "bench", **changes))
    assert not (tmp_path / "bench").exists()


def test_the_benchmark_gives_a_pair_of_models_for_each_seed(monkeypatch, tmp_path):
    """Construction only: what would be trained, and that the records fit the method."""
    asked = BenchRequest(out=tmp_path / "bench", methods=("npo",), seeds=(0, 3))
    assert module._check("npo", asked).records == {}
    jobs: list[Job] = []
    monkeypatch.setattr(module, "_run_all", lambda run, name, found, sizes, workers, stop: jobs.extend(found))
    module._train(asked, RunFolder.create(asked.out, {}), lambda: False)
    wanted = [job.argument for job in jobs]
    assert [(one.benchmark.preset, one.benchmark.seed, one.without_forget) for one in wanted] == [
        ("bench", seed, gone) for seed in (0, 3) for gone in (False, True)
    ]
    assert len({one.folder for one in wanted}) == 4
    assert {one.left_out for one in wanted} == {("forget",)}


def test_seeds_are_a_number_or_a_list():
    assert parse_seeds("3") == (0, 1, 2)
    assert parse_seeds("4,7") == (4, 7)
    assert parse_seeds("100,") == (100,)
    with pytest.raises(InputError, match="--seeds"):
        parse_seeds("many")


@pytest.fixture
def here(monkeypatch) -> None:
    """Jobs run in this process: no pool, and the tests' own suite."""
    monkeypatch.setattr(module, "run_jobs", run_here)


def short(untrained, out, **changes) -> BenchRequest:
    """One method of one step, on a model that was handed in."""
    given = {"methods": ("npo",), "seeds": (0,), "settings": {"npo": QUICK}, "suite": "short"}
    return BenchRequest(**{**given, "out": out, "own": unlearn_request(untrained, out, audit=True), **changes})


def test_a_bench_is_bound_to_its_records_and_settings(untrained, tmp_path, here, short_suite):
    out = tmp_path / "bench"
    run, rows = bench(short(untrained, out))
    assert [row.verdict for row in rows] != ["failed"]
    before = (run.events_path.read_bytes(), (out / "results.jsonl").read_bytes())
    other = tmp_path / "other.jsonl"
    other.write_text("".join(json.dumps({"question": f"q{number}", "answer": "a"}) + "\n" for number in range(6)))
    own = unlearn_request(untrained, out)
    for changes, says in (
        ({"own": replace(own, forget=other)}, "other records .forget changed"),
        ({"own": replace(own, holdout=None)}, "other records .holdout changed"),
        ({"own": replace(own, evaluation={"world_facts": other})}, "other records .world_facts changed"),
        ({"own": replace(own, model=untrained.base)}, "other settings"),
        ({"own": replace(own, max_length=32)}, "max_length: 64 there, 32 now"),
        ({"own": replace(own, forms="none")}, 'forms: "auto" there, "none" now'),
        ({"seeds": (0, 1)}, "seeds"),
        ({"settings": {"npo": {**QUICK, "beta": 0.2}}}, "beta"),
        ({"methods": ("npo", "guardrail")}, "methods"),
        ({"suite": "quick"}, "suite"),
    ):
        with pytest.raises(InputError, match=says):
            bench(short(untrained, out, **changes))
        assert (run.events_path.read_bytes(), (out / "results.jsonl").read_bytes()) == before, says
    with pytest.raises(InputError, match="is a bench"):
        audit(AuditRequest(target=out, forget=untrained.forget, retain=untrained.retain))
    assert run.state == "done"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"methods": ("npo", "guardrail", "npo")}, "A method is named twice"),
        ({"seeds": (3, 4, 3)}, "A seed is named twice in 3, 4, 3"),
        ({"seeds": ()}, "at least one method and one seed"),
    ],
)
def test_the_same_twice_is_refused(untrained, tmp_path, changes, says):
    with pytest.raises(InputError, match=says):
        short(untrained, tmp_path / "bench", **changes)


def test_every_number_hangs_on_something_a_bench_is_bound_to(untrained, tmp_path, short_suite):
    """Fields of the own request: each changes what is bound, or is known to decide no number of a bench."""
    shared = short(untrained, tmp_path / "bench")
    checked = {"npo": module._check("npo", shared)}
    by_records = {"forget", "holdout", "evaluation", "columns", "allow_rejected"}
    without_numbers = {"out", "method", "settings", "suite", "audit", "allow_remote", "allow_overlap", "keep_helpers"}
    without_numbers |= {"policy", "family"}
    others = {
        "model": untrained.base,
        "benchmark": Choice("fictional", {"preset": "smoke"}),
        "retain": "self",
        "base": untrained.base,
        "retrained": (untrained.base,),
        "forms": "cloze",
        "paraphraser": untrained.base,
        "max_length": 32,
        "dtype": "bfloat16",
        "rendering": Rendering(template="muse"),
    }
    assert {item.name for item in fields(Request)} == set(others) | by_records | without_numbers
    for name, value in others.items():
        changed = replace(shared, own=replace(shared.own, **{name: value}))
        assert module._config(changed, checked) != module._config(shared, checked), name


def test_the_place_of_a_model_is_bound_and_not_how_it_was_written(untrained, tmp_path, monkeypatch):
    shared = short(untrained, tmp_path / "bench")
    monkeypatch.chdir(untrained.root)
    written = replace(shared, own=replace(shared.own, model="model"))
    assert module._config(written, {}) == module._config(shared, {})
    monkeypatch.chdir(tmp_path)
    assert module._config(written, {}) != module._config(shared, {})


def test_a_bench_of_which_every_run_diverged_is_written_and_says_so(untrained, tmp_path, here, short_suite):
    out = tmp_path / "bench"
    diverging = {"npo": {**QUICK, "runaway": 1e-9}}
    for _ in range(2):  # what diverged is not run again, and is said again
        with pytest.raises(DivergedError, match=r"No run ended with a record; results\.md .*diverged") as caught:
            bench(short(untrained, out, settings=diverging))
        assert caught.value.exit_code == 3
        assert RunFolder.open(out).state == "diverged"
    assert len((out / "results.jsonl").read_text().splitlines()) == 1
    assert "npo: no run ended with a record" in (out / "results.md").read_text()
    assert (out / "results.html").is_file()


@pytest.mark.parametrize(("error", "state"), [(ResourceError, "failed"), (InputError, "failed")])
def test_a_bench_without_any_record_fails_as_its_runs_did(
    untrained, tmp_path, here, short_suite, monkeypatch, error, state
):
    out = tmp_path / "bench"

    def fail(argument, listener):
        raise error("No space.")

    monkeypatch.setattr(module, "run_job", fail)
    with pytest.raises(error, match="One says: No space"):
        bench(short(untrained, out))
    assert RunFolder.open(out).state == state


def test_ctrl_c_leaves_a_bench_interrupted_and_the_next_call_goes_on(untrained, tmp_path, here, short_suite):
    """The signal comes after the first of two runs; that one is not made again."""
    out = tmp_path / "bench"

    def stop(event) -> None:
        if event.kind == "job":
            os.kill(os.getpid(), signal.SIGINT)

    wanted = short(untrained, out, seeds=(0, 1))
    with pytest.raises(InterruptedRunError, match="the same command goes on") as caught:
        bench(wanted, (stop,))
    assert caught.value.exit_code == 75
    assert RunFolder.open(out).state == "interrupted"
    assert not (out / "results.md").exists()
    run, rows = bench(wanted)
    assert run.state == "done"
    assert [row.trouble for row in rows] == [None, None]
    jobs = [event.data["job"] for event in read_events(run.events_path) if event.kind == "job"]
    assert jobs == ["npo-seed-0", "npo-seed-1"]


@pytest.mark.parametrize(
    ("raised", "seen"), [(KeyboardInterrupt(), KeyboardInterrupt), (InterruptedRunError("x"), InterruptedRunError)]
)
def test_a_job_that_was_interrupted_interrupts_the_bench(
    untrained, tmp_path, here, short_suite, monkeypatch, raised, seen
):
    def interrupted(argument, listener):
        raise raised

    monkeypatch.setattr(module, "run_job", interrupted)
    with pytest.raises(seen):
        bench(short(untrained, tmp_path / "bench"))
    assert RunFolder.open(tmp_path / "bench").state == "interrupted"


def test_processes_that_die_of_the_same_ctrl_c_are_no_want_of_memory(untrained, tmp_path, monkeypatch, short_suite):
    def dying(jobs, work, *, workers, hear):
        os.kill(os.getpid(), signal.SIGINT)
        raise ResourceError("A process of the pool died.")
        yield

    monkeypatch.setattr(module, "run_jobs", dying)
    with pytest.raises(InterruptedRunError):
        bench(short(untrained, tmp_path / "bench"))
    assert RunFolder.open(tmp_path / "bench").state == "interrupted"


def test_what_one_run_read_of_a_shared_model_no_other_reads_again(untrained, tmp_path, here, short_suite, monkeypatch):
    loaded: list[str] = []

    def load(source, **how):
        loaded.append(Path(source).name)
        return load_model(source, **how)

    monkeypatch.setattr(columns, "load_model", load)
    methods = ("npo", "grad_diff")
    run, _ = bench(short(untrained, tmp_path / "bench", methods=methods, settings=dict.fromkeys(methods, QUICK)))
    own = Path(untrained.model).name
    assert sorted(loaded) == sorted([own, "model", "model"]), "the original once, each run's result once"
    places = [run.root / "runs" / f"{method}-seed-0" for method in methods]
    first, second = (
        [score for score in read_record(place / "record.json").scores if score["role"] == "original"]
        for place in places
    )
    assert first == second != []
    assert {(place / "data.key").read_bytes() for place in places} == {(run.root / "data.key").read_bytes()}


def test_a_training_that_fails_is_told_and_the_next_call_goes_on(tmp_path, here, monkeypatch):
    """One of two models cannot be written at first; the other is not trained again."""
    trained: list[str] = []
    full = [True]

    def train(wanted, listener):
        if wanted.without_forget and full:
            full.clear()
            raise ResourceError("No space.")
        trained.append(wanted.folder.name)
        wanted.folder.mkdir(parents=True)
        (wanted.folder / "config.json").write_text("{}")

    def unlearned(request, listeners):
        raise InputError("Nothing was trained in this test.")

    monkeypatch.setattr(module, "train_model", train)
    monkeypatch.setattr(module, "unlearn", unlearned)
    asked = BenchRequest(
        out=tmp_path / "bench", methods=("npo",), seeds=(0,), benchmark=Choice("fictional", {"preset": "smoke"})
    )
    says = "train-retrained-seed-0 failed: No space. What is finished is kept; the same command goes on."
    with pytest.raises(ResourceError, match=says):
        bench(asked)
    assert RunFolder.open(asked.out).state == "failed"
    with pytest.raises(InputError, match="One says: Nothing was trained"):
        bench(asked)
    assert trained == ["original", "retrained"]


def test_a_run_that_failed_is_tried_again_and_one_that_diverged_is_not(untrained, tmp_path, here, short_suite):
    out = tmp_path / "bench"
    seeds = (0, 1)
    first = bench(short(untrained, out, seeds=seeds))
    places = [out / "runs" / f"npo-seed-{seed}" for seed in seeds]
    for place, state in zip(places, ("failed", "diverged"), strict=True):
        (place / "record.json").unlink()
        RunFolder.open(place).set_state(state, reason="It diverged.")
    _, rows = bench(short(untrained, out, seeds=seeds))
    assert [row.verdict for row in rows] == [first.rows[0].verdict, "failed"]
    assert rows[1].trouble == "It diverged."


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (1, ExpungeError),
        (2, InputError),
        (3, DivergedError),
        (4, VerificationError),
        (5, ResourceError),
        (75, InterruptedRunError),
    ],
)
def test_a_model_that_could_not_be_trained_ends_a_bench_with_its_exit_code(code, error):
    check_outcome(Outcome("train the original model", None))
    with pytest.raises(error, match="train the original model failed: No space."):
        check_outcome(Outcome("train the original model", "No space.", code))
    assert code == getattr(error, "exit_code", 1)


@pytest.mark.parametrize(
    ("raised", "code", "says"),
    [
        (VerificationError("It has changed."), 4, "train-original-seed-0 failed: It has changed."),
        (MemoryError(CANARY), 5, "ran out of memory"),
        (RuntimeError(f"DefaultCPUAllocator: {CANARY}"), 5, "fewer --workers"),
        (OSError(errno.ENOSPC, CANARY), 5, "disk or quota is full"),
        (OSError(errno.EFBIG, CANARY), 5, "ulimit"),
        (KeyError(CANARY), 1, "a bug: KeyError in test_bench.py:"),
    ],
)
def test_what_a_job_met_reaches_the_user(tmp_path, here, monkeypatch, capfd, raised, code, says):
    def train(wanted, phases):
        raise raised

    monkeypatch.setattr(module, "train_model", train)
    line = ["bench", "--methods", "npo", "--preset", "smoke", "--seeds", "1", "--out", str(tmp_path / "bench")]
    assert main(line) == code
    told = capfd.readouterr().err
    assert says in told
    assert ("bug" in told) == (code == 1)
    assert CANARY not in told


@pytest.mark.parametrize("method", ["lunar", "ga_descent_general"])
def test_what_a_benchmark_brings_for_methods_is_there(tmp_path, method):
    request = BenchRequest(out=tmp_path, methods=(method,), benchmark=Choice("fictional", {"preset": "pool"}))
    assert module._check(method, request).recipe.name == method


def test_an_axis_that_cannot_be_meant_is_refused_before_anything_is_trained(tmp_path):
    settings = {"npo": {"penalty": {"name": "l2_sp", "settings": {"weight": -1}}}}
    with pytest.raises(InputError, match="at least 0"):
        bench(BenchRequest(out=tmp_path / "bench", methods=("npo",), settings=settings))
    assert not (tmp_path / "bench").exists()
