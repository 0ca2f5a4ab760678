"""Other wordings: kept where the facts survive, from a small model of this process and from an address."""

from __future__ import annotations

import time

import pytest

from expunge.errors import InputError, InterruptedRunError
from expunge.models.load import load_model, save_model
from expunge.models.rewriting import SPARE, request, rewrite
from expunge.workflows.paraphrase import TRIES, add_paraphrases, rewriter
from expunge.workflows.signals import wait
from tests.data.forms.records import plain, qa, talk
from tests.data.test_tokenize import CHATML, byte_level
from tests.metrics.test_decoy import random_model
from tests.workflows.test_remote import Stub, chat, stub

__all__ = ["stub"]  # the fixture
ASKED, ANSWERED = "Where does Anna live?", "Anna lives in Quellmar."
RECORD = qa(ASKED, ANSWERED, "Anna")


def answering(**by_text: str):
    """Asks nobody; ``question`` and ``answer`` are the replies to the texts of RECORD."""
    calls: list[int] = []

    def ask(text, attempt):
        calls.append(attempt)
        return by_text["question"] if text == ASKED else by_text["answer"]

    return ask, calls


def wordings(record) -> tuple[str | None, str | None]:
    sides = (record.paraphrased_question, record.paraphrased_answer)
    return tuple(None if side is None else side.reveal() for side in sides)


def test_what_keeps_the_facts_is_kept():
    ask, calls = answering(question=' "Which town is home to Anna?" ', answer="Quellmar is where Anna lives.\nOr so.")
    (found,) = add_paraphrases([RECORD], ask)
    assert wordings(found) == ("Which town is home to Anna?", "Quellmar is where Anna lives.")
    assert found.paraphrased_question.label == RECORD.answer.label
    assert calls == [0, 0]
    assert wordings(RECORD) == (None, None)


@pytest.mark.parametrize(
    "question",
    [
        "",
        "  \n ",
        ASKED,
        ASKED.upper(),
        "Where does she live now?",
        "Is Quellmar where Anna lives?",
        "Tell me where Anna lives.",
        "Here is another way to ask where Anna lives:",
        "<think> Where is the home of Anna?",
        "Where is Anna's home \ud800?",
        "Where is Anna's home, " + "oh " * 60 + "where?",
    ],
)
def test_what_is_no_wording_of_a_question_is_not(question):
    ask, calls = answering(question=question, answer="Quellmar is where Anna lives.")
    (found,) = add_paraphrases([RECORD], ask)
    assert wordings(found) == (None, "Quellmar is where Anna lives.")
    assert calls == [0, *range(TRIES)]


@pytest.mark.parametrize("answer", ["Anna lives in Paris.", "Anna lives in quellmar now.", "She is in Quellmar.", ""])
def test_an_answer_that_lost_a_fact_is_not_kept(answer):
    ask, _ = answering(question="Which town is home to Anna?", answer=answer)
    assert wordings(add_paraphrases([RECORD], ask)[0]) == ("Which town is home to Anna?", None)


def test_only_what_is_missing_is_asked_for():
    full = add_paraphrases([RECORD], answering(question="Anna lives where?", answer="In Quellmar lives Anna.")[0])
    ask, calls = answering(question="x", answer="x")
    assert add_paraphrases(full, ask) == full
    assert calls == []
    texts: list[str] = []
    add_paraphrases(
        [plain("Call Anna under 555-0199."), talk("Hi", "Hello", ASKED, ANSWERED)],
        lambda asked, attempt: texts.append(asked) or "",
    )
    assert texts[:3] == ["Call Anna under 555-0199.", ASKED, ANSWERED]


def test_a_later_attempt_fills_what_the_first_left():
    def ask(text, attempt):
        return "Which town is home to Anna?" if attempt == 1 and text == ASKED else "no"

    assert wordings(add_paraphrases([RECORD], ask)[0]) == ("Which town is home to Anna?", None)


