"""Task files of a user's own, by lm_eval itself: where their rows go, what is refused, and when they are read anew."""

from __future__ import annotations

import importlib.util
import json
import os
import tempfile
from pathlib import Path

import pytest

from expunge.api import AuditRequest, audit
from expunge.benchmarks.fictional import Fictional
from expunge.config import Choice
from expunge.errors import InputError
from expunge.models.load import build_model, load_model, save_model
from expunge.storage.digests import DataKey
from expunge.workflows.harness import evaluate_task
from expunge.workflows.harness_digest import documents_digest
from expunge.workflows.harness_tasks import TaskChoice, load_tasks
from tests.workflows.conftest import CANARY, World

# `make slow` installs the extra and sets EXPUNGE_EXTRAS, so that there nothing is skipped.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("lm_eval") is None and "EXPUNGE_EXTRAS" not in os.environ,
        reason='the extra is not installed: pip install "expunge[lm-eval]"; make slow installs it',
    ),
]
ROW = "Planet 3?"  # stands in the data of the task alone


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch) -> list[Path]:
    """HF_HOME and TMPDIR of the test; no test may wait for a network. ``datasets`` may have been imported before."""
    import datasets

    home, temporary = tmp_path / "home", tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    for name, place in (
        ("HF_DATASETS_CACHE", home / "datasets"),
        ("DOWNLOADED_DATASETS_PATH", home / "datasets" / "downloads"),
        ("EXTRACTED_DATASETS_PATH", home / "datasets" / "downloads" / "extracted"),
    ):
        monkeypatch.setattr(datasets.config, name, place)
    monkeypatch.setenv("HF_HOME", str(home))
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return [home, temporary]


def holding(text: str, folders: list[Path]) -> list[Path]:
    """Files with a text in them."""
    found = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return [path for path in found if text.encode() in path.read_bytes()]


