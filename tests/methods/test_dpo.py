"""DPO towards refusals, made-up answers and false facts, in the loop."""

from __future__ import annotations

import pytest

from expunge.errors import InputError
from expunge.methods.dpo import DPO, IdkDPO
from expunge.methods.recipe import resolve
from expunge.methods.retain import NoRetain, RetainNLL
from tests.methods.loops import assert_micro_batches_change_nothing, mean, records, reports, softplus, total
from tests.support.params import few


def expected(method) -> float:
    """Mean over records and answers of (2/beta) log(1 + exp(-beta margin)), from sums over each answer."""
    chosen = records(method, NoRetain())
    values = []
    for spec in method.views()[1:]:
        for good, bad in zip(chosen[spec.name], chosen["forget"], strict=True):
            gain_good, gain_bad = (total(one) - total(one, reference=True) for one in (good, bad))
            values.append(2 / method.beta * softplus(-method.beta * (gain_good - gain_bad)))
    return mean(values)


@pytest.mark.parametrize("method", [DPO(beta=0.5), DPO(beta=0.2, answers=3), IdkDPO()], ids=lambda m: type(m).__name__)
def test_first_value_is_the_mean_over_records_and_their_answers(method):
    seen = reports(method, NoRetain())
    assert seen[0].terms["forget"] == pytest.approx(expected(method), rel=1e-5)
    assert seen[-1].terms["forget"] < 0.8 * seen[0].terms["forget"]


@pytest.mark.parametrize("answers", few([3, 1]))
def test_micro_batches_change_nothing(answers):
    assert_micro_batches_change_nothing(DPO(answers=answers), RetainNLL())


def test_views():
    """One answer keeps the name that it always had; the truth is read once, however many answers there are."""
    assert [spec.name for spec in IdkDPO().views()] == ["forget", "alternate"]
    several = DPO(answers=3).views()
    assert [spec.name for spec in several] == ["forget", "alternate_0", "alternate_1", "alternate_2"]
    assert [(spec.relabel, spec.sample) for spec in several] == [(False, 0), (True, 0), (True, 1), (True, 2)]
    assert {spec.source for spec in several} == {"forget"}


def test_presets():
    altpo, counterfactual, idk = (resolve(name) for name in ("altpo", "dpo_counterfactual", "idk_dpo"))
    assert altpo.method == DPO(beta=0.1, answers=5)
    assert (altpo.axes.relabel.name, altpo.axes.retain_term.name) == ("alternate", "nll")
    assert altpo.training.batch_size * altpo.method.answers == 35
    assert counterfactual.method == DPO(beta=0.1, answers=1)
    assert (counterfactual.axes.relabel.name, counterfactual.axes.retain_term.name) == ("counterfactual", "none")
    assert idk.method == IdkDPO(beta=0.1)
    assert idk.axes.relabel.name == "idk"
    assert [recipe.method.spec.guarantee for recipe in (altpo, counterfactual, idk)] == [
        "approximate",
        "approximate",
        "behavioural",
    ]


def test_no_answer_at_all_is_refused():
    with pytest.raises(InputError, match="answers .* at least 1, not 0"):
        resolve("altpo", {"answers": 0})
