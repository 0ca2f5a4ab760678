"""Shadow models: whose recipe is repeated, nothing is trained twice, and no weights that hold the forget set stay."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from expunge.api import AuditRequest, Request, ShadowsRequest, audit, shadows, unlearn
from expunge.benchmarks.fictional import MAX_LENGTH, Fictional
from expunge.cli import main
from expunge.config import Choice, to_plain
from expunge.errors import DivergedError, InputError, InterruptedRunError, ResourceError
from expunge.evaluation.verdict.policy import Thresholds, VerdictPolicy
from expunge.methods.recipe import resolve
from expunge.models.load import build_model, save_model
from expunge.reports.record import read_record
from expunge.storage.events import read_events
from expunge.storage.run import RunFolder
from expunge.workflows import shadows as module
from expunge.workflows.audit import last_audit
from expunge.workflows.demo import ToTrain, train_pair, training_steps
from expunge.workflows.inputs import bind_data
from expunge.workflows.repeat import _changes, read_run
from expunge.workflows.run_config import recipe_config, run_config
from tests.support.jobs import run_here
from tests.workflows.test_audit import request, unlearn_request, warnings_of

POOL = Choice("fictional", {"preset": "pool", "seed": 0})
ONE_STEP = {"max_steps": 1, "batch_size": 4, "warmup": 0.0, "checkpoint_every": 0}
LABEL, CONTROL = "ulira(split=forget)", "ulira(split=holdout)"


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> list[Path]:
    """Models with random weights of the shape that the benchmark trains."""
    root = tmp_path_factory.mktemp("models")
    benchmark = Fictional(preset="pool")
    tokenizer = benchmark.tokenizer()
    for seed in range(6):
        save_model(build_model(benchmark.model_config(tokenizer), seed=seed), tokenizer, root / str(seed))
    return [root / str(seed) for seed in range(6)]


def on_pool(model: Path, out: Path, **changes) -> Request:
    given = {"model": str(model), "benchmark": POOL, "max_length": MAX_LENGTH, "settings": ONE_STEP, "audit": False}
    return Request(**{**given, "out": out, **changes})


@pytest.fixture(scope="module")
def finished(models, tmp_path_factory) -> Path:
    return unlearn(on_pool(models[0], tmp_path_factory.mktemp("finished") / "run", method="grad_diff")).run.root


@pytest.fixture
def run(finished, tmp_path) -> RunFolder:
    shutil.copytree(finished, tmp_path / "run")
    return RunFolder.open(tmp_path / "run")


@pytest.fixture
def trained(monkeypatch, models) -> list[Path]:
    """Jobs run in this process, and training copies a model with random weights; returns what was trained."""
    found: list[Path] = []

    def train(wanted, listener) -> None:
        found.append(wanted.folder)
        shutil.copytree(models[len(found) % 6], wanted.folder)
        path = wanted.folder / "generation_config.json"  # no two models with one digest
        path.write_text(json.dumps({**json.loads(path.read_text()), "shadow": len(found)}))

    monkeypatch.setattr(module, "train_model", train)
    monkeypatch.setattr(module, "run_jobs", run_here)
    return found


def asked(run: RunFolder, **changes) -> ShadowsRequest:
    given = {"target": run.root, "out": run.root.parent / "shadows", "count": 2, "suite": "short"}
    return ShadowsRequest(**{**given, **changes})


def scores(run: RunFolder, label: str = LABEL) -> dict[str, dict]:
    return {score["role"]: score for score in read_record(run.record).scores if score["label"] == label}


def test_pairs_are_trained_unlearned_alike_and_read(run, trained, short_suite):
    seen = []
    _, record = shadows(asked(run, keep_shadows=True), (seen.append,))
    root = run.root.parent / "shadows" / "shadows"
    assert trained == [root / number / role for number in "12" for role in ("original", "retrained")]
    assert [scores(run, label)["unlearned"]["details"]["shadows_unlearned"] for label in (LABEL, CONTROL)] == [2, 2]
    assert record["columns"] == ["original", "unlearned"]  # shadow models have no column
    assert {"shadow_unlearned", "shadow_retrained_2"} <= set(record["digests"])
    assert "U-LiRA attack" in run.report.read_text()
    made = [RunFolder.open(root / number / "unlearned").config for number in "12"]
    adapted = {**run.config["adapted"], "given": ["learning_rate", "epochs"]}  # the run's numbers, whatever the rule
    for number, settings in enumerate(made, start=1):
        training = {**run.config["training"], "seed": run.config["training"]["seed"] + number}
        expected = {**run.config, "model": str(root / str(number) / "original"), "training": training}
        assert settings == {**expected, "adapted": adapted}
    plan = next(event.data for event in seen if "unlearn 2 of them" in str(event.data.get("name")))
    steps = training_steps(ToTrain(Fictional(preset="pool"), root, without_forget=False))
    assert plan["total"] == 4 * steps + 2  # two of them are unlearned, in one step each
    last = [event.data for event in seen if event.kind == "progress" and event.data["total"] == plan["total"]][-1]
    assert last["step"] == plan["total"]
    assert "minutes by the run's own speed" in plan["name"]
    state = RunFolder.open(run.root.parent / "shadows")
    sensitive = {item.path.split("/")[2] for item in state.inventory() if item.sensitive}
    assert sensitive == {"original", "unlearned"}


def test_shadows_of_one_pair_have_one_start_and_no_two_pairs_do(run, tmp_path):
    source = read_run(run.root)
    pairs = [module._pair(source, RunFolder(tmp_path), number, asked(run)) for number in (1, 2)]
    starts = [[one.train.model_seed for one in pair] for pair in pairs]
    assert [len(set(pair)) for pair in starts] == [1, 1]
    assert [pair[0] for pair in starts] == [20_001, 20_002]  # beyond the seeds of runs and of pools of models
    assert [one.train.without_forget for one in pairs[0]] == [False, True]
    assert [one.request is None for one in pairs[0]] == [False, True]


def test_what_holds_the_forget_set_is_deleted_unless_kept(run, trained, short_suite):
    shadows(asked(run))
    folder = run.root.parent / "shadows" / "shadows"
    assert sorted(path.name for path in folder.glob("*/*")) == ["retrained", "retrained"]
    assert warnings_of(run) == []
    assert LABEL in {score["label"] for score in read_record(run.record).scores}
    _, record = audit(AuditRequest(target=run.root, suite="short"))
    assert warnings_of(run) == [
        "2 shadow_unlearned models of the report before are gone; hand in others with --shadow-unlearned."
    ]
    assert not [score for score in record["scores"] if score["label"] == LABEL]


@pytest.mark.slow
def test_an_audit_remembers_shadows_that_are_there(run, trained, short_suite):
    shadows(asked(run, keep_shadows=True))
    before = scores(run)
    audit(AuditRequest(target=run.root, suite="short"))
    assert scores(run) == before
    assert warnings_of(run) == []


def test_a_stop_loses_nothing_and_the_next_call_goes_on_also_with_more(run, trained, short_suite):
    def stop(event) -> None:
        if event.kind == "job" and event.data["job"] == "shadow-1-retrained":
            os.kill(os.getpid(), signal.SIGTERM)

    wanted = asked(run)  # what was unlearned has no original any more
    with pytest.raises(InterruptedRunError, match="the same command goes on"):
        shadows(wanted, (stop,))
    made = RunFolder.open(wanted.out)
    assert made.state == "interrupted"
    assert len(trained) == 2
    assert not run.record.exists()
    shadows(wanted)
    assert made.state == "done"
    assert len(trained) == 4
    shadows(asked(run, keep_shadows=True, count=3))
    assert len(trained[4:]) == 4  # those deleted after the audit, and a third pair
    assert len(set(trained)) == 6
    assert scores(run)["unlearned"]["details"]["shadows_unlearned"] == 3
    assert "pair_auc" in scores(run)["unlearned"]["details"]


@pytest.mark.slow
def test_an_original_that_was_trained_is_not_trained_again(run, trained, short_suite, monkeypatch):
    """The process dies between training and unlearning."""

    def die(request, listeners=()) -> None:
        raise ResourceError("No space.")

    with monkeypatch.context() as patch:
        patch.setattr(module, "unlearn", die)
        with pytest.raises(ResourceError, match="shadow-1-original failed: No space"):
            shadows(asked(run))
    assert len(trained) == 1
    shadows(asked(run))
    assert len(trained) == len(set(trained)) == 4


@pytest.fixture
def bad(monkeypatch) -> set[str]:
    """Numbers of pairs whose unlearning diverges."""
    found: set[str] = set()

    def diverge(wanted, listeners=()):
        if wanted.out.parent.name in found:
            RunFolder.create(wanted.out, {}).set_state("diverged")
            raise DivergedError("The term forget ran away.")
        return unlearn(wanted, listeners)

    monkeypatch.setattr(module, "unlearn", diverge)
    return found


@pytest.mark.slow
def test_a_shadow_that_diverged_is_left_out_and_one_is_too_few(run, trained, short_suite, bad):
    bad.add("2")
    shadows(asked(run, count=3, keep_shadows=True))
    assert scores(run)["unlearned"]["details"]["shadows_unlearned"] == 2
    left_out = warnings_of(RunFolder.open(run.root.parent / "shadows"))
    assert left_out == ["shadow-2-original is left out: The term forget ran away."]
    with pytest.raises(DivergedError, match=r"1 shadow models were unlearned.* are kept, and their weights hold them"):
        shadows(asked(run, count=2, keep_shadows=True))
    folder = run.root.parent / "shadows" / "shadows"
    assert len(list(folder.glob("*/original"))) == len(list(folder.glob("*/unlearned"))) == 3


@pytest.mark.slow
def test_where_too_few_can_be_used_no_weights_stay_that_hold_the_forget_set(run, trained, short_suite, bad):
    bad.add("2")
    with pytest.raises(DivergedError, match=r"1 shadow models were unlearned.* were deleted, since"):
        shadows(asked(run))
    folder = run.root.parent / "shadows" / "shadows"
    assert sorted(path.name for path in folder.glob("*/*")) == ["retrained", "retrained"]
    bad.clear()
    shadows(asked(run))  # those that never saw the records are not trained again
    assert sorted(path.name for path in trained) == ["original"] * 4 + ["retrained"] * 2


@pytest.mark.slow
def test_the_original_of_a_shadow_that_diverged_goes_away_at_once(run, trained, short_suite, bad):
    left: list[bool] = []

    def look(event) -> None:
        if event.kind == "job" and event.data["job"] == "shadow-1-original":
            left.append((asked(run).out / "shadows" / "1" / "original").exists())

    bad.add("1")
    shadows(asked(run, count=3), (look,))
    assert left == [False]


@pytest.mark.slow
def test_the_audit_at_the_end_keeps_what_the_one_before_rested_on(run, models, trained, short_suite):
    """Its retrained and reference models, and its policy; further splits cannot be had and are warned of."""
    policy = VerdictPolicy(thresholds=Thresholds(margin=0.03))
    given = {"retrained": (str(models[4]),), "reference": (str(models[5]),), "policy": policy}
    audit(AuditRequest(target=run.root, suite="short", **given))
    shadows(asked(run, suite=None))
    last = last_audit(run)
    assert {name: last[name] for name in ("retrained", "reference", "suite", "policy")} == {
        "retrained": [str(models[4])],
        "reference": [str(models[5])],
        "suite": "short",
        "policy": to_plain(policy),
    }
    assert warnings_of(run) == []


@pytest.mark.slow
def test_splits_and_references_of_the_report_before_that_are_gone_are_missed(
    run, models, trained, short_suite, tmp_path
):
    further = tmp_path / "further.jsonl"
    further.write_text('{"question": "Where?", "answer": "There."}\n')
    shutil.copytree(models[5], tmp_path / "reference")
    given = {"reference": (str(tmp_path / "reference"),), "evaluation": {"own_facts": further}}
    audit(AuditRequest(target=run.root, suite="short", **given))
    shutil.rmtree(tmp_path / "reference")
    shadows(asked(run))
    assert warnings_of(run) == [
        "The report before had own_facts; hand them in again to keep what rests on them.",
        "1 reference models of the report before are gone; hand in others with --reference.",
    ]


@pytest.mark.slow
def test_the_folder_belongs_to_one_run_and_recipe(run, models, trained, short_suite, tmp_path):
    shadows(asked(run))
    other = unlearn(on_pool(models[0], tmp_path / "other", method="grad_diff", settings={**ONE_STEP, "seed": 7})).run
    with pytest.raises(InputError, match=r"other settings \(run"):
        shadows(asked(other, out=run.root.parent / "shadows"))


def test_a_run_on_files_is_refused_with_the_way_out(untrained, tmp_path, capfd):
    run = unlearn(unlearn_request(untrained, tmp_path / "run")).run
    assert main(["shadows", str(run.root), "--out", str(tmp_path / "shadows")]) == 2
    said = " ".join(capfd.readouterr().err.split())
    assert "made on files" in said
    assert "--shadow-unlearned MODEL" in said
    assert "--shadow-retrained MODEL" in said
    assert not (tmp_path / "shadows").exists()
    with pytest.raises(InputError, match="other records than the benchmark has .forget, retain, holdout"):
        shadows(ShadowsRequest(target=run.root, out=tmp_path / "shadows", benchmark=POOL))


def test_files_that_a_benchmark_wrote_are_known_by_what_they_say(models, tmp_path):
    data = tmp_path / "data"
    Fictional(preset="pool").write(data)
    files = {name: data / f"{name}.jsonl" for name in ("forget", "retain", "holdout")}
    run = unlearn(on_pool(models[0], tmp_path / "run", benchmark=None, **files)).run
    assert read_run(run.root, POOL).benchmark == Fictional(preset="pool")
    with pytest.raises(InputError, match="other records"):
        read_run(run.root, Choice("fictional", {"preset": "pool", "seed": 1}))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"method": "guardrail", "settings": {}}, "a policy before unchanged weights"),
        ({"method": "retrain", "settings": {"max_steps": 1}}, "is exact"),
    ],
)
def test_methods_without_shadows_are_refused(models, tmp_path, changes, says):
    run = unlearn(on_pool(models[0], tmp_path / "run", base=str(models[1]), **changes)).run
    with pytest.raises(InputError, match=says):
        read_run(run.root)


def test_other_runs_are_refused(run, untrained, tmp_path):
    small = unlearn(on_pool(Path(untrained.model), tmp_path / "small")).run
    with pytest.raises(InputError, match=r"not a model that the benchmark trains .hidden_size, num_hidden_layers"):
        read_run(small.root)
    with pytest.raises(InputError, match="another benchmark than --benchmark names"):
        read_run(run.root, Choice("fictional", {"preset": "smoke"}))
    bench = RunFolder.create(tmp_path / "bench", {"verb": "bench"})
    with pytest.raises(InputError, match="Name one of its runs"):
        read_run(bench.root)
    unfinished = RunFolder.create(tmp_path / "unfinished", run.config)
    with pytest.raises(InputError, match="the run is created.; finish it first"):
        read_run(unfinished.root)
    with pytest.raises(InputError, match="take at least 2"):
        asked(run, count=1)


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("npo", {"beta": 0.3, "retain_term": {"name": "kl", "settings": {}}, "retain_weight": 2.0}),
        ("gradient_ascent", {"parameters": {"name": "lora", "settings": {"rank": 2}}, "seed": 5}),
        ("task_vector", {}),
    ],
)
def test_any_recipe_is_repeated_with_another_seed(models, tmp_path, method, settings):
    """Read from what was recorded: what the run was made with is gone."""
    quick = ONE_STEP if method != "task_vector" else {}
    wanted = on_pool(models[0], tmp_path / "run", method=method, settings={**quick, **settings})
    recipe, inputs = wanted.read()
    run = RunFolder.create(tmp_path / "run", run_config(wanted, recipe, inputs))
    run.events.append("saved", seconds=1.0, steps=1)
    source = read_run(run.root)
    numbers = {key: value for key, value in recipe_config(recipe).items() if key != "adapted"}
    assert recipe_config(source.recipe) == numbers  # as they were, whatever rule they came from
    again, _ = source.request(str(models[1]), tmp_path / "again", 3).read()
    assert again.training.seed == recipe.training.seed + 3
    assert again.method == recipe.method
    assert again.axes == recipe.axes


def recorded(wanted: Request) -> RunFolder:
    """A run that counts as finished, without its training."""
    recipe, inputs = wanted.read()
    made = RunFolder.create(wanted.out, run_config(wanted, recipe, inputs))
    bind_data(made, inputs.splits)
    made.events.append("saved", seconds=1.0, steps=1)
    return made


@pytest.mark.parametrize("dtype", ["bfloat16", None])
def test_shadows_are_saved_in_the_dtype_of_the_run_and_bound_to_it(models, tmp_path, dtype):
    source = read_run(recorded(on_pool(models[0], tmp_path / "run", dtype=dtype)).root)
    again = source.request(str(models[1]), tmp_path / "again", 1)
    assert again.dtype == dtype
    assert run_config(again, *again.read()).get("dtype") == dtype
    assert module._config(source).get("dtype") == dtype


def test_records_of_a_benchmark_that_only_the_method_needs_are_known(models, tmp_path):
    """``general`` stands in none of the benchmark's splits, and the shadows read it from there as the run did."""
    made = recorded(on_pool(models[0], tmp_path / "run", method="ga_kl_general"))
    again = read_run(made.root).request(str(models[1]), tmp_path / "again", 1)
    _, inputs = again.read()
    assert len(inputs.training["general"]) == len(Fictional(preset="pool").sources()["general"])


