"""Retain terms: what they read, what they are at the original, and that they hold the model."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from expunge.config import Choice
from expunge.errors import InputError
from expunge.methods.finetune import Finetune
from expunge.methods.gradient_ascent import GradientAscent
from expunge.methods.recipe import resolve
from expunge.methods.retain import RetainHidden, RetainJS, RetainKL, RetainNLL
from expunge.registry import retain_terms
from tests.methods.running import RETAIN, by_token, check_micro_batches, check_references, run, views_of
from tests.support.params import few
from tests.support.tiny import examples, llama

TO_ORIGINAL = [RetainKL(), RetainJS(), RetainHidden(layers="0.0-1.0"), RetainHidden(norm="l2")]


def model_and_original(retain):
    views = views_of(GradientAscent(), retain, model=llama(), original=llama(seed=1))
    return views, retain.term(views)


@pytest.mark.parametrize("retain", [*TO_ORIGINAL, RetainNLL()], ids=repr)
def test_the_records_are_those_of_the_source_and_the_view_is_called_like_it(retain):
    general = type(retain)(**{**vars(retain), "source": "general"})
    assert [(spec.name, spec.source) for spec in general.views()] == [("general", "general")]
    assert [(spec.name, spec.source) for spec in retain.views()] == [("retain", "retain")]
    views = views_of(GradientAscent(), general, views={"general": examples(8, seed=5)}, original=llama(seed=1))
    assert set(views) == {"forget", "general"}
    term = general.term(views)
    assert term.view == "general"
    assert term.reduction == "token"
    again, same = model_and_original(retain)
    assert term.values.sum().item() != pytest.approx(same.values.sum().item())
    assert same.view == "retain"


def test_a_recipe_needs_what_its_retain_term_reads():
    recipe = resolve("npo", {"retain_term": Choice("kl", {"source": "general"})})
    assert recipe.needs() == ("forget", "general")
    assert recipe.retain_term == RetainKL(source="general")


@pytest.mark.parametrize("name", ["nll", "kl", "js", "hidden"])
def test_nothing_is_held_on_what_is_to_be_forgotten(name):
    with pytest.raises(InputError, match="cannot hold the model on the records 'forget'"):
        Choice(name, {"source": "forget"}).create(retain_terms)


@pytest.mark.parametrize("retain", TO_ORIGINAL, ids=repr)
def test_nothing_to_hold_at_the_original(retain):
    model = llama()
    views = views_of(GradientAscent(), retain, model=model)
    term = retain.term(views)
    term.values.sum().backward()
    assert term.values.abs().max() < 1e-6
    assert all(parameter.grad is None or parameter.grad.abs().max() < 1e-5 for parameter in model.parameters())
    assert model_and_original(retain)[1].values.max() > 1e-3


def test_js_by_its_definition():
    views, term = model_and_original(RetainJS())
    p, q = (view.logits.detach().double().softmax(-1) for view in (views["retain"].policy, views["retain"].reference))
    mixture = (p + q) / 2
    expected = ((p * (p / mixture).log() + q * (q / mixture).log()) / 2).sum(-1)
    assert by_token(term, views) == pytest.approx(expected.tolist(), abs=1e-6)


def test_nll_by_transformers_own_loss():
    views, term = model_and_original(RetainNLL())
    with torch.no_grad():
        expected = [
            float(llama()(torch.tensor([one.input_ids]), labels=torch.tensor([one.labels])).loss) for one in RETAIN[:4]
        ]
    scored_B = views["retain"].batch.labels_scored_BT.sum(-1)
    assert (term.values.sum(-1) / scored_B).tolist() == pytest.approx(expected, rel=1e-5)


def test_kl_is_that_of_the_original_to_the_model():
    views, term = model_and_original(RetainKL())
    p, q = (view.logits.detach().double() for view in (views["retain"].policy, views["retain"].reference))
    entropy = -(q.softmax(-1) * q.log_softmax(-1)).sum(-1)
    expected = cross_entropy(p, q.softmax(-1), reduction="none") - entropy
    assert by_token(term, views) == pytest.approx(expected.tolist(), abs=1e-6)


@pytest.mark.parametrize(("layers", "places"), [("0.0-1.0", [0, 1]), ("1.0", [1]), ("0", [0])])
def test_hidden_by_its_definition(layers, places):
    """Mean over layers, then over answer tokens, of the squared difference or of its length."""
    model, original = llama(), llama(seed=1)
    for norm in ("mse", "l2"):
        retain = RetainHidden(layers=layers, norm=norm)
        term = retain.term(views_of(GradientAscent(), retain, model=model, original=original))
        expected = []
        for example in RETAIN[:4]:
            ids, scored = torch.tensor([example.input_ids]), torch.tensor(example.labels) >= 0
            found = []
            for place in places:
                own, reference = (_block_output(either, ids, place) for either in (model, original))
                gaps = (own - reference)[scored]
                found.append(gaps.square().mean() if norm == "mse" else gaps.norm(dim=-1).mean())
            expected.append(float(sum(found) / len(found)))
        assert term.values.tolist() == pytest.approx(expected, rel=1e-4)
        assert (term.reduction, term.view) == ("token", "retain")


def _block_output(model, ids, layer):
    kept = []
    handle = model.model.layers[layer].register_forward_hook(
        lambda module, args, output: kept.append(output[0] if isinstance(output, tuple) else output)
    )
    with torch.no_grad():
        model(ids)
    handle.remove()
    return kept[0][0].reshape(ids.shape[1], -1)


def test_hidden_reads_no_output_layer_and_no_cache():
    spec = RetainHidden(layers="3").views()[0]
    assert (spec.logits, spec.hidden, spec.reference) == (False, "3", frozenset({"hidden"}))
    with pytest.raises(InputError, match="not hidden"):
        run(GradientAscent(), RetainHidden(), reference="cached", epochs=1)
    with pytest.raises(InputError, match="layers"):
        RetainHidden(layers=" ")


@pytest.mark.parametrize("retain", few(TO_ORIGINAL), ids=repr)
def test_micro_batches_change_nothing(retain):
    check_micro_batches(GradientAscent(), retain)


@pytest.mark.parametrize("retain", [RetainKL(), RetainJS()], ids=repr)
def test_the_kind_of_reference_changes_nothing(retain):
    check_references(GradientAscent(), retain)


@pytest.mark.parametrize("retain", TO_ORIGINAL, ids=repr)
def test_the_term_holds_the_model(retain):
    """Fine-tuning on the forget records pulls the model away; with the term it goes less far on the retain records."""
    free = run(Finetune(source="forget"), views={"train": examples(8, seed=1)}, epochs=8)
    held = run(Finetune(source="forget"), retain, views={"train": examples(8, seed=1)}, epochs=8)
    start = torch.cat([parameter.detach().flatten() for parameter in llama().parameters()])
    assert (held.weights - start).norm() < (free.weights - start).norm()
    assert held.terms[0]["retain"] < 1e-6 < held.terms[-1]["retain"]
