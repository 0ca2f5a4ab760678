"""Under what lm_eval's numbers are stored: whatever decides them is read anew when it changes, and only then."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from expunge.evaluation import surroundings
from expunge.evaluation.subjects import Subject
from expunge.storage.digests import DataKey
from expunge.storage.run import RunFolder
from expunge.workflows import harness
from expunge.workflows.harness import run_tasks
from expunge.workflows.harness_digest import documents_digest
from expunge.workflows.harness_tasks import TaskChoice, Tasks
from tests.workflows.harness_callables import PAIRS
from tests.workflows.harness_fakes import loaded

REPOSITORY = Path(__file__).parents[2]


def named(identity: str) -> Subject:
    return Subject(
        role="x", identity={"weights": identity}, load=lambda: harness.LoadedModel(None, None, f"model {identity}")
    )


def shots(*docs: object) -> dict[str, object]:
    found = loaded({"q": "a"}, num_fewshot=2)
    found["tasks"]["planets"].shots = docs
    return found


def with_docs(found: Tasks, docs: dict[str, object]) -> Tasks:
    return found._replace(loaded={"planets": docs})


CHANGES: dict[str, Callable[[Tasks, pytest.MonkeyPatch], Tasks]] = {
    "lm_eval": lambda found, patch: found._replace(version="0.0.1"),
    "datasets": lambda found, patch: found._replace(data_sets="5.0.0"),
    "document": lambda found, patch: with_docs(found, loaded({"q": "b"})),
    "one more": lambda found, patch: with_docs(found, loaded({"q": "a"}, {"q": "a"})),
    "setting": lambda found, patch: with_docs(found, loaded({"q": "a"}, doc_to_text="x")),
    "group": lambda found, patch: with_docs(found, loaded({"q": "a"}) | {"group_map": {"both": ["planets"]}}),
    "code": lambda found, patch: patch.setattr(harness, "code_digest", lambda: "other") or found,
    "seeds": lambda found, patch: patch.setattr(harness, "SEEDS", (0, 1234, 1235)) or found,
    "seed of shots": lambda found, patch: patch.setattr(harness, "SHOTS_SEED", 1) or found,
    "batch size": lambda found, patch: patch.setattr(harness, "BATCH_SIZE", 8) or found,
    "torch": lambda found, patch: patch.setattr(surroundings.torch, "__version__", "0.0.0") or found,
    "transformers": lambda found, patch: patch.setattr(surroundings.transformers, "__version__", "0.0.0") or found,
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_decides_the_numbers_is_part_of_the_key(tmp_path, asked, tasks, monkeypatch, change):
    run = RunFolder.create(tmp_path / "run", {"verb": "audit"})
    run_tasks(tasks, run, [named("a")])
    run_tasks(tasks, run, [named("a")])
    assert asked == ["model a"]
    run_tasks(CHANGES[change](tasks, monkeypatch), run, [named("a")])
    assert asked == ["model a", "model a"]


def test_another_model_is_asked(tmp_path, asked, tasks):
    run = RunFolder.create(tmp_path / "run", {"verb": "audit"})
    run_tasks(tasks, run, [named("a"), named("b"), named("a")])
    assert asked == ["model a", "model b"]


def test_examples_before_the_question_are_part_of_the_key(tmp_path, asked, tasks):
    run = RunFolder.create(tmp_path / "run", {"verb": "audit"})
    for docs in (shots({"q": "x"}), shots({"q": "x"}), shots({"q": "y"})):
        run_tasks(with_docs(tasks, docs), run, [named("a")])
    assert len(asked) == 2


@pytest.mark.parametrize("name", ["helpers.py", "below/more.py", "_planets_yaml", "other.yaml"])
def test_what_lies_beside_a_task_file_is_part_of_the_key(tmp_path, asked, tasks, name):
    run = RunFolder.create(tmp_path / "run", {"verb": "audit"})
    folder = tmp_path / "tasks"
    (folder / "below").mkdir(parents=True)
    (folder / name).write_text("a: 1")
    mine = tasks._replace(choice=TaskChoice(names=("planets",), folders=(folder,)))
    run_tasks(mine, run, [named("a")])
    folder.rename(tmp_path / "moved")
    moved = tmp_path / "moved"
    mine = tasks._replace(choice=TaskChoice(names=("planets",), folders=(moved,)))
    run_tasks(mine, run, [named("a")])
    assert len(asked) == 1
    (moved / name).write_text("a: 2")
    run_tasks(mine, run, [named("a")])
    assert len(asked) == 2


def test_where_a_task_file_lies_is_no_part_of_the_key(tmp_path):
    key = DataKey.load_or_create(tmp_path)
    digest = documents_digest(loaded({"q": "a"}), key)
    assert digest == documents_digest(loaded({"q": "a"}, metadata={"config_source": "moved"}), key)
    assert digest != documents_digest(loaded({"q": "c"}), key)


@pytest.mark.parametrize("pair", PAIRS)
def test_what_a_callable_was_given_is_part_of_the_key(tmp_path, pair):
    key = DataKey.load_or_create(tmp_path)
    one, other = (documents_digest(loaded({"q": "a"}, filter_list=[{"function": value}]), key) for value in PAIRS[pair])
    assert one != other


def test_a_function_that_knows_itself_has_a_digest(tmp_path):
    def again(value: int) -> int:
        return again(value - 1) if value else 0

    documents_digest(loaded({"q": "a"}, process_docs=again), DataKey.load_or_create(tmp_path))


PROGRAM = """
import functools, sys
from pathlib import Path
from types import SimpleNamespace
from expunge.storage.digests import DataKey
from expunge.workflows.harness_digest import documents_digest
from tests.workflows.harness_callables import PAIRS, scale

elsewhere = [bytearray(1000 * int(sys.argv[2])) for _ in range(50)]  # so that addresses differ
settings = {name: pair[0] for name, pair in PAIRS.items()}
settings["nested"] = {"fewshot_config": [{"samples": functools.partial(scale, by=2.0)}], "set": {"a", "b", "c"}}
settings["plain object"] = object()
config = SimpleNamespace(to_dict=lambda keep_callable: settings)
task = SimpleNamespace(config=config, eval_docs=[{"q": "a", "of": frozenset("xyz")}], get_config=settings.get)
sys.stdout.write(documents_digest({"tasks": {"planets": task}}, DataKey.load_or_create(Path(sys.argv[1]))))
"""


@pytest.mark.slow
def test_the_key_is_the_same_in_every_process(tmp_path):
    DataKey.load_or_create(tmp_path)
    found = set()
    for number in (1, 2):
        path = os.pathsep.join([str(REPOSITORY / "src"), str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONHASHSEED": str(number), "PYTHONPATH": path}
        command = [sys.executable, "-c", PROGRAM, str(tmp_path), str(number)]
        done = subprocess.run(command, check=True, env=environment, capture_output=True, text=True, timeout=300)
        found.add(done.stdout)
    assert len(found) == 1
    assert found != {""}