def test_files_with_other_columns_are_known_by_their_records(models, tmp_path):
    """The shadows read the benchmark itself, whose records have no columns."""
    data = tmp_path / "data"
    Fictional(preset="pool").write(data)
    files = {name: data / f"{name}.jsonl" for name in ("forget", "retain", "holdout")}
    chosen = {"question": "ask", "answer": "say"}
    for file in files.values():
        rows = map(json.loads, file.read_text().splitlines())
        lines = (json.dumps({chosen.get(name, name): value for name, value in row.items()}) for row in rows)
        file.write_text("\n".join(lines))
    made = recorded(on_pool(models[0], tmp_path / "run", benchmark=None, columns=chosen, **files))
    again = read_run(made.root, POOL).request(str(models[1]), tmp_path / "again", 1)
    assert (again.columns, again.benchmark, again.forget) == ({}, POOL, None)


def test_the_audit_at_the_end_asks_in_the_forms_of_the_one_before(models, tmp_path):
    made = recorded(on_pool(models[0], tmp_path / "run"))
    made.events.append("audit", forms="cloze,reverse", suite="short")
    wanted = module._audit_request(asked(made), read_run(made.root), "short", [])
    assert wanted.forms == "cloze,reverse"


def test_cost_by_hand(run):
    """The run took 10 s for one step of 4 records in 2 views; a training reads all records in 24 epochs."""
    run.events.append("saved", seconds=1e6, steps=1)  # a later one is of another time
    source = read_run(run.root)
    seconds = next(event.data["seconds"] for event in read_events(run.events_path) if event.kind == "saved")
    training = seconds / 8 * len(source.benchmark.training()) * 24
    minutes = (6 * training + 3 * seconds) / 2 / 60
    assert source.cost(6, 3, 2) == f", about {max(minutes, 0.1):.1f} minutes by the run's own speed"


