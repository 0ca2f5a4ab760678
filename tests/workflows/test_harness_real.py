"""lm_eval itself: its numbers on our tasks beside ours, and an audit from the command line to the record.

What differs by definition: ``acc`` compares sums of log-probabilities and ``acc_norm`` sums per character, where
``MultipleChoice(scoring="cloze")`` compares means per token; a tie goes to the first option, where ours is never right.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from expunge.benchmarks.fictional import Fictional
from expunge.benchmarks.lm_eval import FOLDER, benchmark_groups, task_files
from expunge.benchmarks.lm_eval.documents import documents
from expunge.config import Choice
from expunge.data.choices import OptionTexts
from expunge.data.record import Record
from expunge.data.tokenize import encode_all, pad_id
from expunge.errors import UnknownNameError
from expunge.evaluation.answering import answer_needs
from expunge.exact.retrain import FitTask, Retrain
from expunge.methods.preset import Axes, Training
from expunge.metrics.base import Answers, Need
from expunge.metrics.choice import MultipleChoice
from expunge.metrics.memorisation import Rouge
from expunge.models.load import LoadedModel, build_model, load_model, save_model
from expunge.storage.secret import Secret
from expunge.workflows.harness import evaluate_task
from expunge.workflows.harness_tasks import TaskChoice, load_tasks

# `make slow` installs the extra and sets EXPUNGE_EXTRAS, so that there nothing is skipped.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("lm_eval") is None and "EXPUNGE_EXTRAS" not in os.environ,
        reason='the extra is not installed: pip install "expunge[lm-eval]"; make slow installs it',
    ),
]
POOL = {"preset": "pool"}
BENCHMARK = Choice("fictional", POOL)
TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"


@pytest.fixture(autouse=True)
def offline(monkeypatch) -> None:
    """No test may wait for a network."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module", params=["plain", "templated"])
def model(request, tmp_path_factory) -> LoadedModel:
    """Random weights and the tokenizer of the benchmark; once with a chat template."""
    benchmark = Fictional(**POOL)
    tokenizer = benchmark.tokenizer()
    if request.param == "templated":
        tokenizer.chat_template = "<bos>" + TEMPLATE
    config = benchmark.model_config(tokenizer)
    config.hidden_size, config.intermediate_size, config.num_hidden_layers, config.head_dim = 32, 64, 2, 8
    folder = tmp_path_factory.mktemp(request.param) / "model"
    save_model(build_model(config, seed=3), tokenizer, folder)
    return load_model(folder)


def values(name: str, model: LoadedModel) -> dict[str, float]:
    tasks = load_tasks(TaskChoice(names=(name,), benchmark=BENCHMARK), model.source)
    return {row.metric: row.value for row in evaluate_task(name, tasks.of(model).loaded[name], model)}


def answers(model: LoadedModel, need: Need) -> Answers:
    return Answers(answer_needs(model, Fictional(**POOL).splits(), [need], max_length=256, batch_size=16))


def likelihoods(model: LoadedModel, pairs: list[tuple[str, str]]) -> list[float]:
    """lm_eval's log-likelihood of each continuation."""
    from lm_eval.models.huggingface import HFLM

    reader = HFLM(pretrained=model.model, tokenizer=model.tokenizer, batch_size=4)
    found = reader.loglikelihood([SimpleNamespace(args=pair) for pair in pairs], disable_tqdm=True)
    return [nats for nats, _ in found]


def sums(model: LoadedModel, records: list[Record]) -> list[float]:
    """Our log-probability of each answer; no end is scored, as lm_eval scores none."""
    need = Need(kind="token_logps", split="x")
    open_ended = [Record(**{**vars(record), "goes_on": True}) for record in records]
    found = answer_needs(model, {"x": open_ended}, [need], max_length=256, batch_size=16)[need]
    return [float(np.sum(forms[0])) for forms in found]


def test_the_log_likelihood_of_every_answer_is_ours(model):
    found = documents("fictional", "forget", fictional=POOL, pretrained=model.source)["test"]
    theirs = likelihoods(model, [(doc["prompt"], doc["answer"]) for doc in found])
    ours = sums(model, Fictional(**POOL).splits()["forget"])
    assert theirs == pytest.approx(ours, abs=1e-4)
    mean = values("expunge_fictional_forget_answer", model)["log_likelihood"]
    assert mean == pytest.approx(np.mean(ours), abs=1e-4)
    assert np.std(ours) > 1  # one number for all would be no test


def test_letters_are_scored_as_ours(model):
    metric = MultipleChoice(split="forget", scoring="letter")
    ours = metric.compute(answers(model, metric.needs()[0])).value
    assert values("expunge_fictional_forget_letter", model)["acc"] == ours
    assert 0 < ours < 1