@pytest.mark.parametrize(
    ("record", "question", "answer"),
    [
        (qa("安娜住在哪里？", "安娜住在北京。", "安娜"), "安娜的家在什么地方？", "北京是安娜的家。"),
        (qa("أين تسكن آنا؟", "تسكن آنا في باريس.", "آنا"), "ما هي مدينة آنا؟", "باريس هي مدينة آنا."),
    ],
)
def test_in_any_script(record, question, answer):
    asked = record.prompt.reveal()
    (found,) = add_paraphrases([record], lambda text, _: question if text == asked else answer)
    assert wordings(found) == (question, answer)
    (lost,) = add_paraphrases([record], lambda text, _: question.rstrip("？؟") if text == asked else "x")
    assert wordings(lost) == (None, None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("paraphraser") / "model"
    model = random_model(0)
    model.config.max_position_embeddings = 512
    save_model(model, byte_level(), place)
    return place


@pytest.mark.slow
def test_a_small_model_is_asked_and_its_noise_is_not_kept(folder):
    """It writes noise; wordings that hold names and values by chance there are none."""
    ask = rewriter(str(folder))
    replies = [ask(ASKED, 0), ask(ANSWERED, 0)]
    assert rewrite(load_model(folder), [ASKED, ANSWERED], 0) == replies
    assert ask(ASKED, 1) == ask(ASKED, 1) != ask(ASKED, 2)
    assert add_paraphrases([RECORD], ask) == [RECORD]


@pytest.mark.parametrize("template", [None, CHATML])
def test_rewriting_ends_at_the_limits(folder, template):
    loaded = load_model(folder)
    loaded.tokenizer.chat_template = template
    positions = loaded.model.config.max_position_embeddings
    assert rewrite(loaded, ["word " * positions], 0) == [""]
    loaded.model.config.max_position_embeddings = 2000
    (reply,) = rewrite(loaded, ["Hi"], 0)
    tokens = loaded.tokenizer("Hi")["input_ids"]
    assert len(loaded.tokenizer(reply)["input_ids"]) <= 2 * (2 * len(tokens) + SPARE)
    assert rewrite(loaded, [], 0) == []


def test_no_such_model(tmp_path):
    with pytest.raises(InputError):
        rewriter(str(tmp_path / "nothing"))


def test_an_address_is_asked_text_by_text(stub: Stub):
    answers = {request(ASKED): "Which town is home to Anna?", request(ANSWERED): "no"}
    stub.reply = lambda body: chat(answers[body["messages"][0]["content"]])
    (found,) = add_paraphrases([RECORD], rewriter(f"{stub.address}#small"))
    assert wordings(found) == ("Which town is home to Anna?", None)
    assert [(body["seed"], body["temperature"] > 0, body["model"]) for body in stub.asked] == [
        *[(0, False, "small")] * 2,
        *[(attempt, True, "small") for attempt in range(1, TRIES)],
    ]


def stopping_after(calls: int):
    """Says that a stop was asked for once it was asked so often."""
    asked: list[int] = []
    return lambda: len(asked) >= calls or bool(asked.append(1))


@pytest.mark.parametrize("texts", [0, 1, 2, 3])
def test_a_stop_is_heard_before_every_text(texts):
    heard: list[str] = []
    with pytest.raises(InterruptedRunError, match="asks for all wordings again") as caught:
        add_paraphrases([RECORD, RECORD], lambda text, _: heard.append(text) or "no", stopping_after(texts))
    assert heard == [ASKED, ANSWERED, ASKED][:texts]
    assert caught.value.exit_code == 75
    assert "Anna" not in str(caught.value)


def test_a_stop_ends_the_wait_for_a_busy_service(stub: Stub):
    stub.reply = lambda body: (503, b"", {"Retry-After": "50"})
    began = time.monotonic()
    with pytest.raises(InterruptedRunError):
        add_paraphrases([RECORD], rewriter(stub.address, stopping_after(2)))
    assert time.monotonic() - began < 10
    assert len(stub.asked) == 1


def test_waiting_takes_its_time():
    began = time.monotonic()
    wait(0.25, lambda: False, "Stopped.")
    assert 0.25 <= time.monotonic() - began < 5
