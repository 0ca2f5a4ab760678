"""How failures around lm_eval are told, without lm_eval: what is refused, and whom a message blames."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from expunge.api import AuditRequest, audit
from expunge.benchmarks.lm_eval import documents
from expunge.errors import InputError, ResourceError, UnknownNameError
from expunge.evaluation.subjects import Subject
from expunge.storage.run import RunFolder
from expunge.workflows import harness_tasks
from expunge.workflows.harness import evaluate_task, run_tasks
from expunge.workflows.harness_errors import not_loaded, refused
from expunge.workflows.harness_tasks import TaskChoice, Tasks
from tests.workflows.conftest import CANARY
from tests.workflows.harness_fakes import loaded


class DatasetNotFoundError(FileNotFoundError):
    """Stands for the one of the library."""


DatasetNotFoundError.__module__ = "datasets.exceptions"


class HubError(Exception):
    """Stands for one of the Hub's."""


HubError.__module__ = "huggingface_hub.errors"


@pytest.fixture
def kinds(monkeypatch) -> None:
    """The names of kinds of files, as ``datasets`` has them."""
    module = ModuleType("datasets.packaged_modules")
    module._PACKAGED_DATASETS_MODULES = {"json": None}
    monkeypatch.setitem(sys.modules, "datasets", ModuleType("datasets"))
    monkeypatch.setitem(sys.modules, "datasets.packaged_modules", module)


def told(error: Exception, path: str | None = "nobody/planets") -> str:
    """What is said of an error that was raised while a task was made."""

    def make(self) -> None:
        raise error

    with pytest.raises(InputError) as caught, refused("planets", not_loaded):
        make(SimpleNamespace(DATASET_PATH=path))
    assert CANARY not in str(caught.value)
    assert caught.value.__suppress_context__
    return str(caught.value)


@pytest.mark.parametrize("kind", [DatasetNotFoundError, HubError, ConnectionError, TimeoutError])
def test_a_data_set_is_blamed_for_its_own_errors(kinds, kind):
    assert "needs the data set 'nobody/planets' of the Hugging Face Hub" in told(kind(CANARY))


@pytest.mark.parametrize("kind", [KeyError, ZeroDivisionError, ImportError, FileNotFoundError, RuntimeError])
def test_a_task_file_is_blamed_for_all_others(kinds, kind):
    said = told(kind(CANARY))
    assert "Hub" not in said
    assert f"its task file, or a function that it names, raised {kind.__name__}" in said
    assert "'planets'" in said


def test_the_hub_is_not_blamed_for_a_users_own_files(kinds, tmp_path):
    for path in ("json", str(tmp_path)):
        said = told(DatasetNotFoundError(CANARY), path)
        assert "Hub" not in said
        assert "cannot read its own data" in said


def test_prompts_alone_cannot_be_read(untrained, tmp_path, asked, tasks):
    plain = {"forget": untrained.forget, "access": "prompts", "lm_eval": "planets"}
    asking = AuditRequest(target="http://127.0.0.1:1/v1#small", out=tmp_path / "out", **plain)
    with pytest.raises(InputError, match=r"--lm-eval planets: lm_eval reads weights.*--original MODEL"):
        audit(asking)
    assert not (tmp_path / "out").exists()
    wrong = AuditRequest(**{**vars(asking), "lm_eval": "planets,,"})
    with pytest.raises(InputError, match="names of tasks with commas"):
        audit(wrong)


def test_names_are_checked_where_prompts_alone_are_sent(untrained, tmp_path, monkeypatch):
    def unknown(choice, source, rendering):
        assert source == untrained.model
        raise UnknownNameError(f"lm_eval has no task {choice.names[0]!r}.")

    monkeypatch.setattr("expunge.workflows.audit.load_tasks", unknown)
    monkeypatch.setattr("expunge.workflows.harness_tasks.require", lambda: "0.0.0")
    plain = {"forget": untrained.forget, "access": "prompts", "original": untrained.model}
    with pytest.raises(UnknownNameError, match="no task 'planest'"):
        audit(AuditRequest(target="http://127.0.0.1:1/v1#small", out=tmp_path / "out", lm_eval="planest", **plain))
    assert not (tmp_path / "out").exists()


