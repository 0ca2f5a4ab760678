"""A model that only answers: what it is asked, what it is not, and that its answers come back per way of asking."""

from __future__ import annotations

from dataclasses import replace

import pytest

from expunge.data.record import Message, Variant
from expunge.evaluation import answering, journal, served
from expunge.evaluation.needs import plan
from expunge.evaluation.replies import Asking
from expunge.evaluation.runner import evaluate
from expunge.evaluation.served import count_prompts, service_replies
from expunge.evaluation.subjects import Decoding, Subject
from expunge.evaluation.suites import full
from expunge.metrics.base import Need, Sampling
from expunge.metrics.fluency import EmptyRate, ReplyLength, ReplyPerplexity
from expunge.metrics.leakage import LeakAtK
from expunge.metrics.membership_texts import MiaDcPdd
from expunge.metrics.memorisation import Probability, Rouge
from expunge.storage.secret import Secret
from tests.evaluation.worlds import Source, make_record, make_splits, make_store, make_subject, never
from tests.support.tiny import llama

FEW = 5  # draws of the bootstrap
DRAWN = Sampling(samples=3, temperature=0.5, top_p=0.9, draw_seed=4)


class Echo:
    """Answers with the last turn; keeps what it was asked."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.announced: list[int] = []
        self.batches: list[int] = []
        self.asked: list[tuple[list[tuple[str, str]], Decoding]] = []
        self.fails_at = fails_at

    def begin(self, prompts: int, answered: int) -> None:
        self.announced.append(prompts)

    def reply(self, conversations, decoding):
        if self.fails_at is not None and len(self.asked) >= self.fails_at:
            raise ConnectionError
        self.batches.append(len(conversations))
        self.asked += [([(turn.role, turn.content.reveal()) for turn in turns], decoding) for turns in conversations]
        return [turns[-1].content.reveal() for turns in conversations]


def asked_only(service: Echo, **identity: str) -> Subject:
    return Subject(
        role="unlearned", identity={"endpoint": "e", **identity}, load=None, service=service, access="prompts"
    )


def test_a_conversation_with_tools_is_not_sent_and_counts_as_not_asked():
    """An address is sent text alone; without its tools the model would get another question."""
    splits, service = make_splits(3), Echo()
    first, second, third = splits["forget"]
    turns = (Message(role="user", content=second.prompt), Message(role="tool", content=second.answer))
    asked = (Message(role="user", content=third.prompt),)
    splits["forget"] = [
        first,
        replace(second, kind="messages", prompt=None, messages=turns),
        replace(third, kind="messages", prompt=None, messages=asked, tools=Secret("[]", "forget record 2")),
    ]
    asking = Asking("forget", "trained", 7)
    assert count_prompts(splits, asking) == 1
    assert [len(forms) for forms in service_replies(service, splits, asking).by_record([0])] == [1, 0, 0]
    assert [sent for sent, _ in service.asked] == [[("user", first.prompt.reveal())]]


def test_replies_in_batches_and_draws(monkeypatch):
    monkeypatch.setattr(served, "BATCH", 4)
    splits, service = make_splits(6), Echo()
    asking = Asking("forget", "trained", 7, DRAWN)
    found = service_replies(service, splits, asking)
    assert service.batches == [4, 2] * 3
    assert len(service.asked) == count_prompts(splits, asking) == 18
    prompts = [record.prompt.reveal() for record in splits["forget"]]
    assert [turns for turns, _ in service.asked] == [[("user", prompt)] for prompt in prompts] * 3
    seeds = [4_000_012 + draw for draw in range(3) for _ in prompts]
    assert [decoding for _, decoding in service.asked] == [Decoding(7, 0.5, 0.9, seed) for seed in seeds]
    assert found.owners == tuple(owner for owner in range(6) for _ in range(3))
    assert [text.reveal() for text in found.texts] == [prompt for prompt in prompts for _ in range(3)]


def test_an_answer_that_is_begun_is_not_asked_for():
    record = make_record("forget", 0)
    begun = Variant(prompt=record.prompt, given=record.answer, answer=record.answer)
    splits = {"forget": [replace(record, variants={"prefix": (begun,)})]}
    service = Echo()
    assert count_prompts(splits, Asking("forget", "prefix", 4)) == 0
    assert service_replies(service, splits, Asking("forget", "prefix", 4)).texts == ()
    assert count_prompts(splits, Asking("forget", "paraphrased_question", 4)) == 1
    assert not service.asked


def test_one_asking_for_all_metrics_and_a_judge(tmp_path):
    service, original = Echo(), Source(llama(seed=1))
    metrics = (Rouge(max_new_tokens=6), ReplyLength(max_new_tokens=6), ReplyPerplexity(max_new_tokens=6))
    subjects = (make_subject("original", original), asked_only(service))
    found = evaluate(subjects, make_splits(), metrics, make_store(tmp_path), resamples=FEW)
    assert service.announced == [12]
    assert len(service.asked) == 12
    assert original.loads == 1
    assert found.get(ReplyLength(max_new_tokens=6).label, "unlearned").value == 3.0  # words of a prompt
    assert found.get(ReplyPerplexity(max_new_tokens=6).label, "unlearned").value > 1
    again = (make_subject("original", never), asked_only(Echo(fails_at=0)))
    assert evaluate(again, make_splits(), metrics, make_store(tmp_path), resamples=FEW) == found
    other = Echo()
    evaluate(
        (again[0], asked_only(other, endpoint="f")), make_splits(), metrics[:2], make_store(tmp_path), resamples=FEW
    )
    assert len(other.asked) == 12


def test_what_was_answered_before_a_failure_is_kept(tmp_path):
    metrics = (ReplyLength(max_new_tokens=6), ReplyLength(split="retain", max_new_tokens=6))
    broken, service = Echo(fails_at=12), Echo()
    with pytest.raises(ConnectionError):
        evaluate((asked_only(broken),), make_splits(), metrics, make_store(tmp_path), resamples=FEW)
    assert broken.announced == [24]
    evaluate((asked_only(service),), make_splits(), metrics, make_store(tmp_path), resamples=FEW)
    assert service.announced == [12]
    assert len(service.asked) == 12


@pytest.mark.parametrize("samples", [1, 3])
def test_a_kill_loses_no_batch_whose_numbers_were_made(tmp_path, samples):
    """Ten prompts at a time: all but the last five are not sent again, in whichever draw they were."""
    splits = make_splits(25)
    metrics = (LeakAtK(k=1, samples=samples, max_new_tokens=6), EmptyRate(max_new_tokens=6))
    whole, killed = Echo(), make_store(tmp_path / "killed")
    found = evaluate((asked_only(whole),), splits, metrics, make_store(tmp_path / "whole"), resamples=FEW)
    broken, service = Echo(fails_at=25 * samples - 5), Echo()
    with pytest.raises(ConnectionError):
        evaluate((asked_only(broken),), splits, metrics, killed, resamples=FEW)
    assert broken.announced == whole.announced == [25 * samples + 25]
    assert list(killed.folder.glob("*.partial"))
    assert evaluate((asked_only(service),), splits, metrics, killed, resamples=FEW) == found
    assert service.announced == [5 + 25]
    assert service.asked == whole.asked[-30:]
    assert not list(killed.folder.glob("*.partial"))


def test_batches_of_a_service_are_on_disk_before_the_next_one_is_sent(tmp_path, monkeypatch):
    """Not only every second or so: each may cost money, and a kill gives no time to write."""
    monkeypatch.setattr(journal, "EVERY", 1e9)
    lines: list[int] = []

    class Looks(Echo):
        def reply(self, conversations, decoding):
            lines.append(sum(len(path.read_bytes().splitlines()) for path in tmp_path.glob("*.partial")))
            return super().reply(conversations, decoding)

    metrics = (ReplyLength(max_new_tokens=6),)
    evaluate((asked_only(Looks()),), make_splits(25), metrics, make_store(tmp_path), resamples=FEW)
    assert lines == [0, 2, 3]  # the first line says what decides the numbers


class Killed(BaseException):
    """Stands for the end of a process."""


class Backwards(Echo):
    """Says something else to the same prompts."""

    def reply(self, conversations, decoding):
        return [" ".join(reversed(text.split())) for text in super().reply(conversations, decoding)]


def test_what_was_judged_before_a_kill_is_not_taken_for_what_is_said_after_it(tmp_path, monkeypatch):
    """The judge dies with three of six replies read; nothing tells its batches apart but what was said."""
    metrics, model, passes = (ReplyPerplexity(max_new_tokens=6),), llama(seed=1), []
    judging = answering.judge_replies

    def run(folder, service):
        subjects = (asked_only(service), make_subject("original", Source(model)))
        return evaluate(subjects, make_splits(6), metrics, make_store(folder), batch_size=1, resamples=FEW)

    def count(*_) -> None:
        passes.append(1)
        if len(passes) > 3:
            raise Killed

    def dying(*args, **settings):
        with model.register_forward_pre_hook(count):
            return judging(*args, **settings)

    whole = run(tmp_path / "whole", Backwards())
    monkeypatch.setattr(answering, "judge_replies", dying)
    with pytest.raises(Killed):
        run(tmp_path / "killed", Echo())
    monkeypatch.undo()
    service = Backwards()
    assert run(tmp_path / "killed", service) == whole
    assert len(service.asked) == 6


@pytest.mark.parametrize("load", [None, never])
def test_what_prompts_do_not_show(load):
    subject = Subject(role="unlearned", identity={"weights": "w"}, load=load, access="prompts")
    planned = plan((subject,), make_splits(), (Probability(), MiaDcPdd(), Rouge()))
    assert [item.reason for item in planned.omitted] == ["log-probabilities are not visible through prompts"] * 2
    assert planned.metrics["unlearned"] == [Rouge()]
    open_one = replace(subject, access="weights")
    assert plan((open_one,), make_splits(), (Probability(),)).omitted == ()


def test_no_metric_of_the_largest_suite_reads_more_than_replies():
    splits = {**make_splits(), "canaries_forget": [], "canaries_out": [], "toxic": [], "harmful": []}
    roles = ("original", "retrained", "reference")
    subjects = (*(make_subject(role, never) for role in roles), asked_only(Echo()))
    planned = plan(subjects, splits, full(splits))
    needs = [need for metric in planned.metrics["unlearned"] for need in metric.needs()]
    assert needs
    assert all(need.generates or not need.reads_model for need in needs)
    assert planned.needs["original"]


def test_tokens_are_no_reply(monkeypatch):
    need = Need(kind="token_frequency", split="forget", params=(("corpus", "holdout"),))
    monkeypatch.setattr(MiaDcPdd, "needs", lambda self: (need,))
    planned = plan((asked_only(Echo()),), make_splits(), (MiaDcPdd(),))
    assert [item.reason for item in planned.omitted] == ["tokens are not visible through prompts"]
