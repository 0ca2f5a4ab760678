"""Relearning on a tiny model that learnt words by heart, one that hides them and one that never saw them."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import pytest
import torch

from expunge.attacks.base import AttackTask, Point
from expunge.attacks.relearning import Relearn, RelearnBenign, RelearnRTT, RelearnUnrelated
from expunge.attacks.running import run_attack
from expunge.attacks.tuning import Tuning
from expunge.data.batch import collate
from expunge.data.record import Record
from expunge.data.tokenize import encode_all
from expunge.errors import InputError, InterruptedRunError, MissingNeedError
from expunge.models.load import LoadedModel
from expunge.models.reading import example_logps
from expunge.storage.secret import Secret
from expunge.training.order import rows_between
from tests.evaluation.worlds import make_tokenizer, words
from tests.support.tiny import llama

FEW = (0, 1, 3)


def record(split: str, index: int, asked: str, said: str, subject: str | None) -> Record:
    def secret(text: str) -> Secret:
        return Secret(text, f"{split} record {index}")

    about = None if subject is None else secret(subject)
    return Record(index=index, split=split, kind="qa", prompt=secret(asked), answer=secret(said), subject=about)


def people(split: str, count: int, first: int) -> list[Record]:
    """Three facts of each person: the person's word and the fact's are asked for, two words come back."""
    return [
        record(
            split,
            3 * number + fact,
            words(first + number, 50 + fact),
            words(7 * (first + number) + 11 * fact, 5 * (first + number) + 3 * fact + 1),
            f"person{first + number}",
        )
        for number in range(count)
        for fact in range(3)
    ]


FORGET, RETAIN = people("forget", 6, 0), people("retain", 6, 20)
SPLITS: Mapping[str, Sequence[Record]] = {"forget": FORGET, "retain": RETAIN, "world_facts": people("world", 5, 40)}
TASK = AttackTask(splits=SPLITS, max_length=32, seed=3)
EVERY = [Relearn, RelearnRTT, RelearnBenign, RelearnUnrelated]


def task(**splits: Sequence[Record]) -> AttackTask:
    return AttackTask(splits=splits, max_length=32, seed=3)


def tuned(model: torch.nn.Module, records: Sequence[Record], steps: int, *, sign: int = 1) -> torch.nn.Module:
    batch = collate(encode_all(records, make_tokenizer(), max_length=32).examples, 0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2 if sign == 1 else 1e-3, weight_decay=0.0)
    for _ in range(steps):
        loss = sign * model(batch.input_ids_BT, labels=batch.labels_BT, attention_mask=batch.attention_mask_BT).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


@cache
def world(role: str) -> torch.nn.Module:
    if role == "hiding":
        return tuned(copy.deepcopy(world("original")), FORGET, 6, sign=-1)
    return tuned(llama(hidden=64), [*RETAIN, *(FORGET if role == "original" else ())], 60)


def loaded(role: str = "original", dtype: torch.dtype = torch.float32) -> LoadedModel:
    return LoadedModel(copy.deepcopy(world(role)).to(dtype).eval(), make_tokenizer(), role)


def known(model: LoadedModel, shown: frozenset[int]) -> float:
    """Mean probability of the answers that were not shown."""
    examples = encode_all(FORGET, model.tokenizer, max_length=32).examples
    logps = example_logps(model.model, examples, 0)
    kept = [math.exp(float(one.sum())) for number, one in enumerate(logps) if number not in shown]
    return sum(kept) / len(kept)


def curve(attack: Tuning, role: str, fold: int = 0) -> list[float]:
    model = loaded(role)
    return [known(model, point.shown) for point in attack.act(model, TASK, fold)]


@pytest.mark.slow
def test_hidden_records_come_back_from_other_facts_and_removed_ones_do_not() -> None:
    assert known(loaded("original"), frozenset()) > 0.9
    attack = RelearnRTT(points=(0, 20), folds=2)
    hiding, retrained = (
        [sum(at) / 2 for at in zip(*(curve(attack, role, fold) for fold in range(2)), strict=True)]
        for role in ("hiding", "retrained")
    )
    assert hiding[0] < 0.2
    assert max(hiding) - hiding[0] > max(retrained) - retrained[0] + 0.05


def test_each_learning_rate_has_a_curve_of_its_own() -> None:
    attack = RelearnUnrelated(points=(0, 3), learning_rate=1e-3, rates=(0.1, 2.0))
    found = run_attack(attack, loaded, TASK)
    assert list(found) == ["0, rate x0.1", "3, rate x0.1", "0, rate x2", "3, rate x2"]
    assert [one.series for one in found.values()] == ["rate x0.1"] * 2 + ["rate x2"] * 2
    assert found["3, rate x0.1"].details["learning_rate"] == pytest.approx(1e-4)
    alone = run_attack(RelearnUnrelated(points=(3,), learning_rate=2e-3), loaded, TASK)
    for label, values in alone["3"].values.items():
        np.testing.assert_array_equal(found["3, rate x2"].values[label], values)


@pytest.mark.parametrize("attack", EVERY)
def test_same_seed_same_bits_and_the_model_rests_at_each_point(attack: type[Tuning]) -> None:
    before = torch.random.get_rng_state()
    ends = []
    for _ in range(2):
        model, seen = loaded(dtype=torch.bfloat16), []
        for point in attack(points=FEW).act(model, TASK, 0):
            seen.append(point)
            parameters = list(model.model.parameters())
            assert not any(module.training for module in model.model.modules())
            assert all(one.grad is None and not one.requires_grad and one.dtype == torch.float32 for one in parameters)
        assert [point.at for point in seen] == list(FEW)
        assert {point.shown for point in seen} == {attack().lesson(TASK, 0).shown}
        ends.append(torch.cat([one.flatten() for one in parameters]))
    assert torch.equal(*ends)
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_loop_is_adamw_on_answer_tokens() -> None:
    attack, model, by_hand = RelearnUnrelated(points=(3,), batch_size=4, learning_rate=1e-3), loaded(), loaded().model
    small = AttackTask(splits=SPLITS, max_length=32, seed=3, batch_size=3)  # two passes for each step
    records = attack.lesson(TASK, 0).records
    examples = encode_all(records, make_tokenizer(), max_length=32).examples
    (point,) = attack.act(model, small, 0)
    optimizer = torch.optim.AdamW(by_hand.parameters(), lr=1e-3, weight_decay=0.0)
    for step in range(3):
        rows = rows_between(len(examples), 4 * step, 4 * step + 4, 3, "relearn_unrelated/0")
        batch = collate([examples[row] for row in rows], 0)
        optimizer.zero_grad()
        loss = by_hand(batch.input_ids_BT, labels=batch.labels_BT, attention_mask=batch.attention_mask_BT).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(by_hand.parameters(), 1.0)
        optimizer.step()
    for one, other in zip(model.model.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=0)  # a tenth of a step: Adam enlarges rounding
    assert point.details["loss"] == pytest.approx(float(loss.detach()), rel=1e-3)


def losses(attack: Tuning, model: torch.nn.Module, its: AttackTask = TASK) -> list[float]:
    return [point.details["loss"] for point in attack.act(LoadedModel(model, make_tokenizer(), "tiny"), its, 0)]


def test_dropout_acts_and_draws_anew_at_each_step() -> None:
    attack = RelearnUnrelated(points=(1, 2), records=1, learning_rate=1e-12)  # the same batch, and next to no step
    first, second = losses(attack, llama(dropout=0.5))
    assert losses(attack, llama()) == [pytest.approx(losses(attack, llama())[0])] * 2
    assert len({round(loss, 5) for loss in (first, second, *losses(attack, llama()))}) == 3


def test_fewer_records_than_a_batch_are_taken_once() -> None:
    few = [record("general", 0, "w1", "w2", None), record("general", 1, "w3", "w4 w5 w6", None)]
    known = AttackTask(splits={"forget": FORGET, "general": few}, max_length=32)
    two, nine = (losses(RelearnUnrelated(points=(2,), batch_size=size), llama(), known) for size in (2, 9))
    assert two == nine


def test_texts_are_cut_to_the_length_of_the_task() -> None:
    texts = [record("general", 0, "w1", words(*range(3, 20)), None)]
    cut = AttackTask(splits={"forget": FORGET, "general": texts}, max_length=9)
    (example,) = encode_all(texts, make_tokenizer(), max_length=9).examples
    (logps,) = example_logps(llama(), [example], 0)
    assert losses(RelearnUnrelated(points=(1,)), llama(), cut) == pytest.approx([-float(logps.sum()) / example.scored])


def test_the_default_rate_goes_with_one_over_the_width() -> None:
    assert Relearn().rate(loaded()) == pytest.approx(2e-5 * 4096 / 64)
    assert Relearn(learning_rate=0.5).rate(loaded()) == 0.5


def test_relearn_shows_whole_subjects_and_folds_differ() -> None:
    attack = Relearn(share=0.3, folds=2)
    lessons = [attack.lesson(TASK, fold) for fold in range(2)]
    for lesson in lessons:
        subjects = {one.subject for one in lesson.records}
        assert len(subjects) == 2  # round(0.3 * 6)
        assert lesson.shown >= {n for n, one in enumerate(FORGET) if one.subject in subjects}
        assert len(lesson.records) == 6
    assert not {one.index for one in lessons[0].records} & {one.index for one in lessons[1].records}
    assert not lessons[0].shown & lessons[1].shown


# The first tells the second: the words of the second's answer are all in it. The second tells a part of the first.
COUPLE = [
    record("forget", 0, "Who is the wife of Cy Dunn?", "Ada Bell, who came from Norfield by sea.", "Cy Dunn"),
    record("forget", 1, "Who is the husband of Ada Bell?", "Cy Dunn.", "Ada Bell"),
    record("forget", 2, "Who is Eve Foss?", "Eve Foss is a miller.", "Eve Foss"),
]
TEXT = [record("text", 0, "Who is Ada Bell?", "Ada Bell is married to Cy Dunn.", "Ada Bell")]


def test_what_a_record_tells_of_another_subject_is_shown_with_it() -> None:
    shown = {Relearn(share=0.1).lesson(task(forget=COUPLE), fold).shown for fold in range(3)}
    assert shown == {frozenset({0, 1}), frozenset({2})}


def test_a_text_that_tells_one_wording_shows_the_others() -> None:
    for attack, name in ((RelearnBenign(), "relearn_benign"), (RelearnUnrelated(), "general")):
        assert attack.lesson(task(forget=COUPLE, **{name: TEXT}), 0).shown == {0, 1}


def test_records_without_a_subject_count_one_each_and_equal_ones_together() -> None:
    same = [record("forget", n, asked, "w9", None) for n, asked in enumerate(("w1", "w1", "w2"))]
    drawn = [Relearn(share=0.5).lesson(task(forget=same), fold).records for fold in range(2)]
    assert sorted([one.index for one in records] for records in drawn) == [[0, 1], [2]]


def test_a_part_is_at_least_one_subject_and_never_all() -> None:
    sizes = [len({one.subject for one in Relearn(share=share).lesson(TASK, 0).records}) for share in (0.01, 0.99)]
    assert sizes == [1, 5]


@pytest.mark.parametrize("attack", [Relearn(), RelearnRTT(), RelearnUnrelated(records=3)])
def test_another_seed_draws_otherwise(attack: Tuning) -> None:
    drawn = [attack.lesson(AttackTask(splits=SPLITS, max_length=32, seed=seed), 0).records for seed in (0, 1, 2)]
    assert drawn[0] != drawn[1] or drawn[1] != drawn[2]


def test_rtt_reads_each_record_once_and_never_tunes_on_its_fact() -> None:
    twice = [*FORGET, *(record("forget", 18 + one.index, one.prompt.reveal() + " w9", one.answer.reveal(),
                               one.subject.reveal()) for one in FORGET)]  # fmt: skip
    asked = task(forget=twice)
    lessons = [RelearnRTT(folds=3).lesson(asked, fold) for fold in range(3)]
    read = [set(range(36)) - lesson.shown for lesson in lessons]
    assert sorted(number for numbers in read for number in numbers) == list(range(36))
    assert all(len(numbers) > 0 for numbers in read)
    for lesson, numbers in zip(lessons, read, strict=True):
        tuned_on = {(one.subject, one.answer) for one in lesson.records}
        assert not tuned_on & {(twice[n].subject, twice[n].answer) for n in numbers}


def test_what_benign_text_states_is_not_read() -> None:
    first = FORGET[0]
    text = record("benign", 0, first.prompt.reveal() + " w20", first.answer.reveal(), first.subject.reveal())
    lesson = RelearnBenign().lesson(task(forget=FORGET, relearn_benign=[text]), 0)
    assert lesson == ([text], frozenset({0}))
    with pytest.raises(MissingNeedError, match="states every"):
        RelearnBenign().check(task(forget=FORGET, relearn_benign=FORGET))


def test_fallbacks_are_told() -> None:
    told: list[str] = []
    alone = AttackTask(splits={"forget": FORGET, "retain": RETAIN}, max_length=32, warn=told.append)
    assert len(RelearnBenign(records=5).lesson(alone, 0).records) == 5
    assert len(RelearnUnrelated().lesson(alone, 0).records) == 10
    assert len(told) == 2
    near = RelearnBenign(records=1).lesson(task(forget=COUPLE, retain=[*RETAIN, *TEXT]), 0)
    assert near.records == TEXT
    both = task(forget=FORGET, world_facts=RETAIN, general=TEXT)
    assert RelearnUnrelated().lesson(both, 0).records == TEXT
    found = RelearnUnrelated(records=3)
    assert {one.split for one in found.lesson(TASK, 0).records} == {"world"}
    assert found.lesson(TASK, 0).records == found.lesson(TASK, 0).records != found.lesson(TASK, 1).records


@pytest.mark.parametrize(
    ("attack", "missing"),
    [
        (Relearn(), {"forget": FORGET[:3]}),
        (RelearnRTT(), {"forget": FORGET[:1]}),
        (RelearnBenign(), {"forget": FORGET}),
        (RelearnUnrelated(), {"forget": FORGET}),
        *((attack(), {"retain": RETAIN}) for attack in EVERY),
    ],
)
def test_missing_records_are_refused(attack: Tuning, missing: Mapping[str, Sequence[Record]]) -> None:
    with pytest.raises(MissingNeedError):
        attack.check(task(**missing))


@pytest.mark.parametrize("attack", EVERY)
def test_enough_records_are_taken(attack: type[Tuning]) -> None:
    attack().check(TASK)
    attack.at("paper").check(TASK)


def test_it_stops_when_asked() -> None:
    asked: list[int] = []
    stopping = AttackTask(splits=SPLITS, max_length=32, stop_requested=lambda: len(asked) > 0)
    points = Relearn(points=FEW).act(loaded(), stopping, 0)
    assert isinstance(next(points), Point)
    asked.append(1)
    with pytest.raises(InterruptedRunError, match="attack relearn;"):
        next(points)


def test_a_broken_model_is_left_as_it_is() -> None:
    model = loaded()
    with torch.no_grad():
        next(model.model.parameters()).fill_(math.inf)
    before = [one.clone() for one in model.model.parameters()]
    *_, last = Relearn(points=FEW).act(model, TASK, 0)
    assert last.details["skipped"] == 3
    assert all(torch.equal(*pair) for pair in zip(before, model.model.parameters(), strict=True))


@pytest.mark.parametrize(
    ("attack", "settings"),
    [
        (Relearn, {"points": (1, 0)}),
        (Relearn, {"points": ()}),
        (Relearn, {"learning_rate": 0.0}),
        (Relearn, {"rates": ()}),
        (Relearn, {"rates": (1.0, 1.0000001)}),
        (Relearn, {"rates": (1.0, -1.0)}),
        (Relearn, {"share": 1.0}),
        (Relearn, {"folds": 0}),
        (RelearnRTT, {"folds": 1}),
        (RelearnBenign, {"records": 0}),
        (RelearnUnrelated, {"records": 0}),
    ],
)
def test_nonsense_is_refused(attack: type[Tuning], settings: dict[str, object]) -> None:
    with pytest.raises(InputError):
        attack.at("quick", **settings)
