"""What attacks mean together: Holm over all of them, families that were not tried, and fakes by name."""

from __future__ import annotations

from dataclasses import replace

from expunge.attacks.recovery import Excess
from expunge.attacks.result import AttackResult, Row, Value
from expunge.attacks.verdict import signs, worst_recovery
from expunge.evaluation.verdict.policy import Thresholds


def signs_of(results: list[AttackResult]) -> dict[str, str]:
    return dict(signs(results, Thresholds()))


NOTHING = Excess(0.0, -0.05, 0.05, 1.0, 20)


def result(name: str, *rhos: Excess | None, family: str = "weights", start: Excess | None = NOTHING) -> AttackResult:
    value = Value(value=0.5, low=None, high=None)
    rows = tuple(
        Row(
            point=f"{place}",
            at=place,
            measure="es",
            headline=True,
            decides=True,
            values={"unlearned": value},
            rho=rho,
            reason="" if rho else "why",
        )
        for place, rho in enumerate(rhos, start=1)
    )
    return AttackResult(
        name=name,
        label=f"{name}()",
        title=name.replace("_", " "),
        family=family,
        access="weights",
        paper="",
        axis="steps",
        budget="quick",
        settings={},
        role="unlearned",
        seed=0,
        rows=rows,
        start=start,
        before={"original": {"es": value}},
    )


def test_without_a_number_there_is_no_recovery():
    assert worst_recovery([]) is None
    assert worst_recovery([result("pruning", None)]) is None


def test_the_largest_counts_and_says_its_name():
    found = worst_recovery(
        [result("pruning", Excess(0.1, 0.05, 0.15, 1e-4, 20)), result("weight_noise", Excess(0.4, 0.3, 0.5, 1e-9, 20))]
    )
    assert found is not None
    assert (found.low, found.high, found.attack, found.value) == (0.3, 0.5, "weight noise", 0.4)


def test_among_many_attacks_one_finding_by_chance_is_none():
    lucky = Excess(0.12, 0.06, 0.18, 0.046, 20)  # above what is there without the attack
    alone = worst_recovery([result("pruning", lucky)])
    among = worst_recovery([result("pruning", lucky), *(result(f"attack_{place}", NOTHING) for place in range(9))])
    assert alone is not None
    assert among is not None
    assert alone.low == 0.06
    assert among.low == 0.0
    assert among.high == 0.18


def test_rows_that_do_not_decide_do_not_count():
    row = result("pruning", Excess(0.9, 0.8, 1.0, 0.0, 20)).rows[0]
    told = AttackResult(**{**vars(result("pruning", NOTHING)), "rows": (Row(**{**vars(row), "decides": False}),)})
    assert worst_recovery([told]) is None


def test_too_few_subjects_bring_back_nothing_for_sure_and_bound_nothing():
    found = worst_recovery([result("pruning", Excess(0.9, None, None, 1.0, 4))])
    assert found is not None
    assert found.low == 0.0
    assert found.high == float("inf")


def test_a_removal_takes_three_families():
    found = worst_recovery([result("pruning", NOTHING), result("relearn", NOTHING, family="relearning")])
    assert found is not None
    assert found.untried == ("quantisation", "prompts")


def test_what_rounding_brings_back_is_named():
    back = Excess(0.8, 0.7, 0.9, 0.0, 20)
    said = signs_of([result("quantisation", NOTHING, back)])
    assert list(said) == ["reverted by rounding"]
    assert "0.80 of what the original knows" in said["reverted by rounding"]


def test_what_was_there_before_the_attack_was_not_brought_back_by_it():
    back, before = Excess(0.8, 0.7, 0.9, 0.0, 20), Excess(0.75, 0.65, 0.85, 0.0, 20)
    assert signs_of([result("quantisation", back, start=before)]) == {}
    assert signs_of([result("quantisation", back, start=None)]) == {}
    assert signs_of([result("pruning", back)]) == {}


def test_little_is_no_sign():
    assert signs_of([result("relearn_benign", Excess(0.09, 0.06, 0.12, 0.0, 20))]) == {}
    assert list(signs_of([result("relearn_benign", Excess(0.12, 0.08, 0.16, 0.0, 20))])) == [
        "relearnt from harmless text"
    ]


