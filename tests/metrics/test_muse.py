"""MUSE: the few-shot prompt, the cut, ROUGE-L F1 against the paper's package, and numbers by hand."""

from __future__ import annotations

import json
import math

import pytest
from rouge_score.rouge_scorer import RougeScorer

from expunge.data.record import Message, Record
from expunge.data.render import render
from expunge.data.shots import FewShot
from expunge.errors import InputError
from expunge.evaluation.replies import Asking, generate_replies, score_replies
from expunge.evaluation.runner import evaluate
from expunge.functional.text import SCORERS, Reply, first_answer
from expunge.metrics.extraction import ExtractionLikelihood, MemorisationAccuracy
from expunge.metrics.memorisation import Rouge
from expunge.metrics.muse import KnowledgeMemorisation, VerbatimMemorisation
from expunge.models.generate import greedy
from expunge.registry import suites
from expunge.storage.secret import Secret
from tests.evaluation.worlds import Source, make_splits, make_store, make_subject, make_tokenizer, never
from tests.metrics.numbers import answers
from tests.support.tiny import llama

EXACT = 1e-12


def asked(question: str, answer: str, index: int = 0, split: str = "retain") -> Record:
    label = f"{split} record {index}"
    return Record(index=index, split=split, kind="qa", prompt=Secret(question, label), answer=Secret(answer, label))


def test_the_prompt_by_hand():
    others = [asked("Who wrote Emma?", "Jane Austen"), asked("Where is Oslo?", "In Norway", 1), asked("Why?", "So", 2)]
    (found,) = FewShot(count=2).apply(asked("Who is Ada?", " A countess ", 5, "forget"), others)
    text, start, stop, templated, _ = render(found, make_tokenizer())
    assert text == (
        "Question: Who wrote Emma?\nAnswer: Jane Austen\n\nQuestion: Where is Oslo?\nAnswer: In Norway\n\n"
        "Question: Who is Ada?\nAnswer: A countess"
    )
    assert text[start:stop] == " A countess"
    assert not templated
    assert str(found.prompt) == "[forget record 5]"
    assert FewShot().label == "few_shot(split=retain, count=10)"


def test_neither_the_record_nor_its_question_answers_itself():
    others = [asked("Who?", "Ann"), asked("Where?", "There", 1), asked("Who?", "Bob", 2)]
    (found,) = FewShot().apply(others[0], others)
    assert found.prompt.reveal() == "Question: Where?\nAnswer: There\n\nQuestion: Who?\nAnswer:"
    assert FewShot().apply(others[0], others[:1]) == ()
    (whole,) = FewShot(count=3).apply(asked("What?", "x", 0, "forget"), others)
    assert whole.prompt.reveal().count("Question:") == 4


def test_conversations_ask_their_last_turn_and_texts_nothing():
    turns = tuple(Message(role="user", content=Secret(text, "forget record 3")) for text in ("Hello", "Who?"))
    talk = Record(index=3, split="forget", kind="messages", messages=turns, answer=Secret("Ann", "forget record 3"))
    (found,) = FewShot(count=1).apply(talk, [asked("Where?", "There")])
    assert found.prompt.reveal().endswith("Question: Who?\nAnswer:")
    assert (found.kind, found.messages) == ("completion", ())
    text = Record(index=0, split="forget", kind="text", answer=Secret("a story", "forget record 0"))
    assert FewShot().apply(text, [asked("Where?", "There")]) == ()
    assert FewShot().apply(talk, [text]) == ()
    with pytest.raises(InputError, match="at least one answered question"):
        FewShot(count=0)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (" In Norway\n\nQuestion: Who?", " In Norway"),
        (" In Norway\nQuestion", " In Norway"),
        (" In Norway Question: Who?", " In Norway "),
        (" In Norway\nand Sweden", " In Norway\nand Sweden"),
        (" No Question\n\nmore", " No Question"),
        ("\n\nIn Norway", ""),
        ("", ""),
    ],
)
def test_an_answer_ends_before_the_next_question(said, kept):
    assert first_answer(said) == kept


def test_rouge_is_that_of_the_papers_package():
    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    pairs = [("The running dogs, 3 of them", "the dog was running"), ("the dogs", "dogs the dogs"), ("", "one")]
    found = SCORERS["knowledge_rouge_l_f1"]([Reply(text=said, truth=true) for said, true in pairs])
    assert found == pytest.approx([scorer.score(true, said)["rougeL"].fmeasure for said, true in pairs], abs=EXACT)
    cut = SCORERS["knowledge_rouge_l_f1"]([Reply(text=" in Norway\n\nQuestion: in Norway", truth=" In Norway")])
    assert cut == [1.0]


FOREIGN = [
    ("Zoë lives in Łódź", "Zoë lebt in Łódź, naïvely"),
    ("a café in São Paulo", "the cafe in Sao Paulo"),
    ("Ünal", "nal"),
    ("\u0130stanbul", "istanbul"),
    ("東京", "東京"),
]


def test_ascii_words_give_the_numbers_of_the_papers_package():
    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    expected = [scorer.score(true, said)["rougeL"] for said, true in FOREIGN]
    replies = [Reply(text=said, truth=true) for said, true in FOREIGN]
    found = SCORERS["knowledge_rouge_l_f1"](replies, split="ascii")
    assert found == pytest.approx([one.fmeasure for one in expected], abs=EXACT)
    assert SCORERS["knowledge_rouge_l_f1"](replies) != pytest.approx(found, abs=0.01)
    recalls = SCORERS["rouge_l_recall"](replies, split="ascii")
    assert recalls == pytest.approx([one.recall for one in expected], abs=EXACT)