@pytest.fixture(scope="module")
def own_run(untrained, tmp_path_factory) -> RunFolder:
    return unlearn(unlearn_request(untrained, tmp_path_factory.mktemp("own") / "run")).run


def test_shadows_trained_elsewhere_are_handed_in_by_flags(untrained, models, own_run, short_suite, capfd):
    world, run = untrained, own_run
    files = ["--forget", str(world.forget), "--retain", str(world.retain), "--holdout", str(world.holdout)]
    inside = [part for model in models[:2] for part in ("--shadow-unlearned", str(model))]
    outside = [part for model in models[2:5] for part in ("--shadow-retrained", str(model))]
    assert main(["audit", str(run.root), *files, "--suite", "short", *inside, *outside]) == 0
    details = scores(run)["unlearned"]["details"]
    assert (details["shadows_unlearned"], details["shadows_retrained"]) == (2, 3)
    assert (
        main(
            [
                "audit",
                str(run.root),
                *files,
                "--suite",
                "short",
                *inside,
                *outside[:2],
                "--shadow-retrained",
                str(models[0]),
            ]
        )
        == 2
    )
    assert "The shadow_unlearned model is the shadow_retrained_2 model too" in " ".join(capfd.readouterr().err.split())


def test_one_shadow_is_omitted_with_the_reason(untrained, models, own_run, short_suite):
    _, record = audit(
        request(untrained, own_run, shadow_unlearned=(str(models[0]),), shadow_retrained=tuple(map(str, models[2:4])))
    )
    assert not [score for score in record["scores"] if score["label"].startswith("ulira")]
    omitted = [item for item in record["omitted"] if item["label"] == LABEL and item["role"] != "guardrail"]
    reasons = {item["reason"] for item in omitted}
    assert reasons == {
        "1 shadow models that unlearned the records and 2 that never saw them were handed in, and it takes 2 of each: "
        "--shadow-unlearned, --shadow-retrained"
    }


