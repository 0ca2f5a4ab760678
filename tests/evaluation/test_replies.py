"""One generation for all metrics; a judge that reads each reply once; nothing a model said is kept."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from expunge.data.record import Message, Variant
from expunge.data.tokenize import prompt_ids
from expunge.errors import DivergedError
from expunge.evaluation import replies, speaking
from expunge.evaluation.replies import Asking, generate_replies, judge_replies, score_replies
from expunge.evaluation.runner import evaluate
from expunge.evaluation.suites import quick
from expunge.metrics.answers import AnswerMix, RefusalRate
from expunge.metrics.fluency import DistinctN, EmptyRate, Repetition, ReplyLength, ReplyPerplexity
from expunge.metrics.memorisation import Rouge
from expunge.storage.secret import Secret
from tests.evaluation.test_runner import Parrot
from tests.evaluation.worlds import (
    Source,
    flat,
    make_record,
    make_splits,
    make_store,
    make_subject,
    make_tokenizer,
    never,
)
from tests.support.tiny import VOCABULARY, llama

FEW = 5  # draws of the bootstrap
CLOSE = 1e-4
METRICS = (
    Rouge(max_new_tokens=6),
    Rouge(max_new_tokens=6, words="tofu"),
    Repetition(max_new_tokens=6),
    DistinctN(max_new_tokens=6),
    EmptyRate(max_new_tokens=6),
    ReplyLength(max_new_tokens=6),
    ReplyPerplexity(max_new_tokens=6),
    RefusalRate(max_new_tokens=6),
    AnswerMix(max_new_tokens=6),
)
ROLES = ("original", "retrained", "unlearned")


@pytest.fixture
def counted(monkeypatch):
    """Calls of greedy decoding."""
    calls, real = [], speaking.greedy

    def decode(model, tokenizer, prompts, **settings):
        calls.append(settings["max_new_tokens"])
        return real(model, tokenizer, prompts, **settings)

    monkeypatch.setattr(speaking, "greedy", decode)
    return calls


def models():
    return {role: Source(llama(seed=seed)) for seed, role in enumerate(ROLES)}


def test_all_metrics_of_a_split_read_one_generation(tmp_path, counted):
    sources = models()
    subjects = [make_subject(role, source) for role, source in sources.items()]
    evaluate(subjects, make_splits(4), METRICS, make_store(tmp_path), resamples=FEW)
    assert counted == [6] * 3
    assert [source.loads for source in sources.values()] == [1, 1, 1]  # the judge too
    longer = (*METRICS, Rouge(max_new_tokens=7), Rouge(split="retain", max_new_tokens=6))
    evaluate(subjects, make_splits(4), longer, make_store(tmp_path), resamples=FEW)
    assert counted == [6] * 3 + [7, 6] * 3


def test_suite_quick_generates_once_for_each_model_and_split(tmp_path, counted):
    splits = make_splits(4)
    subjects = [make_subject(role, source) for role, source in models().items()]
    evaluate(subjects, splits, quick(tuple(splits)), make_store(tmp_path), resamples=FEW)
    # 64 positions less prompts of about five tokens: one call for each length of prompt
    asked = {
        split: {len(prompt_ids(one, make_tokenizer(), max_length=64)) for one in splits[split]} for split in splits
    }
    assert len(counted) == 3 * (len(asked["forget"]) + len(asked["retain"]))


def test_the_order_of_subjects_changes_nothing(tmp_path):
    """The judge is read last, wherever it stands."""
    subjects = [make_subject(role, source) for role, source in models().items()]
    first = evaluate(subjects, make_splits(4), METRICS, make_store(tmp_path / "a"), resamples=FEW)
    second = evaluate(subjects[::-1], make_splits(4), METRICS, make_store(tmp_path / "b"), resamples=FEW)
    assert {(s.label, s.role): s for s in first.scores} == {(s.label, s.role): s for s in second.scores}
    assert first.roles == list(ROLES)


def test_what_is_stored_is_neither_said_nor_judged_again(tmp_path):
    sources = models()
    subjects = [make_subject(role, source) for role, source in sources.items()]
    first = evaluate(subjects, make_splits(4), METRICS, make_store(tmp_path), resamples=FEW)
    stored = [make_subject(role, never) for role in ROLES]
    assert evaluate(stored, make_splits(4), METRICS, make_store(tmp_path), resamples=FEW) == first
    more = [*stored, make_subject("unlearned_2", Source(llama(seed=9)))]
    with pytest.raises(AssertionError, match="must not be loaded"):
        evaluate(more, make_splits(4), METRICS, make_store(tmp_path), resamples=FEW)  # the judge has to read it
    judge = Source(llama(seed=0))
    more[0] = make_subject("original", judge)
    evaluate(more, make_splits(4), METRICS, make_store(tmp_path), resamples=FEW)
    assert judge.loads == 1


def test_another_judge_is_another_number(tmp_path):
    def value(judge, weights):
        subjects = [make_subject("original", Source(judge), weights=weights), make_subject("unlearned", source)]
        metrics = (ReplyPerplexity(max_new_tokens=6),)
        found = evaluate(subjects, make_splits(3), metrics, make_store(tmp_path), resamples=FEW)
        return found.get(metrics[0].label, "unlearned").value

    source = Source(llama(seed=2))
    assert value(flat(), "flat") == pytest.approx(VOCABULARY, rel=1e-5)
    assert abs(value(llama(seed=0), "other") - VOCABULARY) > CLOSE
    assert value(never, "flat") == pytest.approx(VOCABULARY, rel=1e-5)


def test_without_an_original_nobody_judges(tmp_path):
    found = evaluate(
        [make_subject("unlearned", Source(llama()))], make_splits(3), METRICS, make_store(tmp_path), resamples=FEW
    )
    reasons = {item.label: item.reason for item in found.omitted}
    assert set(reasons) == {METRICS[6].label, METRICS[8].label}
    assert set(reasons.values()) == {"no original model was handed in that could read the same"}


def said(record, *texts, values=()):
    return replies.Replies(
        count=1,
        owners=(0,) * len(texts),
        asked=(record,) * len(texts),
        texts=tuple(Secret(text, "forget record 0") for text in texts),
        values=(tuple(values),) * len(texts),
        max_new_tokens=8,
    )


def test_the_judge_reads_the_reply_after_the_prompt():
    """Against full logits of prompt and reply; the end does not count, and nothing said has no tokens."""
    record, judge, tokenizer = make_record("forget", 3), Source(llama(seed=4))(), make_tokenizer()
    answer = judge_replies(judge, said(record, "w7 w9 w11", "", "  w5 "), max_length=64, batch_size=2)
    prompt = prompt_ids(record, tokenizer, max_length=64)
    for text, found in zip(([7, 9, 11], [], [5]), answer[0], strict=True):
        with torch.no_grad():
            table = judge.model(torch.tensor([[*prompt, *text]])).logits[0].double().log_softmax(-1)
        places = range(len(prompt), len(prompt) + len(text))
        nats = -sum(table[place - 1, token].item() for place, token in zip(places, text, strict=True))
        assert found == pytest.approx([nats, len(text)], abs=CLOSE)


def test_a_reply_may_be_longer_than_records_and_ends_where_positions_do():
    record, judge = make_record("forget", 2), Source(llama())()
    prompt = len(prompt_ids(record, make_tokenizer(), max_length=64))
    long = " ".join(["w9"] * 80)
    assert judge_replies(judge, said(record, long), max_length=64, batch_size=2)[0][0][1] == 64 - prompt
    assert judge_replies(judge, said(record, long), max_length=10, batch_size=2)[0][0][1] == 18 - prompt


def test_a_broken_judge_is_an_error():
    model = llama()
    model.model.embed_tokens.weight.data[20:40] = float("nan")
    with pytest.raises(DivergedError, match=r"1 of 1 sequences \(replies\)"):
        judge_replies(Source(model)(), said(make_record("forget", 2), "w25 w30"), max_length=64, batch_size=2)


def test_a_policy_speaks_and_is_judged(tmp_path):
    splits, model = make_splits(3), llama()
    policy = Parrot(splits["forget"][0].answer.reveal())
    subjects = [
        make_subject("original", Source(model)),
        make_subject("policy", Source(model), policy=policy, policy_digest="p"),
    ]
    metrics = (ReplyPerplexity(max_new_tokens=4), Rouge(max_new_tokens=4), AnswerMix(max_new_tokens=4))
    found = evaluate(subjects, splits, metrics, make_store(tmp_path), resamples=FEW)
    assert not found.omitted
    bare, guarded = (found.get(metrics[0].label, role).value for role in ("original", "policy"))
    assert math.isfinite(bare)
    assert math.isfinite(guarded)
    assert bare != guarded
    assert found.get(metrics[2].label, "policy").details["correct"] >= 1 / 3 - CLOSE


def test_the_value_of_a_cloze_decides_what_is_correct():
    record = make_record("forget", 3)  # an answer of five words
    value = record.answer.reveal().split()[-1]
    cloze = replace(record, variants={"cloze": (Variant(answer=Secret(value, "x"), prompt=Secret("w4", "x")),)})
    need = AnswerMix(max_new_tokens=4).needs()[0]

    def correct(record, text):
        records = {"forget": [record]}
        loaded = Source(llama())()
        policy = type("Fixed", (), {"generate": lambda self, prompts, answer: [text] * len(prompts)})()
        found = generate_replies(loaded, records, Asking.of(need), max_length=64, batch_size=2, policy=policy)
        return score_replies(found, need)[0][0].correct

    most = " ".join(record.answer.reveal().split()[:-1])
    assert (correct(record, most), correct(cloze, most)) == (1, 0)
    assert (correct(record, value), correct(cloze, value)) == (0, 1)


def test_replies_print_as_nothing_and_files_hold_numbers_only(tmp_path):
    record = make_record("forget", 0)
    found = said(record, "w7 secret words")
    assert "secret" not in repr(found) + str(found)
    subjects = [make_subject(role, source) for role, source in models().items()]
    evaluate(subjects, make_splits(4), METRICS, make_store(tmp_path), resamples=FEW)
    stored = "".join(path.read_text() for path in tmp_path.iterdir())
    assert not any(f"w{number}" in stored for number in range(3, VOCABULARY))


def test_several_forms_are_several_replies(tmp_path):
    """Paraphrased questions are asked as they are; a record without one has no reply."""
    records = [make_record("forget", 0), make_record("forget", 1, paraphrase=False)]
    need = EmptyRate(form="paraphrased_question", max_new_tokens=3).needs()[0]
    found = generate_replies(
        Source(llama())(), {"forget": records}, Asking.of(need), max_length=64, batch_size=2, policy=None
    )
    assert [len(forms) for forms in score_replies(found, need)] == [1, 0]
    assert np.array(found.owners).tolist() == [0]


def asking(prompt: str, number: int = 0):
    return replace(make_record("forget", number), prompt=Secret(prompt, f"forget record {number}"))


FULL = " ".join(["w9"] * 61)  # with "Question:", "Answer:" and no start token these are 63 tokens of 64


def room(record) -> int:
    return 64 - len(prompt_ids(record, make_tokenizer(), max_length=99))


@pytest.mark.parametrize("prompt", ["", "  ", "\n\u00a0"])
def test_an_empty_prompt_is_not_asked(prompt, counted):
    need = Rouge(max_new_tokens=4).needs()[0]
    records = {"forget": [asking(prompt), make_record("forget", 1)]}
    found = generate_replies(Source(llama())(), records, Asking.of(need), max_length=64, batch_size=2, policy=None)
    assert [len(forms) for forms in score_replies(found, need)] == [0, 1]
    assert len(counted) == 1


def test_a_prompt_that_fills_the_context_has_no_number():
    """One position left is one token said; none left is no reply, not an empty one, whatever the length limit says."""
    longest = next(n for n in range(50, 64) if room(asking(" ".join(["w9"] * n))) == 0)
    prompts = [" ".join(["w9"] * (longest + more)) for more in (-1, 0, 1, 30)]
    records = {"forget": [asking(prompt, number) for number, prompt in enumerate(prompts)]}
    assert [room(record) for record in records["forget"]] == [1, 0, -1, -30]
    need = ReplyLength(max_new_tokens=4).needs()[0]
    for limit in (64, 500):
        loaded = Source(llama())()
        found = generate_replies(
            loaded, records, Asking.of(need), max_length=loaded.limit(limit), batch_size=2, policy=None
        )
        assert [len(forms) for forms in score_replies(found, need)] == [1, 0, 0, 0]
        assert len(judge_replies(loaded, found, max_length=64, batch_size=2)) == 4
    whole = len(prompt_ids(make_record("forget", 2), make_tokenizer(), max_length=64))
    short = {"forget": [make_record("forget", 2)]}
    for limit, count in ((whole - 1, 0), (whole, 1)):  # a prompt that is cut is another question
        found = generate_replies(Source(llama())(), short, Asking.of(need), max_length=limit, batch_size=2, policy=None)
        assert len(found.owners) == count


def test_a_policy_may_answer_where_the_model_cannot():
    class Guard:
        def generate(self, prompts, answer):
            bare = answer(list(enumerate(prompts)))
            return ["No comment.", *bare[1:]]

    need = ReplyLength(max_new_tokens=4).needs()[0]
    records = {"forget": [asking(FULL + " w9" * 9, number) for number in range(2)]}
    found = generate_replies(Source(llama())(), records, Asking.of(need), max_length=64, batch_size=2, policy=Guard())
    assert score_replies(found, need) == [[2.0], []]


def test_what_could_not_be_asked_is_missing_and_said(tmp_path):
    """Every text metric leaves such records out, says how many, and equals a run without them."""
    splits = make_splits(4)
    odd = {**splits, "forget": [*splits["forget"], asking("", 4), asking(FULL + " w9" * 9, 5)]}
    subjects = [make_subject(role, source) for role, source in models().items()]
    few = evaluate(subjects, splits, METRICS, make_store(tmp_path / "a"), resamples=FEW)
    found = evaluate(subjects, odd, METRICS, make_store(tmp_path / "b"), resamples=FEW)
    stored = [make_subject(role, never) for role in ROLES]
    assert evaluate(stored, odd, METRICS, make_store(tmp_path / "b"), resamples=FEW) == found
    assert len(found.scores) == len(few.scores) == len(METRICS) * 3
    assert not found.omitted
    for one, other in zip(found.scores, few.scores, strict=True):
        assert one.value == pytest.approx(other.value, abs=CLOSE)
        assert one.records == other.records
        assert one.details == {**other.details, "not_asked": 2}


@pytest.mark.parametrize(
    ("prompt", "reason"), [(FULL + " w9" * 9, "none of the prompts could be asked (3 records)"), ("", "ask nothing")]
)
def test_where_nothing_could_be_asked_there_is_no_score(tmp_path, prompt, reason):
    splits = {**make_splits(3), "forget": [asking(prompt, number) for number in range(3)]}
    subjects = [make_subject(role, source) for role, source in models().items()]
    found = evaluate(subjects, splits, METRICS, make_store(tmp_path), resamples=FEW)
    assert not found.scores
    assert not found.gaps
    assert len(found.omitted) == len(METRICS) * 3
    assert all(reason in item.reason for item in found.omitted)


def test_what_a_tool_said_counts_as_told_before_the_reply():
    """A filter reads what the user asks; a value that the tool gave is not one that the model brought."""
    record = make_record("forget", 0)
    turns = (Message(role="user", content=record.prompt), Message(role="tool", content=record.answer))
    talk = replace(record, kind="messages", prompt=None, messages=turns)
    assert replies._prompt_text(talk) == record.prompt.reveal()
    assert replies._told_before(talk) == f"{record.prompt.reveal()}\n{record.answer.reveal()}"
    assert replies._told_before(record) == record.prompt.reveal()
    other = replies._with_prompt(talk, "w9")
    assert (other.messages[0].content.reveal(), other.messages[1]) == ("w9", turns[1])
    system = replace(talk, messages=(Message(role="system", content=record.prompt),))
    assert replies._with_prompt(system, record.prompt.reveal()) == system