def test_prompts_alone_are_left_out_with_a_reason_of_their_own(tmp_path, asked, tasks):
    run = RunFolder.create(tmp_path / "run", {"verb": "audit"})
    subject = Subject(role="unlearned", identity={"service": "x"}, load=None, access="prompts")
    (omitted,) = run_tasks(tasks, run, [subject]).omitted
    assert omitted.reason == "lm_eval reads weights, and only prompts may be sent"
    assert asked == []


@pytest.fixture
def stopping(monkeypatch):
    """Has lm_eval, or rather what stands for it, raise an error."""

    def install(error: BaseException) -> None:
        def evaluate(**given) -> None:
            raise error

        models = SimpleNamespace(HFLM=lambda **given: None)
        for name in ("lm_eval", "lm_eval.models"):
            monkeypatch.setitem(sys.modules, name, ModuleType(name))
        monkeypatch.setitem(sys.modules, "lm_eval.evaluator", SimpleNamespace(evaluate=evaluate))
        monkeypatch.setitem(sys.modules, "lm_eval.models.huggingface", models)

    return install


MODEL = SimpleNamespace(model=None, tokenizer=None)


@pytest.mark.parametrize("kind", [ValueError, AssertionError, RuntimeError, ZeroDivisionError, OSError, AttributeError])
def test_any_error_of_a_task_is_told_by_its_type(stopping, kind):
    stopping(kind(CANARY))
    with pytest.raises(InputError, match=rf"lm_eval stopped in the task 'planets' \({kind.__name__}\)") as caught:
        evaluate_task("planets", None, MODEL)
    assert CANARY not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "error",
    [MemoryError(CANARY), torch.OutOfMemoryError(CANARY), RuntimeError("DefaultCPUAllocator: can't allocate memory")],
)
def test_memory_that_ran_out_is_not_the_users_fault(stopping, error):
    stopping(error)
    with pytest.raises(ResourceError, match="Memory ran out in lm_eval's task 'planets'") as caught:
        evaluate_task("planets", None, MODEL)
    assert CANARY not in str(caught.value)
    assert caught.value.exit_code == 5


def test_a_keyboard_interrupt_is_none_of_these(stopping):
    stopping(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        evaluate_task("planets", None, MODEL)


def test_documents_that_cannot_be_made_are_told_by_their_type(tmp_path, tasks):
    def docs():
        yield {"q": "a"}
        raise KeyError(CANARY)

    task = loaded()
    task["tasks"]["planets"].eval_docs = docs()
    run = RunFolder.create(tmp_path / "run", {"verb": "audit"})
    with pytest.raises(InputError, match=r"documents of lm_eval's task 'planets'.*KeyError") as caught:
        run_tasks(tasks._replace(loaded={"planets": task}), run, [])
    assert CANARY not in str(caught.value)


def tokenizer(template: str | None) -> SimpleNamespace:
    given = {"chat_template": template, "get_chat_template": lambda: template}
    return SimpleNamespace(**given, bos_token="<s>", eos_token="</s>")  # noqa: S106


def test_another_template_loads_the_prompts_again(monkeypatch):
    again: list[str] = []
    monkeypatch.setattr(harness_tasks, "load_tasks", lambda choice, source, rendering: again.append(source) or "others")
    found = Tasks(TaskChoice(names=("planets",)), {}, tokenizer("a"), "0.0.0")
    same, none, other = (SimpleNamespace(tokenizer=tokenizer(one), source=f"{one}") for one in ("a", None, "b"))
    assert found.of(same) is found
    assert again == []
    assert found.of(other) == "others"
    assert found.of(none) == "others"
    assert again == ["b", "None"]


def test_no_records_stay_in_memory_after_they_were_read(monkeypatch):
    def load(manager, name):
        documents._splits("fictional", '{"preset": "pool"}')
        documents._tokenizer(None)
        raise InputError("stopped")

    monkeypatch.setattr(harness_tasks, "require", lambda: "0.0.0")
    monkeypatch.setattr(harness_tasks, "local_folder", Path)
    monkeypatch.setattr(harness_tasks, "load_tokenizer", lambda folder, rendering: tokenizer(None))
    monkeypatch.setattr(
        harness_tasks, "_manager", lambda choice, model, rendering: SimpleNamespace(all_tasks=["planets"])
    )
    monkeypatch.setattr(harness_tasks, "_load", load)
    with pytest.raises(InputError, match="stopped"):
        harness_tasks.load_tasks(TaskChoice(names=("planets",)), "model")
    assert documents._splits.cache_info().currsize == 0
    assert documents._tokenizer.cache_info().currsize == 0
