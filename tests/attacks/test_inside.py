"""What holds for every look inside: the same numbers whatever the batches, nothing changed, and a way to stop."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from expunge.attacks.base import AttackTask
from expunge.attacks.inside import encode_scored
from expunge.data.batch import IGNORE
from expunge.errors import InterruptedRunError
from expunge.models.load import LoadedModel
from expunge.registry import attacks
from tests.attacks.lookup import record
from tests.models.conftest import build, make_tokenizer

LOOKS = {
    "logit_lens": {},
    "head_projection": {},
    "probability_delta": {},
    "linear_probe": {"least": 3},
    "uds": {},
}


def persons(split, numbers):
    made = []
    for index, number in enumerate(numbers):
        name = f"w{3 + number} w{40 + number % 3}"
        rest = " w80" * (number % 4)  # of unequal length
        made.append(record(index, f"{name}{rest} w50", f" w{60 + number % 3} w70{rest}", split=split, subject=name))
    return made


def task(**settings):
    splits = {"retain": persons("retain", range(18)), "forget": persons("forget", range(18, 30))}
    original, retrained = loaded(0), loaded(1)
    return AttackTask(splits=splits, max_length=32, original=lambda: original, retrained=lambda: retrained, **settings)


def loaded(seed=2):
    return LoadedModel(build("llama", seed=seed), make_tokenizer(), "")


@pytest.fixture(params=LOOKS)
def attack(request):
    return attacks.get(request.param)(scored="answer", **LOOKS[request.param])


def test_batches_and_repetition_change_nothing(attack):
    attack.check(task())
    first, again, single = (attack.probe(loaded(), task(batch_size=size)) for size in (16, 16, 1))
    assert first.best in first.values
    for name, values in first.values.items():
        assert values.shape == (12,)
        assert values.tobytes() == again.values[name].tobytes()
        torch.testing.assert_close(
            torch.tensor(values), torch.tensor(single.values[name]), equal_nan=True, rtol=1e-4, atol=1e-4
        )
    assert repr(first.details) == repr(again.details)
    assert set(first.at) <= set(first.values)


def test_the_model_stays_as_it_was(attack):
    model, given = loaded(), task()
    model.model.train()
    before = {name: tensor.clone() for name, tensor in model.model.state_dict().items()}
    state = torch.random.get_rng_state()
    attack.probe(model, given)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.model.state_dict().items())
    assert model.model.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.model.modules())


def test_dropout_is_off(attack):
    model = LoadedModel(build("llama", attention_dropout=0.5), make_tokenizer(), "")
    still = attack.probe(model, task())
    model.model.train()
    for name, values in attack.probe(model, task()).values.items():
        assert values.tobytes() == still.values[name].tobytes()


def test_it_can_be_stopped(attack):
    with pytest.raises(InterruptedRunError, match=attacks.name_of(attack)):
        attack.probe(loaded(), task(stop_requested=lambda: True))


@pytest.mark.parametrize("name", LOOKS)
def test_both_budgets_exist(name):
    kind = attacks.get(name)
    for budget in ("quick", "paper"):
        assert kind.at(budget).label.startswith(f"{name}(")
    assert kind.threat.family == "latent"
    assert kind.title
    assert kind.unit


WORDS = [
    "Where",
    "does",
    "live",
    "?",
    "Question",
    "Answer",
    ":",
    ".",
    "lives",
    "in",
    "Ada",
    "Bob",
    "Cid",
    "Dan",
    "Eve",
    "Fay",
    "Oslo",
    "Rome",
    "Kiel",
    "Bonn",
    "Lima",
    "York",
    "New",
]
HOMES = {"Ada": "Oslo", "Bob": "Rome", "Cid": "New York", "Dan": "Bonn", "Eve": "Lima", "Fay": "Kiel"}


def homes():
    ids = {"<pad>": 0, "<s>": 1, "</s>": 2, **{word: number for number, word in enumerate(WORDS, start=3)}}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    asked = [
        record(n, f"Where does {name} live?", f"{name} lives in {city}.", subject=name, kind="qa")
        for n, (name, city) in enumerate(HOMES.items())
    ]
    return LoadedModel(build("llama"), fast, ""), asked


@pytest.mark.parametrize(
    ("scored", "expected"),
    [("value", ["Oslo", "Rome", "New York", "Bonn", "Lima", "Kiel"]), ("answer", ["Ada lives in Oslo . </s>"])],
)
def test_the_value_is_what_the_question_does_not_have(scored, expected):
    loaded, asked = homes()
    examples = encode_scored(asked, loaded, AttackTask(splits={"forget": asked}, max_length=32), scored)
    found = [
        " ".join(loaded.tokenizer.convert_ids_to_tokens([label for label in one.labels if label != IGNORE]))
        for one in examples
    ]
    assert found[: len(expected)] == expected


def test_a_value_that_is_cut_away_has_no_number():
    loaded, asked = homes()
    # Question : Where does Ada live ? Answer : Ada lives in - and Oslo is the thirteenth.
    short, enough = (AttackTask(splits={"forget": asked}, max_length=length) for length in (12, 13))
    for name in ("logit_lens", "head_projection"):
        for task, known in ((short, False), (enough, True)):
            found = attacks.get(name)().probe(loaded, task)
            assert (found.values[found.best] == found.values[found.best]).tolist() == [known] * 6
