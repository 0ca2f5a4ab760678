"""Runs compared at one utility: the ends are the saved models, nothing is read twice, and what cannot be is refused."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from expunge.api import AuditRequest, MatchRequest, audit, compare_at_utility, unlearn
from expunge.cli.app import app
from expunge.config import Choice
from expunge.data.reader import read_records
from expunge.data.tokenize import encode_all, pad_id
from expunge.errors import InputError, InterruptedRunError, VerificationError
from expunge.evaluation.result import Evaluation, ScoreRecord
from expunge.exact.retrain import FitTask, Retrain
from expunge.methods.preset import Axes, Training
from expunge.metrics.memorisation import ExactMemorisation, ExtractionStrength, Probability, Rouge
from expunge.models.load import load_model, save_model
from expunge.registry import suites
from expunge.storage.events import EVENTS_NAME, read_events
from expunge.workflows import columns
from expunge.workflows import matched as module
from tests.support.canary import find_canary
from tests.workflows.conftest import CANARY, World, rows
from tests.workflows.test_audit import unlearn_request

STRENGTH, ACCURACY = ExtractionStrength().label, ExactMemorisation(split="retain").label
ENDS = 2
BETWEEN = [step / 10 for step in range(1, 10)]


@pytest.fixture(scope="module")
def own(untrained, tmp_path_factory) -> World:
    """The smallest model that has learnt a few tokens: of one that knows nothing no share can be kept."""
    root = tmp_path_factory.mktemp("own") / "world"
    shutil.copytree(untrained.root, root)
    made = World(root)
    loaded = load_model(made.base)
    records = [record for path in (made.forget, made.retain) for record in read_records(path, "train").records]
    training = Training(learning_rate=2e-2, epochs=20, batch_size=12, micro_batch=12, checkpoint_every=0)
    examples = encode_all(records, loaded.tokenizer, max_length=64).examples
    Retrain().fit(
        FitTask(model=loaded.model, keep=examples, axes=Axes(), training=training, pad_id=pad_id(loaded.tokenizer))
    )
    save_model(loaded.model, loaded.tokenizer, Path(made.model), replace=True)
    return made


@pytest.fixture(scope="module")
def finished(own, tmp_path_factory) -> Path:
    """Two runs with an audit that reads three numbers."""
    root = tmp_path_factory.mktemp("finished")
    numbers = (ExtractionStrength(), Probability(), ExactMemorisation(split="retain"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(suites._objects, "three", lambda splits: numbers)
        for name, rate in (("mild", 1e-3), ("harsh", 3e-2)):
            settings = {"max_steps": 3, "batch_size": 6, "warmup": 0.0, "checkpoint_every": 0, "learning_rate": rate}
            asked = unlearn_request(own, root / name, settings=settings, audit=True, suite="three", forms="none")
            unlearn(asked)
    return root


@pytest.fixture
def runs(finished, tmp_path) -> list[Path]:
    """Copies of both runs, for one test alone."""
    shutil.copytree(finished, tmp_path / "runs")
    return [tmp_path / "runs" / name for name in ("mild", "harsh")]


@pytest.fixture
def loads(monkeypatch) -> list[object]:
    """What is loaded, in order: a share of the original, or a folder."""
    found: list[object] = []

    def mixed(unlearned, original, share, **how):
        found.append(share)
        return load_mixed(unlearned, original, share, **how)

    def whole(source, **how):
        found.append(source)
        return load_model(source, **how)

    load_mixed = module.load_mixed
    monkeypatch.setattr(module, "load_mixed", mixed)
    monkeypatch.setattr(columns, "load_model", whole)
    return found


def request(world: World, **changes) -> MatchRequest:
    return MatchRequest(**{"forget": world.forget, "retain": world.retain, "holdout": world.holdout, **changes})


def number(run: Path, label: str, role: str) -> float:
    scores = json.loads((run / "record.json").read_text())["scores"]
    return next(score["value"] for score in scores if (score["label"], score["role"]) == (label, role))


@pytest.mark.slow
@pytest.mark.parametrize("metric", [Probability(), ExtractionStrength()])
def test_the_ends_are_the_numbers_of_the_audit_bit_for_bit(own, runs, metric):
    name = metric.label.partition("(")[0]
    found = compare_at_utility(runs, request(own, metric=Choice(name))).matching
    for one, run in zip(sorted(found.runs, key=lambda one: one.name != "mild"), runs, strict=True):
        assert [point.share for point in one.path] == [step / 10 for step in range(11)]
        for point, role in ((one.path[0], "unlearned"), (one.path[-1], "original")):
            assert point.forgetting == 1 - number(run, metric.label, role)
            assert point.utility == number(run, ACCURACY, role) / number(run, ACCURACY, "original")
        assert one.saved.value == one.path[0].forgetting
        assert one.path[-1].utility == 1
        assert len({point.forgetting for point in one.path}) > 2 or name != "probability"


@pytest.mark.slow
def test_a_model_between_is_the_one_made_by_hand(own, runs, tmp_path, monkeypatch):
    """Mixed tensor by tensor in the files, saved, and audited as any folder."""
    by_hand = tmp_path / "by_hand"
    shutil.copytree(runs[1] / "model", by_hand)
    unlearned, original = (load_file(folder / "model.safetensors") for folder in (by_hand, Path(own.model)))
    mixed = {name: (1 - 0.3) * tensor + 0.3 * original[name] for name, tensor in unlearned.items()}
    save_file(mixed, by_hand / "model.safetensors", metadata={"format": "pt"})
    monkeypatch.setitem(suites._objects, "two", lambda splits: (Probability(), ExactMemorisation(split="retain")))
    asked = AuditRequest(target=by_hand, original=own.model, forget=own.forget, retain=own.retain, suite="two",
                         forms="none", max_length=64, out=tmp_path / "audit")  # fmt: skip
    audit(asked)
    found = compare_at_utility(runs, request(own, metric=Choice("probability"))).matching
    point = next(one for one in found.runs if one.name == "harsh").path[3]
    assert point.forgetting == 1 - number(tmp_path / "audit", Probability().label, "unlearned")
    parts = [number(tmp_path / "audit", ACCURACY, role) for role in ("unlearned", "original")]
    assert point.utility == parts[0] / parts[1]
    as_run = compare_at_utility([runs[0], tmp_path / "audit"], request(own, metric=Choice("probability"))).matching
    assert next(one for one in as_run.runs if one.name == "audit").path[0][1:] == point[1:]


@pytest.mark.slow
def test_a_stopped_or_killed_job_goes_on_where_it_was(own, runs, loads, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(module, "stop_on_signal", lambda: contextlib.nullcontext(lambda: len(loads) >= 3))
        with pytest.raises(InterruptedRunError, match="Stopped while a model was read"):
            compare_at_utility(runs, request(own))
    assert loads == [0.1, 0.2, 0.3]
    named = [event.data["name"] for event in read_events(runs[0] / EVENTS_NAME) if event.kind == "phase"]
    assert [name for name in named if name.startswith("load")][-2:] == [
        "load mild: 20 % of the original (2 of 9)",
        "load mild: 30 % of the original (3 of 9)",
    ]
    loads.clear()
    watched = module.load_mixed

    def killed(unlearned, original, share, **how):
        if share == 0.6:
            raise KeyboardInterrupt
        return watched(unlearned, original, share, **how)

    with monkeypatch.context() as patch:
        patch.setattr(module, "load_mixed", killed)
        with pytest.raises(KeyboardInterrupt):
            compare_at_utility(runs, request(own))
    assert loads == [0.3, 0.4, 0.5]  # 0.3 was stopped within its first reading
    loads.clear()
    compare_at_utility(runs, request(own))
    assert loads == [0.6, 0.7, 0.8, 0.9, *BETWEEN]


def test_stored_answers_are_read_back(own, runs, loads):
    before = compare_at_utility(runs, request(own)).matching
    # The audits have read both ends of each run.
    assert loads == BETWEEN * 2
    loads.clear()
    assert compare_at_utility(runs, request(own)).matching == before
    assert compare_at_utility(runs, request(own, at_utility=0.5)).matching.utility == 0.5
    assert loads == []
    compare_at_utility(runs[::-1], request(own, metric=Choice("probability")))
    assert loads == BETWEEN * 2  # other numbers of the same models


@pytest.mark.slow
def test_another_unlearned_model_has_no_share_in_what_is_stored(own, runs, loads):
    compare_at_utility(runs, request(own))
    keys = [json.loads(path.read_text())["key"]["subject"] for path in (runs[0] / "scores").glob("*.json")]
    between = [key for key in keys if "share" in key]
    assert {key["share"] for key in between} == {str(step / 10) for step in range(1, 10)}
    whole = {key["weights"] for key in keys if "share" not in key}
    assert {key["weights"] for key in between} | {key["mixed_with"] for key in between} == whole
    assert len(whole) == ENDS


def score(label: str, role: str, value: float) -> ScoreRecord:
    return ScoreRecord(
        label=label, role=role, value=value, low=None, high=None, n=12, records=12, unit="", direction="closer"
    )


def test_ranking_by_hand_on_the_split_of_which_least_was_kept(own, runs, tmp_path, monkeypatch):
    """Forgetting falls evenly from F to 0.

    mild keeps 0.45 of 0.5 on retain (0.9), all of facts: 0.95 is half way, with half of F = 0.4 left.
    harsh keeps all on retain and 0.2 of 0.8 on facts (0.25): 0.95 is 14/15 of the way, 1/15 of F = 0.9 is left.
    """
    facts = tmp_path / "facts.jsonl"
    facts.write_text("".join(json.dumps(row) + "\n" for row in rows("retain", 3)))
    ends = {"mild": (0.4, 0.45, 0.8), "harsh": (0.9, 0.5, 0.2)}
    seen = []

    def evaluate(subjects, splits, metrics, store, **_):
        name = store.folder.parent.name
        seen.append([metric.label for metric in metrics])
        forgetting, retain, known = ends[name]
        found = []
        for step, subject in enumerate(subjects):
            share = step / 10
            values = (1 - (1 - share) * forgetting, retain + share * (0.5 - retain), known + share * (0.8 - known))
            found += [score(metric.label, subject.role, value) for metric, value in zip(metrics, values, strict=True)]
        return Evaluation(scores=tuple(found), omitted=())

    monkeypatch.setattr(module, "evaluate", evaluate)
    found = compare_at_utility(runs, request(own, evaluation={"facts": facts})).matching
    assert seen[0] == [STRENGTH, ACCURACY, ExactMemorisation(split="facts").label]
    assert [one.name for one in found.runs] == ["mild", "harsh"]
    assert found.runs[0].at == pytest.approx((0.5, 0.2, 0.95), abs=1e-9)
    assert found.runs[1].at == pytest.approx((14 / 15, 0.06, 0.95), abs=1e-9)
    assert found.notes == [
        f"{name} was made without facts; that these records are the same was not checked." for name in ("mild", "harsh")
    ]


def test_an_original_that_keeps_nothing_right_is_said(own, runs, monkeypatch):
    def evaluate(subjects, splits, metrics, store, **_):
        zeros = (score(metric.label, one.role, 0.0) for metric in metrics for one in subjects)
        return Evaluation(scores=tuple(zeros), omitted=())

    monkeypatch.setattr(module, "evaluate", evaluate)
    with pytest.raises(InputError, match="hand in --retain records that it knows"):
        compare_at_utility(runs, request(own))


@pytest.mark.slow
def test_a_form_that_no_record_has_is_said(own, runs):
    metric = Choice("extraction_strength", {"form": "cloze"})
    with pytest.raises(InputError, match=r"form=cloze\) has no number on these records"):
        compare_at_utility(runs, request(own, metric=metric))


def settings_of(run: Path, **changes) -> None:
    path = run / "config.json"
    header = json.loads(path.read_text())
    path.write_text(json.dumps({**header, "settings": {**header["settings"], **changes}}))


def test_runs_of_other_originals_are_refused_before_a_model_is_read(own, runs, loads, tmp_path):
    settings_of(runs[1], model=own.base)
    with pytest.raises(InputError, match="mild and harsh began from other original models") as caught:
        compare_at_utility(runs, request(own))
    assert caught.value.exit_code == 2
    shutil.copytree(own.model, tmp_path / "elsewhere")
    settings_of(runs[1], model=str(tmp_path / "elsewhere"))
    assert loads == []
    compare_at_utility(runs, request(own))  # a copy is the same model


def test_a_model_that_changed_since_is_refused(own, runs):
    path = runs[1] / "model" / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(VerificationError, match="The unlearned model is not the one"):
        compare_at_utility(runs, request(own))


@pytest.mark.parametrize("split", ["forget", "retain", "holdout"])
def test_other_records_are_refused_by_the_name_of_their_split(own, runs, loads, tmp_path, split):
    other = tmp_path / "other.jsonl"
    other.write_text("".join(json.dumps(row) + "\n" for row in rows(split, 5)))
    with pytest.raises(InputError, match=f"The {split} records are not those that .*mild was made with") as caught:
        compare_at_utility(runs, request(own, **{split: other}))
    assert CANARY not in str(caught.value)
    assert loads == []


def test_what_is_missing_is_named(own, runs):
    for split, flag in (("forget", "--forget"), ("retain", "--retain")):
        with pytest.raises(InputError, match=f"hand in the same {flag} file"):
            compare_at_utility(runs, request(own, **{split: None}))
    (runs[1] / "data.key").unlink()
    with pytest.raises(InputError, match=r"harsh has no data\.key"):
        compare_at_utility(runs, request(own))
    assert not (runs[1] / "data.key").exists()


def test_adapters_and_unfinished_runs_are_refused_by_name(own, runs, tmp_path, monkeypatch):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    settings_of(runs[1], verb="audit", target=str(adapter))
    with pytest.raises(InputError, match="harsh is an adapter beside the original's weights"):
        compare_at_utility(runs, request(own))
    settings_of(runs[1], verb="unlearn", target=None)
    monkeypatch.setattr(module, "model_is_saved", lambda run: False)
    settings_of(runs[0], verb="audit", target=str(runs[0] / "model"))  # whose model was there before
    with pytest.raises(InputError, match="harsh has no finished model"):
        compare_at_utility(runs, request(own))


def test_a_run_that_is_a_policy_is_refused(own, runs, tmp_path, monkeypatch):
    monkeypatch.setitem(suites._objects, "one", lambda splits: (ExtractionStrength(),))
    unlearn(unlearn_request(own, tmp_path / "guard", method="guardrail", settings={}, audit=True, suite="one",
                            forms="none"))  # fmt: skip
    with pytest.raises(InputError, match="guard made a policy: its weights are the original's"):
        compare_at_utility([runs[0], tmp_path / "guard"], request(own))


def test_an_audit_through_prompts_is_refused(own, runs, tmp_path, monkeypatch):
    """It has a record like any other, and no original whose weights could be mixed."""
    monkeypatch.setitem(suites._objects, "said", lambda splits: (Rouge(max_new_tokens=4),))
    audit(
        AuditRequest(
            target=Path(own.model),
            access="prompts",
            forget=own.forget,
            retain=own.retain,
            suite="said",
            out=tmp_path / "prompted",
        )
    )
    with pytest.raises(InputError, match="was read through prompts"):
        compare_at_utility([tmp_path / "prompted", tmp_path / "prompted"], request(own))


@pytest.mark.parametrize("share", [0.0, -1.0, 1.01, float("nan")])
def test_what_is_no_share_is_refused(share):
    with pytest.raises(InputError, match="no share of the original's utility"):
        MatchRequest(at_utility=share)


def test_other_metrics_and_splits_are_refused(own, runs):
    with pytest.raises(InputError, match="cannot be read by 'perplexity'"):
        MatchRequest(metric=Choice("perplexity"))
    with pytest.raises(InputError, match="on the forget set, not on retain"):
        compare_at_utility(runs, request(own, metric=Choice("probability", {"split": "retain"})))


def arguments(world: World, runs: list[Path], *more: str) -> list[str]:
    files = ["--forget", str(world.forget), "--retain", str(world.retain), "--holdout", str(world.holdout)]
    return ["compare", *map(str, runs), *files, *more]


@pytest.mark.slow
def test_the_verb_prints_a_table_a_document_and_a_page_without_a_trace(own, runs, tmp_path):
    page = tmp_path / "page.html"
    shown = CliRunner().invoke(app, arguments(own, runs, "--at-utility", "0.95", "--out", str(page)))
    assert shown.exit_code == 0, shown.output
    assert "At 0.95 of the original's utility" in shown.stdout
    assert "read harsh: 90 % of the original" in shown.stderr
    assert "Paths to the original" in page.read_text()
    found = CliRunner().invoke(
        app, arguments(own, runs, "--at-utility", "0.5", "--forgetting", "probability", "--json")
    )
    document = json.loads(found.stdout)["matched"]
    assert document["forgetting"] == f"1 - {Probability().label}"
    assert {run["name"] for run in document["runs"]} == {"mild", "harsh"}
    left = [run["forgetting"] for run in document["runs"]]
    assert left == sorted(left, reverse=True)
    assert CANARY.lower() not in (shown.output + found.output).lower()
    assert find_canary(tmp_path, CANARY) == []


def test_without_a_utility_nothing_is_read_and_files_are_refused(own, runs, loads):
    refused = CliRunner().invoke(app, arguments(own, runs))
    assert isinstance(refused.exception, InputError)
    assert "--forget is for --at-utility" in str(refused.exception)
    plain = CliRunner().invoke(app, ["compare", *map(str, runs), "--json"])
    assert "matched" not in json.loads(plain.stdout)
    assert loads == []


@pytest.mark.slow
def test_two_real_runs(world, tmp_path):
    """A strong run that breaks much and a weak one that keeps nearly all, on a model that knows its records."""
    shared = {"batch_size": 6, "warmup": 0.0, "checkpoint_every": 0}
    for name, rate, epochs in (("weak", 5e-4, 5), ("strong", 1e-3, 8)):
        settings = {**shared, "learning_rate": rate, "epochs": epochs}
        unlearn(unlearn_request(world, tmp_path / name, settings=settings, audit=True, forms="none"))
    folders = [tmp_path / "weak", tmp_path / "strong"]
    found = compare_at_utility(folders, request(world), tmp_path / "page.html").matching
    weak, strong = sorted(found.runs, key=lambda one: one.name != "weak")
    for one, folder in ((weak, folders[0]), (strong, folders[1])):
        assert one.path[0].forgetting == 1 - number(folder, STRENGTH, "unlearned")
        assert one.at.utility >= 0.95 - 1e-9
        assert one.at.forgetting <= one.saved.value
    assert weak.saved.value < strong.saved.value
    assert strong.path[0].utility < 0.9 < weak.path[0].utility
    assert 0 < strong.at.share < 1
    assert strong.at.forgetting < strong.saved.value - 0.2  # most of its lead was broken utility
    torch.testing.assert_close(torch.tensor(strong.at.utility), torch.tensor(0.95))
    assert find_canary(tmp_path, CANARY) == []
