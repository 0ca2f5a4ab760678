"""One forward pass for all metrics; the same numbers whatever the batches; nothing is loaded that is stored."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from expunge.data.batch import collate
from expunge.data.record import Record
from expunge.data.tokenize import encode, pad_id, prompt_ids
from expunge.errors import DivergedError, InputError
from expunge.evaluation import speaking
from expunge.evaluation.answering import answer_needs, text_answer
from expunge.evaluation.runner import evaluate
from expunge.evaluation.suites import quick
from expunge.metrics.base import Need
from expunge.metrics.distribution import ForgetQuality
from expunge.metrics.membership import MiaLoss, MiaMinK
from expunge.metrics.memorisation import ExactMemorisation, ExtractionStrength, Probability, Rouge, TruthRatio
from expunge.metrics.perplexity import Perplexity
from expunge.storage.secret import Secret
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

FEW = 20  # draws of the bootstrap
KINDS = ("token_logps", "moments", "ranks")


def needs_of(form: str) -> list[Need]:
    return [Need(kind=kind, split="forget", form=form) for kind in KINDS]


def read(model, records, needs, batch_size=5):
    loaded = Source(model)()
    return answer_needs(loaded, {"forget": records}, needs, max_length=64, batch_size=batch_size)


def test_numbers_equal_a_slow_read_of_full_logits():
    model, records = llama(), make_splits(5)["forget"]
    tokenizer = make_tokenizer()
    logps, moments, ranks = (
        read(model, records, needs_of("perturbed_answer"))[need] for need in needs_of("perturbed_answer")
    )
    for number, record in enumerate(records):
        assert len(logps[number]) == 3
        for form, one in enumerate(record.forms("perturbed_answer")):
            example = encode(one, tokenizer, row=0, max_length=64)
            with torch.no_grad():
                table = model(torch.tensor([example.input_ids])).logits[0].double().log_softmax(-1)
            places = [place for place, label in enumerate(example.labels) if label >= 0]
            own = [table[place - 1, example.labels[place]].item() for place in places]
            mean = [(table[place - 1].exp() * table[place - 1]).sum().item() for place in places]
            better = [int((table[place - 1] > table[place - 1, example.labels[place]]).sum()) for place in places]
            assert logps[number][form] == pytest.approx(own, abs=1e-5)
            assert moments[number][form][:, 0] == pytest.approx(mean, abs=1e-5)
            assert ranks[number][form].tolist() == better
            assert logps[number][form].dtype == np.float64


@pytest.mark.parametrize("form", ["trained", "perturbed_answer", "paraphrased_question"])
def test_batch_size_and_company_change_nothing(form):
    """One record at a time has no padding at all."""
    model, records = llama(seed=3), make_splits(9)["forget"]
    alone = read(model, records, needs_of(form), batch_size=1)
    together = read(model, records, needs_of(form), batch_size=7)
    backwards = read(model, records[::-1], needs_of(form), batch_size=4)
    for need in needs_of(form):
        for number in range(len(records)):
            for one, other, third in zip(
                alone[need][number], together[need][number], backwards[need][-1 - number], strict=True
            ):
                assert one == pytest.approx(other, abs=2e-5)
                assert one == pytest.approx(third, abs=2e-5)


def test_answer_of_a_record_without_the_form_is_empty():
    records = [make_record("forget", 0), make_record("forget", 1, paraphrase=False), make_record("forget", 2)]
    answer = read(llama(), records, needs_of("paraphrased_answer"))
    assert [len(forms) for forms in answer[needs_of("paraphrased_answer")[0]]] == [1, 0, 1]


def test_the_place_of_a_label_is_the_same_for_all_records_of_a_split():
    def labelled(right: str, *wrong: str) -> Record:
        texts = tuple(Secret(text, "a label") for text in wrong)
        return replace(make_record("labels", 0), answer=Secret(right, "a label"), perturbed_answers=texts)

    records = [labelled("b", "c", "a"), labelled("c", "a", "b"), labelled("a")]
    needs = [Need(kind="label_place", split="labels", form=form) for form in ("trained", "perturbed_answer")]
    places = [text_answer(records, need) for need in needs]
    assert places == [[[1], [2], [0]], [[2, 0], [0, 1], []]]


def test_suite_quick_takes_one_forward_for_each_model_split_form_and_batch(tmp_path, monkeypatch):
    """Greedy decoding runs the model too; it is counted apart, once for each split and batch."""
    splits, batch_size = make_splits(12), 5
    decoded = []

    def decode(model, tokenizer, prompts, **settings):
        decoded.append(len(prompts))
        return [[5]] * len(prompts)

    monkeypatch.setattr(speaking, "greedy", decode)
    models = {role: llama(seed=seed) for seed, role in enumerate(("original", "retrained", "unlearned"))}
    forwards = dict.fromkeys(models, 0)

    def counter(role):
        def count(*_):
            forwards[role] += 1

        return count

    for role, model in models.items():
        model.register_forward_hook(counter(role))
    subjects = [make_subject(role, Source(model)) for role, model in models.items()]
    found = evaluate(subjects, splits, quick(tuple(splits)), make_store(tmp_path), batch_size=batch_size, resamples=FEW)
    once = math.ceil(12 / batch_size)
    forget = 3 * once + math.ceil(36 / batch_size)  # trained, two paraphrases, three wrong answers
    own = forget + once + once  # and retain and holdout
    judged = 3 * 2 * once  # the original reads the replies of all three to forget and retain prompts
    assert forwards == {"original": own + judged, "retrained": own, "unlearned": own}
    assert decoded == [5, 5, 2] * 2 * 3  # two splits of three models, in batches
    assert len(found.scores) + len(found.omitted) == 3 * len(quick(tuple(splits)))
    here = {"trained", "paraphrased_question", "paraphrased_answer", "perturbed_answer"}
    absent = {metric.label for metric in quick(tuple(splits)) if any(need.form not in here for need in metric.needs())}
    assert {item.label for item in found.omitted if item.label in absent} == absent
    others = [item.role for item in found.omitted if item.label not in absent]
    assert others == ["retrained"]  # forget quality of the reference itself
    assert all(math.isfinite(score.value) for score in found.scores)


def test_a_stored_answer_is_neither_loaded_nor_computed(tmp_path):
    splits, metrics = make_splits(), (Probability(), MiaMinK(), Rouge(max_new_tokens=3))
    source = Source(llama())
    first = evaluate([make_subject("original", source)], splits, metrics, make_store(tmp_path), resamples=FEW)
    assert source.loads == 1
    again = evaluate([make_subject("original", never)], splits, metrics, make_store(tmp_path), resamples=FEW)
    assert again == first
    more = evaluate(
        [make_subject("original", source)], splits, (*metrics, Perplexity()), make_store(tmp_path), resamples=FEW
    )
    assert source.loads == 2
    assert more.scores[: len(first.scores)] == first.scores


def test_only_what_is_missing_is_computed(tmp_path):
    model = llama()
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    splits = make_splits(4)
    subject = make_subject("original", Source(model))
    evaluate([subject], splits, (Probability(),), make_store(tmp_path), resamples=FEW)
    evaluate([subject], splits, (Probability(), Probability(split="retain")), make_store(tmp_path), resamples=FEW)
    assert len(calls) == 2


def test_values_by_hand_from_the_answers(tmp_path):
    splits, model = make_splits(4), llama(seed=5)
    found = evaluate(
        [make_subject("original", Source(model))],
        splits,
        (Probability(), ExactMemorisation(split="retain")),
        make_store(tmp_path),
        resamples=FEW,
    )
    tokenizer = make_tokenizer()
    values = []
    for record in splits["forget"]:
        batch = collate([encode(record, tokenizer, row=0, max_length=64)], pad_id(tokenizer))
        with torch.no_grad():
            loss = model(input_ids=batch.input_ids_BT, labels=batch.labels_BT).loss.double()
        values.append(math.exp(-loss.item()))
    assert found.scores[0].value == pytest.approx(np.mean(values), rel=1e-5)
    assert (found.scores[0].low, found.scores[0].high, found.scores[0].n) == (None, None, 4)


def test_a_flat_model_knows_nothing(tmp_path):
    """Every probability is 1/V, nothing can be extracted, and members look like the others."""
    splits = make_splits(12)
    metrics = (
        Probability(),
        ExtractionStrength(),
        MiaLoss(),
        MiaMinK(),
        TruthRatio(),
        Perplexity(),
    )
    found = evaluate([make_subject("original", Source(flat()))], splits, metrics, make_store(tmp_path), resamples=FEW)
    values = [score.value for score in found.scores]
    assert values == pytest.approx([1 / VOCABULARY, 0, 0.5, 0.5, 1, VOCABULARY], rel=1e-6)
    assert values[2:4] == [0.5, 0.5]


def test_sizes_and_intervals_count_subjects(tmp_path):
    """Twelve records of nine persons are nine subjects: too few for an interval; of ten persons, enough."""
    for persons, has_interval in ((9, False), (10, True)):
        records = [make_record("forget", index, subject=f"person {index % persons}") for index in range(12)]
        found = evaluate(
            [make_subject("original", Source(llama()))],
            {"forget": records},
            (Probability(),),
            make_store(tmp_path / str(persons), "forget"),
            resamples=FEW,
        )
        score = found.scores[0]
        assert (score.n, score.records) == (persons, 12)
        assert (score.low is not None) == has_interval
        if score.low is not None and score.high is not None:
            assert score.low < score.value < score.high


def test_size_of_an_area_is_that_of_its_smaller_side(tmp_path):
    splits = {**make_splits(12), "holdout": make_splits(5)["holdout"]}
    found = evaluate(
        [make_subject("original", Source(llama()))], splits, (MiaLoss(),), make_store(tmp_path), resamples=FEW
    )
    assert (found.scores[0].n, found.scores[0].low) == (5, None)


def test_gap_pairs_the_two_models(tmp_path):
    """A model beside itself has a gap of zero on every draw; values of their own have an interval all the same."""
    model = llama()
    roles = ("original", "retrained", "unlearned")
    subjects = [make_subject(role, Source(model if role != "original" else llama(seed=8))) for role in roles]
    found = evaluate(
        subjects, make_splits(), (Probability(), MiaLoss(), Perplexity()), make_store(tmp_path), resamples=FEW
    )
    assert {gap.role for gap in found.gaps} == {"original", "unlearned"}
    assert Perplexity().label not in {gap.label for gap in found.gaps}
    for label in (Probability().label, MiaLoss().label):
        same, other = found.gap(label, "unlearned"), found.gap(label, "original")
        assert same is not None
        assert other is not None
        assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
        scores = [found.get(label, role) for role in ("original", "retrained")]
        assert other.value == pytest.approx(scores[0].value - scores[1].value)
        assert other.low < other.high
        assert scores[0].low < scores[0].high


def test_what_is_absent_is_listed_with_the_reason(tmp_path):
    forget = [make_record("forget", index, paraphrase=False) for index in range(3)]
    metrics = (Probability(), MiaLoss(), Probability(form="paraphrased_question"), ForgetQuality(form="trained"))
    found = evaluate(
        [make_subject("unlearned", Source(llama()))], {"forget": forget}, metrics, make_store(tmp_path), resamples=FEW
    )
    assert [score.label for score in found.scores] == [metrics[0].label]
    assert {item.label: item.reason for item in found.omitted} == {
        metrics[1].label: "no holdout records were handed in",
        metrics[2].label: "the forget records have no paraphrased_question",
        metrics[3].label: "no retrained model was handed in",
    }


def test_plain_text_has_no_continuation_to_score(tmp_path):
    text = [replace(make_record("forget", index), kind="text", prompt=None) for index in range(3)]
    found = evaluate(
        [make_subject("original", Source(llama()))],
        {"forget": text},
        (Rouge(max_new_tokens=2), Probability()),
        make_store(tmp_path),
        resamples=FEW,
    )
    assert found.omitted[0].reason == "the forget records ask nothing: they are plain text, or their prompts are empty"
    assert len(found.scores) == 1


def test_forget_quality_alone_asks_the_retrained_model_too(tmp_path):
    subjects = [make_subject("retrained", Source(llama())), make_subject("unlearned", Source(llama(seed=1)))]
    found = evaluate(subjects, make_splits(), (ForgetQuality(),), make_store(tmp_path), resamples=FEW)
    assert [score.role for score in found.scores] == ["unlearned"]
    assert found.scores[0].details["n"] == 12
    assert found.scores[0].low is None


class Parrot:
    """A policy that answers the first prompt itself and passes the others on."""

    def __init__(self, reply: str) -> None:
        self.reply = reply
        self.seen: list[str] = []

    def generate(self, prompts, answer):
        self.seen = list(prompts)
        return [self.reply, *answer(list(enumerate(prompts))[1:])]


def test_a_policy_answers_generations_and_hides_logits(tmp_path):
    splits, model = make_splits(3), llama()
    policy = Parrot(splits["forget"][0].answer.reveal())
    subjects = [
        make_subject("unlearned", Source(model)),
        make_subject("policy", Source(model), policy=policy, policy_digest="p"),
    ]
    metrics = (Rouge(max_new_tokens=4), Probability(), MiaLoss())
    found = evaluate(subjects, splits, metrics, make_store(tmp_path), resamples=FEW)
    reasons = {item.reason for item in found.omitted if item.role == "policy"}
    assert reasons == {"log-probabilities are not visible through a policy; see the bare weights"}
    assert [item.label for item in found.omitted] == [metrics[1].label, metrics[2].label]
    assert policy.seen == [record.prompt.reveal() for record in splits["forget"]]
    bare, guarded = (found.get(metrics[0].label, role) for role in ("unlearned", "policy"))
    assert guarded.value == pytest.approx(bare.value + (1 - scored(model, splits["forget"][0])) / 3)


def scored(model, record) -> float:
    """ROUGE-L recall of one bare continuation."""
    need = Rouge(max_new_tokens=4).needs()[0]
    return read(model, [record], [need])[need][0][0]


def test_generation_is_scored_on_the_decoded_continuation(monkeypatch):
    record = make_record("forget", 3)  # five words
    tokenizer = make_tokenizer()
    truth = tokenizer(record.answer.reveal(), add_special_tokens=False)["input_ids"]
    prompts = []

    def decode(model, tokenizer, asked, **settings):
        prompts.extend(asked)
        return [[*truth[:2], 60, 2]]

    monkeypatch.setattr(speaking, "greedy", decode)
    assert scored(llama(), record) == pytest.approx(2 / 5)
    assert prompts == [prompt_ids(record, tokenizer, max_length=64)]


def test_a_continuation_ends_where_the_positions_do():
    """Prompts have five tokens of 64; the longer one gets fewer new tokens and changes nothing for the others."""
    short, model = make_record("forget", 2), llama()
    long = replace(short, prompt=Secret(" ".join(["w9"] * 57), "forget record 3"))
    need, shorter = Rouge(max_new_tokens=40).needs()[0], Rouge(max_new_tokens=5).needs()[0]
    both = read(model, [short, long], [need])[need]
    assert both[0] == read(model, [short], [need])[need][0]
    assert both[1] == read(model, [long], [shorter])[shorter][0]


def test_subjects_that_cannot_be_told_apart_are_refused(tmp_path):
    twice = [make_subject("retrained", never), make_subject("retrained", never)]
    with pytest.raises(InputError, match="Two models have the role 'retrained'.*'retrained_2'"):
        evaluate(twice, make_splits(2), (Probability(),), make_store(tmp_path))
    bare = make_subject("unlearned", never, weights="w")
    guarded = make_subject("policy", never, weights="w", policy=Parrot(""))
    with pytest.raises(InputError, match="one identity but not one policy"):
        evaluate([bare, guarded], make_splits(2), (Probability(),), make_store(tmp_path))


def test_a_broken_model_is_not_scored(tmp_path):
    model = llama()
    model.model.embed_tokens.weight.data[20:40] = float("nan")
    with pytest.raises(DivergedError, match=r"not numbers for \d+ of 12 sequences"):
        evaluate([make_subject("original", Source(model))], make_splits(), (Probability(),), make_store(tmp_path))


def test_the_mode_of_the_model_is_restored_and_dropout_is_off(tmp_path):
    model = llama(dropout=0.5).train()
    found = evaluate([make_subject("original", Source(model))], make_splits(), (Probability(),), make_store(tmp_path))
    quiet = evaluate(
        [make_subject("original", Source(llama()))], make_splits(), (Probability(),), make_store(tmp_path / "quiet")
    )
    assert model.training
    assert found.scores[0].value == pytest.approx(quiet.scores[0].value, rel=1e-6)


def test_same_seed_same_intervals(tmp_path):
    def run(seed):
        subject = make_subject("original", Source(llama()))
        found = evaluate([subject], make_splits(), (Probability(),), make_store(tmp_path), seed=seed, resamples=50)
        return found.scores[0].low, found.scores[0].high

    assert run(1) == run(1) != run(2)