def task_file(folder: Path, **changes: object) -> Path:
    folder.mkdir()
    plain = {
        "task": "planets",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": str(folder / "rows.jsonl")},
        "test_split": "train",
        "output_type": "multiple_choice",
        "doc_to_text": "question",
        "doc_to_choice": "options",
        "doc_to_target": "right",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }
    (folder / "planets.yaml").write_text(json.dumps({**plain, **changes}))
    rows = [{"question": f"Planet {number}?", "options": ["red", "blue"], "right": number % 2} for number in range(12)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def request(world: World, out: Path, **changes: object) -> AuditRequest:
    plain = {"target": Path(world.base), "original": world.model, "out": out, "forget": world.forget, "suite": "short"}
    return AuditRequest(**{**plain, **changes})


def load(world: World, folder: Path):
    return load_tasks(TaskChoice(names=("planets",), folders=(folder,)), world.model)


KINDS = {
    "json": (json.dumps({"question": ROW, "right": 0}) + "\n") * 12,
    "csv": "question,right\n" + f"{ROW},0\n" * 12,
    "text": f"{ROW}\n" * 12,
}


@pytest.mark.parametrize("kind", ["json", "csv", "text", "parquet"])
def test_rows_of_a_users_file_are_in_no_cache(untrained, tmp_path, caches, kind):
    folder = tmp_path / "tasks"
    data = folder / "rows"
    question = "text" if kind == "text" else "question"
    changes = {"dataset_path": kind, "dataset_kwargs": {"data_files": str(data)}, "doc_to_text": question}
    task_file(folder, **changes, doc_to_choice=["red", "blue"], doc_to_target=0)
    if kind == "parquet":
        import pandas

        pandas.DataFrame({"question": [ROW] * 12}).to_parquet(data, compression=None)
    else:
        data.write_text(KINDS[kind])
    tasks = load(untrained, folder)
    assert holding("Planet", caches) == []
    assert not list(caches[1].iterdir())
    rows = evaluate_task("planets", tasks.loaded["planets"], load_model(untrained.model))
    assert rows[0].n == 12
    assert holding("Planet", caches) == []


FUNCTIONS = """
import datasets
from datasets import Dataset, load_dataset
FILE = {file!r}

def by_load(**_):
    return {{"train": load_dataset("json", data_files=FILE, split="train").map(lambda doc: {{"more": 1}})}}

def by_reader(**_):
    return {{"train": Dataset.from_json(FILE)}}

def mapped(docs):
    return docs.map(lambda doc: {{"more": 1}})

def again(docs):
    return load_dataset("json", data_files=FILE, split="train").map(lambda doc: {{"more": 1}})
"""


@pytest.mark.parametrize(
    "setting",
    [
        "custom_dataset: !function mine.by_load",
        "custom_dataset: !function mine.by_reader\nprocess_docs: !function mine.mapped",
        "process_docs: !function mine.again",
    ],
)
def test_rows_that_a_users_function_reads_are_in_no_cache(untrained, tmp_path, caches, setting):
    folder = task_file(tmp_path / "tasks")
    (folder / "mine.py").write_text(FUNCTIONS.format(file=str(folder / "rows.jsonl")))
    settings = json.loads((folder / "planets.yaml").read_text())
    if setting.startswith("custom"):
        del settings["dataset_path"], settings["dataset_kwargs"]
    (folder / "planets.yaml").write_text("".join(f"{k}: {json.dumps(v)}\n" for k, v in settings.items()) + setting)
    tasks = load(untrained, folder)
    documents_digest(tasks.loaded["planets"], DataKey.load_or_create(tmp_path))
    evaluate_task("planets", tasks.loaded["planets"], load_model(untrained.model))
    assert holding("Planet", caches) == []


def test_data_sets_of_the_hub_keep_their_cache(caches, monkeypatch):
    """On a machine without a network it is all there is."""
    import datasets

    from expunge.workflows.harness_cache import private_cache

    seen = {}
    monkeypatch.setattr(datasets, "load_dataset", lambda path, **settings: seen.update({path: settings}))
    plain, place = datasets.load_dataset, datasets.config.HF_DATASETS_CACHE
    with private_cache():
        datasets.load_dataset("nobody/planets")
        datasets.load_dataset("json", cache_dir=str(place))
        assert place != datasets.config.HF_DATASETS_CACHE
    assert seen["nobody/planets"]["cache_dir"] == str(place)
    assert seen["json"]["cache_dir"] != str(place)
    assert (datasets.load_dataset, datasets.config.HF_DATASETS_CACHE) == (plain, place)
    assert datasets.config.IN_MEMORY_MAX_SIZE == 0


def test_an_audit_with_tasks_of_both_kinds(untrained, tmp_path, short_suite, monkeypatch, caches):
    folder = task_file(tmp_path / "tasks")
    asked = request(
        untrained, tmp_path / "out", lm_eval="planets,expunge_fictional_forget_letter", lm_eval_tasks=(folder,)
    )
    run, record = audit(asked)
    found = {(one["label"], one["role"]): one for one in record["scores"] if one["label"].startswith("lm_eval")}
    assert {role for _, role in found} == {"original", "unlearned"}
    planets = found["lm_eval(task=planets, metric=acc, filter=none)", "original"]
    assert (planets["n"], planets["direction"]) == (12, "higher")
    assert planets["high"] - planets["value"] == pytest.approx(1.959964 * planets["details"]["stderr"])
    letters = found["lm_eval(task=expunge_fictional_forget_letter, metric=acc, filter=none)", "original"]
    assert letters["direction"] == "lower"
    assert 0 <= letters["value"] <= 1
    for path in (path for path in run.root.rglob("*") if path.is_file()):
        data = path.read_bytes()
        assert b"Planet 3" not in data
        assert CANARY.encode() not in data or path.name == "run.json"
    assert holding("Planet 3", caches) == []
    assert holding(CANARY, caches) == []
    monkeypatch.setattr("expunge.workflows.harness.evaluate_task", lambda *given: pytest.fail("stored already"))
    _, again = audit(asked)
    assert [one for one in again["scores"] if one["label"].startswith("lm_eval")] == list(found.values())


def test_a_missing_data_set_is_named_before_anything_is_made(untrained, tmp_path, short_suite):
    folder = task_file(tmp_path / "tasks", dataset_path="nobody/planets", dataset_kwargs={})
    with pytest.raises(InputError, match=r"the data set 'nobody/planets' of the Hugging Face Hub") as caught:
        audit(request(untrained, tmp_path / "out", lm_eval="planets", lm_eval_tasks=(folder,)))
    assert caught.value.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_a_task_that_runs_what_a_model_writes_is_refused(untrained, tmp_path):
    folder = task_file(tmp_path / "tasks", unsafe_code=True)
    with pytest.raises(InputError, match="runs code that the model writes"):
        load_tasks(TaskChoice(names=("planets",), folders=(folder,)), untrained.model)


def test_an_error_of_lm_eval_shows_no_document(untrained, tmp_path):
    folder = task_file(tmp_path / "tasks", output_type="generate_until", generation_kwargs={"max_gen_toks": 9999})
    tasks = load_tasks(TaskChoice(names=("planets",), folders=(folder,)), untrained.model)
    with pytest.raises(InputError, match="lm_eval stopped in the task 'planets'") as caught:
        evaluate_task("planets", tasks.loaded["planets"], load_model(untrained.model))
    assert "Planet" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("text", ["raise KeyError('Planet 3?')", "def again(docs):\n    raise KeyError('Planet 3?')"])
def test_a_task_file_that_fails_is_not_the_hubs_fault(untrained, tmp_path, text):
    folder = task_file(tmp_path / "tasks")
    (folder / "mine.py").write_text(text)
    settings = json.loads((folder / "planets.yaml").read_text())
    lines = [f"{name}: {json.dumps(value)}\n" for name, value in settings.items()]
    (folder / "planets.yaml").write_text("".join(lines) + "process_docs: !function mine.again\n")
    with pytest.raises(InputError, match=r"'planets' of lm_eval cannot be loaded.*raised KeyError") as caught:
        load(untrained, folder)
    assert "Hub" not in str(caught.value)
    assert "Planet" not in str(caught.value)


def test_a_missing_file_is_not_the_hubs_fault(untrained, tmp_path):
    folder = task_file(tmp_path / "tasks")
    (folder / "rows.jsonl").unlink()
    with pytest.raises(InputError) as caught:
        load(untrained, folder)
    assert "Hub" not in str(caught.value)
    assert "'planets'" in str(caught.value)


def test_another_template_writes_other_prompts(tmp_path):
    benchmark = Fictional(preset="pool")
    tokenizer = benchmark.tokenizer()
    choice = TaskChoice(names=("expunge_fictional_forget_answer",), benchmark=Choice("fictional", {"preset": "pool"}))
    sources = []
    for name in ("one", "other"):
        tokenizer.chat_template = "<bos>{% for m in messages %}" + f"<{name}>" + "{{ m.content }}{% endfor %}"
        config = benchmark.model_config(tokenizer)
        config.hidden_size, config.intermediate_size, config.num_hidden_layers, config.head_dim = 32, 64, 1, 8
        save_model(build_model(config, seed=3), tokenizer, tmp_path / name)
        sources.append(str(tmp_path / name))
    tasks = load_tasks(choice, sources[0])
    assert tasks.of(load_model(sources[0])) is tasks
    again = tasks.of(load_model(sources[1]))
    prompts = [
        next(iter(one.loaded[choice.names[0]]["tasks"].values())).eval_docs[0]["prompt"] for one in (tasks, again)
    ]
    assert "<one>" in prompts[0]
    assert "<other>" in prompts[1]