def test_a_look_into_layers_is_held_against_the_last_of_them():
    deep = Excess(0.8, 0.7, 0.9, 0.0, 20)
    last = beside(result("logit_lens", deep, family="latent"), deep)  # the last layer tells as much
    inner = beside(result("logit_lens", deep, family="latent"), NOTHING)
    assert signs_of([last]) == {}
    assert "0.00 in the last layer" in signs_of([inner])["hidden below the output"]


def test_what_was_there_already_is_no_suppression():
    held, back = Excess(0.08, 0.04, 0.12, 1e-5, 20), Excess(0.3, 0.2, 0.4, 0.0, 20)
    still = worst_recovery([result("pruning", held, start=held)])
    risen = worst_recovery([result("pruning", back, start=held)])
    assert still is not None
    assert risen is not None
    assert (still.low, still.high) == (0.0, 0.12)
    assert risen.low == 0.2


def test_the_named_attack_is_the_one_whose_bound_counts():
    noisy, real = Excess(0.3, -0.2, 0.8, 0.3, 20), Excess(0.2, 0.15, 0.25, 0.0, 20)
    found = worst_recovery([result("noisy", noisy), result("real", real)])
    assert found is not None
    assert (found.attack, found.value, found.interval, found.low, found.high) == ("real", 0.2, (0.15, 0.25), 0.15, 0.8)


def test_an_attack_with_settings_of_ones_own_does_not_stand_for_its_family():
    weak = replace(result("relearn", NOTHING, family="relearning"), changed=("share",))
    found = worst_recovery([weak, result("pruning", NOTHING)])
    assert found is not None
    assert "relearning" in found.untried


def beside(found: AttackResult, plain: Excess) -> AttackResult:
    """The result with a row of what the model shows without the attack."""
    return replace(
        found, rows=(*found.rows, replace(found.rows[0], rho=plain, plain=True, headline=False, decides=False))
    )


def test_a_measure_of_its_own_has_no_start_but_its_own():
    """Candidates of a look into layers are not held against a longer list of them."""
    back = Excess(0.4, 0.2, 0.6, 1e-6, 20)
    own = replace(result("head_projection", back, family="latent", start=Excess(0.5, 0.4, 0.6, 0.0, 20)), before={})
    longer = replace(own.rows[0], at=8.0, decides=False, headline=False, rho=Excess(0.5, 0.4, 0.6, 0.0, 20))
    found = worst_recovery([replace(own, rows=(*own.rows, longer))])
    assert found is not None
    assert found.low == 0.2


def test_one_attack_at_two_budgets_that_do_not_differ_is_one():
    small = result("pruning", Excess(0.3, 0.1, 0.5, 0.003, 20))
    others = [result(f"other_{number}", NOTHING) for number in range(12)]
    once = worst_recovery([small, *others])
    twice = worst_recovery([small, *others, *(replace(one, budget="paper") for one in (small, *others))])
    assert once is not None
    assert twice is not None
    assert once.low == twice.low == 0.1


def test_weak_attacks_stand_for_no_family():
    weak = [
        result("relearn_unrelated", NOTHING, family="relearning"),
        result("quantisation_nf4", NOTHING, family="quantisation"),
        result("perturbation", NOTHING, family="prompts"),
    ]
    strong = [
        result("relearn_rtt", NOTHING, family="relearning"),
        result("quantisation", NOTHING, family="quantisation"),
        result("jailbreak", NOTHING, family="prompts"),
    ]
    for results, untried in (
        (weak, ("relearning", "quantisation", "prompts")),
        (strong, ()),
        (strong[1:], ("relearning",)),
    ):
        found = worst_recovery(results)
        assert found is not None
        assert found.untried == untried


def test_a_sign_behind_a_noisier_point_is_seen():
    noisy, sure = Excess(0.5, -0.1, 1.1, 0.1, 20), Excess(0.4, 0.3, 0.5, 1e-10, 20)
    assert "0.40 of what" in signs_of([result("relearn_benign", noisy, sure)])["relearnt from harmless text"]


def test_of_many_points_one_by_chance_is_no_sign():
    chance = Excess(0.4, 0.1, 0.7, 0.01, 20)
    assert "relearnt from harmless text" in signs_of([result("relearn_benign", chance)])
    assert signs_of([result("relearn_benign", chance, *[NOTHING] * 9)]) == {}