@pytest.mark.slow
def test_weak_unlearning_is_seen_and_the_retrained_model_is_not_taken_for_it(tmp_path):
    """Four pairs of the smallest preset in processes; a few steps leave most of what was known."""
    train_pair(Fictional(preset="pool"), tmp_path)
    weak = {"learning_rate": 1e-3, "batch_size": 16, "max_steps": 4, "warmup": 0.0}
    wanted = on_pool(tmp_path / "original", tmp_path / "run", method="grad_diff", settings=weak)
    run = unlearn(wanted).run
    retrained = str(tmp_path / "retrained")
    audit(AuditRequest(target=run.root, retrained=(retrained,)))
    shadows(ShadowsRequest(target=run.root, out=tmp_path / "shadows", count=4))
    found = scores(run)
    assert found["unlearned"]["value"] > 0.9
    assert found["retrained"]["value"] < 0.1
    assert found["original"]["value"] > 0.9  # "unlearned" by nothing
    gap = next(one for one in read_record(run.record).gaps if (one["label"], one["role"]) == (LABEL, "unlearned"))
    assert gap["low"] > 0.5
    assert found["unlearned"]["details"]["pair_accuracy"] > 0.9
    # What the attack tells of records that nobody saw is less than what it tells of those that were forgotten.
    control = {role: score["value"] for role, score in scores(run, CONTROL).items()}
    assert control["unlearned"] - control["retrained"] < gap["value"] - 0.2


@pytest.mark.parametrize("stage", [{"scale": 0.1}, {"scale": 0.1, "seed": 0}])
def test_a_recipe_with_stages_is_found_again(stage):
    """The seed of a stage is the run's, or its own; either is what the shadow models are made with."""
    changes = {"seed": 3, "learning_rate": 1e-3, "before": {"add_noise": stage}}
    recorded = to_plain(recipe_config(resolve("noise", changes)))
    found = _changes(recorded)
    assert to_plain(recipe_config(resolve("noise", found))) == recorded
    assert ("seed" in found["before"]["add_noise"]) == ("seed" in stage)