def test_real_texts_with_other_letters_have_the_numbers_of_the_package(shared_data):
    lines = (shared_data / "tofu" / "full.json").read_text(encoding="utf-8").splitlines()
    texts = [text for text in (json.loads(line)["answer"] for line in lines) if not text.isascii()]
    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    pairs = list(zip(texts, texts[1:], strict=False))[:200]
    replies = [Reply(text=said, truth=true) for true, said in pairs]
    expected = [scorer.score(true, said)["rougeL"].recall for true, said in pairs]
    assert SCORERS["rouge_l_recall"](replies, split="ascii") == pytest.approx(expected, abs=EXACT)
    for other in ("unicode", "tofu"):  # other letters and stems change these very texts
        assert SCORERS["rouge_l_recall"](replies, split=other) != pytest.approx(expected, abs=0.01), other


def test_the_suite_uses_the_papers_words_and_other_labels_stay():
    asked = [metric for metric in suites.get("muse")(("forget", "retain", "holdout")) if "memorisation" in metric.label]
    assert len(asked) == 3
    for metric in asked:
        assert metric.label.endswith(", words=ascii)")
        assert dict(metric.needs()[0].params)["split"] == "ascii"
    for plain in (VerbatimMemorisation(), KnowledgeMemorisation()):
        assert "words" not in plain.label
        assert "split" not in dict(plain.needs()[0].params)
    assert "words=unicode" in Rouge().label
    assert dict(Rouge(words="ascii").needs()[0].params)["split"] == "ascii"


def test_an_evaluation_reads_ascii_words(tmp_path):
    metrics = [metric(words="ascii", max_new_tokens=4) for metric in (VerbatimMemorisation, KnowledgeMemorisation)]
    splits = make_splits(3)
    subject = make_subject("original", Source(llama(2)))
    found = evaluate([subject], splits, [*metrics, Rouge(words="ascii")], make_store(tmp_path), resamples=10)
    assert found.omitted == ()
    assert len(found.scores) == 3


def test_knowledge_memorisation_asks_greedily_after_the_shots():
    splits, loaded = make_splits(4), Source(llama(2))()
    metric = KnowledgeMemorisation(shots=2, shots_from="holdout", max_new_tokens=6)
    (need,) = metric.needs()
    assert dict(need.params) == {"max_new_tokens": 6, "scorer": "knowledge_rouge_l_f1"}
    heard = generate_replies(loaded, splits, Asking.of(need), max_length=64, batch_size=3, policy=None)
    for record, text in zip(splits["forget"], heard.texts, strict=True):
        (read,) = FewShot(split="holdout", count=2).apply(record, splits["holdout"])
        prompt = loaded.tokenizer(read.prompt.reveal())["input_ids"]
        said = greedy(loaded.model, loaded.tokenizer, [prompt], max_new_tokens=6)[0]
        assert text.reveal() == loaded.tokenizer.decode(said, skip_special_tokens=True)
    scores = [float(values[0]) for values in score_replies(heard, need)]
    assert metric.compute(answers(metric, [[value] for value in scores])).value == pytest.approx(sum(scores) / 4)
    assert metric.label == (
        "knowledge_memorisation(split=forget, form=trained, shots_from=holdout, shots=2, max_new_tokens=6)"
    )
    assert (metric.aim, KnowledgeMemorisation(split="retain").aim) == ("closer", "higher")


def test_verbatim_memorisation_by_hand():
    metric = VerbatimMemorisation(prefix=5)
    score = metric.compute(answers(metric, [[0.5], [math.nan], [1.0], []]))
    assert score.value == pytest.approx(0.75, abs=EXACT)
    assert score.details == {"too_short": 1.0}
    assert metric.label == "verbatim_memorisation(split=forget, form=trained, prefix=5, max_new_tokens=128)"


def test_an_evaluation_stores_them_and_leaves_out_what_cannot_be_asked(tmp_path):
    splits, store = make_splits(3), make_store(tmp_path)
    metrics = [
        KnowledgeMemorisation(shots=2, max_new_tokens=4),
        KnowledgeMemorisation(shots_from="absent"),
        VerbatimMemorisation(prefix=1, max_new_tokens=4),
        ExtractionLikelihood(n=10, stride=5),  # no record has more than ten tokens: NaN in the store
        MemorisationAccuracy(),
    ]
    found = evaluate([make_subject("original", Source(llama(2)))], splits, metrics, store, resamples=10)
    assert [one.reason for one in found.omitted] == ["no absent records were handed in"]
    likelihood = found.get(metrics[3].label, "original")
    assert likelihood.details["too_short"] == sum(values for values in likelihood.details.values())
    again = evaluate([make_subject("original", never)], splits, metrics, store, resamples=10)
    assert repr(again.scores) == repr(found.scores)


@pytest.mark.parametrize(
    ("metric", "settings"),
    [
        (VerbatimMemorisation, {"prefix": -1}),
        (VerbatimMemorisation, {"max_new_tokens": 0}),
        (KnowledgeMemorisation, {"shots": 0}),
        (KnowledgeMemorisation, {"max_new_tokens": 0}),
    ],
)
def test_settings_that_cannot_be(metric, settings):
    name, value = next(iter(settings.items()))
    with pytest.raises(InputError, match=f"{name}={value}"):
        metric(**settings)