def test_options_are_scored_as_ours_but_for_the_length(model):
    """``acc`` is ours on sums, ``acc_norm`` ours per character; per token is ``MultipleChoice(scoring="cloze")``."""
    metric = MultipleChoice(split="forget", scoring="cloze")
    need = metric.needs()[0]
    forms = answers(model, need)[need]
    records = Fictional(**POOL).splits()["forget"]
    asked = [OptionTexts().apply(record.forms("multiple_choice")[0], ()) for record in records]
    totals = [[float(np.sum(logps)) for logps in one] for one in forms]
    space = not model.tokenizer.chat_template  # before an answer, which goes with it
    lengths = [[len(option.answer.reveal()) + space for option in one] for one in asked]
    found = values("expunge_fictional_forget_options", model)
    assert found["acc"] == np.mean([np.argmax(one) == 0 for one in totals])
    per_character = [np.divide(total, length) for total, length in zip(totals, lengths, strict=True)]
    assert found["acc_norm"] == pytest.approx(np.mean([np.argmax(one) == 0 for one in per_character]))
    per_token = [[float(np.mean(logps)) for logps in one] for one in forms]
    assert metric.compute(Answers({need: forms})).value == np.mean([np.argmax(one) == 0 for one in per_token])


def test_replies_are_ours(world, tmp_path):
    """On a model that has learnt to write such sentences; the same greedy decoding, the same words in common."""
    model = load_model(world.base)
    examples = encode_all(Fictional(**POOL).splits()["forget"], model.tokenizer, max_length=64).examples
    training = Training(learning_rate=5e-3, epochs=25, batch_size=12, micro_batch=12, checkpoint_every=0)
    Retrain().fit(
        FitTask(model=model.model, keep=examples, axes=Axes(), training=training, pad_id=pad_id(model.tokenizer))
    )
    save_model(model.model, model.tokenizer, tmp_path / "model")
    model = load_model(tmp_path / "model")
    metric = Rouge(split="forget", max_new_tokens=64)
    ours = metric.compute(answers(model, metric.needs()[0])).value
    assert values("expunge_fictional_forget_question", model)["rouge_l_recall"] == pytest.approx(ours, abs=1e-12)
    assert 0 < ours < 1


@pytest.mark.real
def test_a_pretrained_model_and_a_space_of_its_own(shared_models):
    """Its tokenizer makes a token of the space before many words: lm_eval scores it, so it stands in our answer too."""
    model = load_model(shared_models / "stories260k")
    texts = [("Once upon a time, there was a little", " girl named Lily."), ("Tom and", " Sam were best friends.")]
    questions = [(f"Question: {first}?\nAnswer:", second) for first, second in texts]
    for pairs in (texts, questions):
        records = [
            Record(index=0, split="x", kind="completion", prompt=Secret(first, "x"), answer=Secret(second, "x"))
            for first, second in pairs
        ]
        assert likelihoods(model, pairs) == pytest.approx(sums(model, records), abs=1e-4)
    first, second = questions[0]
    asked = Record(index=0, split="x", kind="qa", prompt=Secret(texts[0][0] + "?", "x"), answer=Secret(second[1:], "x"))
    assert likelihoods(model, questions)[0] <= sums(model, [asked])[0] + 1e-4


@pytest.mark.real
def test_tofu_and_lume_on_a_pretrained_model(shared_models, shared_data):
    source = shared_models / "stories260k"
    model = load_model(source)
    settings = {
        "tofu": {"folder": str(shared_data / "tofu")},
        "lume": {"folder": str(shared_data / "lume"), "documents": 1},
    }
    for benchmark, given in settings.items():
        name = f"expunge_{benchmark}_forget"
        tasks = load_tasks(TaskChoice(names=(name,), benchmark=Choice(benchmark, given)), str(source))
        found = evaluate_task(name, tasks.loaded[name], model)
        assert {row.task for row in found} == {one for one in task_files() if one.startswith(f"{name}_")}
        assert all(np.isfinite(row.value) and row.higher is False for row in found)


def test_all_that_ships_is_found_by_name(untrained):
    from lm_eval.tasks import TaskManager

    known = TaskManager(include_path=str(FOLDER), include_defaults=False).all_tasks
    assert set(known) == set(task_files())
    with pytest.raises(UnknownNameError, match="Did you mean expunge_tofu") as caught:
        load_tasks(TaskChoice(names=("expunge_tofoo",)), untrained.model)
    assert all(group in str(caught.value) for group in benchmark_groups())


@pytest.mark.parametrize("model", ["templated"], indirect=True)
def test_the_command_of_lm_eval_finds_the_same(model, tmp_path):
    """The task files alone, without Expunge's audit: the same numbers, and no document in the data sets' cache."""
    command = [sys.executable, "-m", "lm_eval", "--model", "hf", "--tasks", "expunge_fictional_forget"]
    command += ["--model_args", f"pretrained={model.source}", "--include_path", str(FOLDER), "--device", "cpu"]
    command += ["--metadata", json.dumps({"fictional": POOL}), "--output_path", str(tmp_path / "out")]
    cache = tmp_path / "cache"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(cache)}
    subprocess.run(command, check=True, env=environment, capture_output=True, timeout=900)
    (written,) = (tmp_path / "out").rglob("results_*.json")
    theirs = json.loads(written.read_text())["results"]
    ours = values("expunge_fictional_forget_answer", model) | values("expunge_fictional_forget_letter", model)
    assert theirs["expunge_fictional_forget_answer"]["log_likelihood,none"] == pytest.approx(
        ours["log_likelihood"], abs=1e-4
    )
    assert theirs["expunge_fictional_forget_letter"]["acc,none"] == ours["acc"]
    assert not list((cache / "datasets").rglob("*.arrow"))
