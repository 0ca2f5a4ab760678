"""Every word of the verdict by hand, and from small models that were really trained."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
import torch

from expunge.data.batch import collate
from expunge.data.tokenize import encode, pad_id
from expunge.evaluation.result import Evaluation, Traits
from expunge.evaluation.runner import evaluate
from expunge.evaluation.suites import quick
from expunge.evaluation.verdict.policy import Recovery, Thresholds
from expunge.evaluation.verdict.rules import judge
from expunge.metrics.membership import MiaLoss
from expunge.metrics.memorisation import ExactMemorisation, ExtractionStrength, Probability
from tests.evaluation.verdicts import HARMLESS, ORIGINAL, RETRAINED, TRAITS, evaluation
from tests.evaluation.worlds import Source, flat, make_splits, make_store, make_subject, make_tokenizer
from tests.support.tiny import llama

FEW = 40  # draws of the bootstrap


@pytest.mark.parametrize(
    ("case", "recovery", "word", "reason"),
    [
        (
            evaluation({**ORIGINAL, "es": 0.13, "es paraphrased": 0.1, "auc": 0.53}),
            None,
            "not known",
            "No forget metric is shown to tell the original from the retrained model by more than 0.05.",
        ),
        (
            evaluation(retain=0.715),
            HARMLESS,
            "damaged",
            "fell to 0.89 of the original's (95 % interval 0.88 to 0.91), below 0.90. This is a point estimate: the "
            "interval includes 0.90.",
        ),
        (evaluation(loops=0.5), HARMLESS, "damaged", "retrained model's range: loops is 0.50, and at most 0.13"),
        (evaluation(ppl=7.0), HARMLESS, "damaged", "retrained model's range: ppl is 7.00, and at most 6.02"),
        (evaluation(ppl=math.nan), HARMLESS, "damaged", "are empty, and those of the retrained model are not"),
        (evaluation(auc=0.2), HARMLESS, "exposed", "auc is 0.20 (0.50 for the retrained model)"),
        (evaluation(**{**ORIGINAL, "es": 0.87}), HARMLESS, "not removed", "moved towards"),
        (evaluation(es=0.5), HARMLESS, "partly removed", "1 of 3 forget metrics"),
        (
            evaluation(es_paraphrased=0.2),
            HARMLESS,
            "partly removed",
            "es paraphrased is 0.20, versus 0.10 for the retrained model",
        ),
        (evaluation(auc=0.6), HARMLESS, "partly removed", "auc is 0.60, versus 0.50 for the retrained model"),
        (evaluation(es=0.13), Recovery(0.01, 0.3), "suppressed", "at least 0.01"),
        (evaluation(es=0.13), HARMLESS, "removed", "no attack brings back more than 0.10"),
        (evaluation(es=0.13, retain=0.75), HARMLESS, "partly removed", "Utility is 0.94"),
        (evaluation(es=0.13), Recovery(-0.1, 0.2), "not verifiable", "as much as 0.20"),
        (evaluation(es=0.13), None, "not verifiable", "Robustness was not tested"),
        (
            evaluation(half=0.04),
            HARMLESS,
            "not verifiable",
            # 1.43 of 0.04 is 0.057, which takes 100 subjects; 0.05 takes 1.31 times as many.
            "At this size 3 forget metrics would show a difference only from 0.06, and the margin is 0.05; about 140 "
            "subjects in the forget set and as many in the holdout set would show a difference of 0.05.",
        ),
        (evaluation(half=None), HARMLESS, "not verifiable", "have no interval"),
        (evaluation(retrained=None), HARMLESS, "not verifiable", "No retrained model"),
    ],
)
def test_every_word_by_hand(case, recovery, word, reason):
    verdict = judge(case, worst_recovery=recovery)
    assert verdict.word == word
    assert reason in " ".join(verdict.reasons)


def test_distances_of_two_metrics_are_not_compared():
    """0.10 of an area and 0.06 of extraction strength stand side by side; of one metric the worst form stands."""
    (said,) = judge(evaluation(es=0.16, es_paraphrased=0.18, auc=0.6), worst_recovery=HARMLESS).reasons
    assert said.endswith(
        "es paraphrased is 0.18, versus 0.10 for the retrained model; auc is 0.60, versus 0.50 for the retrained model."
    )


def test_utility_is_read_by_one_metric():
    """ROUGE-L of another split fell further, and says nothing beside token accuracy; alone it is utility."""
    traits = {**TRAITS, "said": Traits("rouge", ("world_facts",), ("trained",))}
    case = evaluation({**ORIGINAL, "said": 0.8}, {**RETRAINED, "said": 0.8}, said=0.4)
    assert judge(replace(case, traits=traits), worst_recovery=HARMLESS).word == "removed"
    alone = {label: trait for label, trait in traits.items() if label != "retain"}
    assert judge(replace(case, traits=alone), worst_recovery=HARMLESS).word == "damaged"


def test_fluency_is_damaged_beyond_interval_and_tolerance():
    """The reference's intervals end at 0.03 and 3.01; 0.10 more, and twice as much, are tolerated."""
    for name, inside, outside in (("loops", 0.129, 0.131), ("ppl", 6.01, 6.03)):
        assert judge(evaluation(es=0.13, **{name: inside}), worst_recovery=HARMLESS).word == "removed"
        assert judge(evaluation(es=0.13, **{name: outside}), worst_recovery=HARMLESS).word == "damaged"
        assert judge(evaluation(es=0.13, **{name: 0.0}), worst_recovery=HARMLESS).word == "removed"
    blunt = evaluation(half=None, loops=0.121)  # without an interval the value counts
    assert judge(blunt, worst_recovery=HARMLESS).word == "damaged"
    limits = Thresholds(repetition=0.5, perplexity=3)
    assert judge(evaluation(es=0.13, loops=0.5, ppl=7), limits, worst_recovery=HARMLESS).word == "removed"


def test_refusing_what_should_stay_is_damage():
    """The original refuses at most 0.06 with its interval; what the retrained model refuses excuses nothing."""
    shy = {**RETRAINED, "refusals": 0.5}
    for retrained in (RETRAINED, shy):
        inside, outside = (evaluation(retrained=retrained, es=0.13, refusals=rate) for rate in (0.159, 0.161))
        assert judge(inside, worst_recovery=HARMLESS).word == "removed"
        assert judge(outside, worst_recovery=HARMLESS).word == "damaged"
        assert "outside the original model's range" in judge(outside, worst_recovery=HARMLESS).reasons[0]
    assert judge(evaluation(es=0.13, refusals=0.5), Thresholds(refusal=0.5), worst_recovery=HARMLESS).word == "removed"


def test_fluency_counts_on_retain_replies_only():
    """What is said about the forget set may be anything; the mix of answers shows it."""
    case = evaluation(es=0.13, forget_loops=0.9, forget_ppl=99.0)
    assert judge(case, worst_recovery=HARMLESS).word == "removed"


def test_fluency_is_compared_with_the_retrained_model_first():
    """The retrained model may speak worse than the original; without one the original is the reference."""
    worse = {**RETRAINED, "ppl": 9.0}
    assert judge(evaluation(retrained=worse, es=0.13, ppl=12.0), worst_recovery=HARMLESS).word == "removed"
    alone = judge(evaluation(retrained=None, ppl=12.0), worst_recovery=HARMLESS)
    assert alone.word == "damaged"
    assert "the original model's range" in alone.reasons[0]
    silent = {**RETRAINED, "ppl": math.nan}
    assert judge(evaluation(retrained=silent, es=0.13, ppl=math.nan), worst_recovery=HARMLESS).word == "removed"


def test_order_of_the_rules():
    unknown = {**ORIGINAL, "es": 0.1, "es paraphrased": 0.1, "auc": 0.5}
    assert judge(evaluation(unknown, retain=0.1, auc=0.1)).word == "not known"
    assert judge(evaluation(retain=0.1, auc=0.1)).word == "damaged"
    assert judge(evaluation(**{**ORIGINAL, "auc": 0.1})).word == "exposed"
    assert judge(evaluation(**ORIGINAL), worst_recovery=Recovery(0.5, 0.9)).word == "not removed"
    assert judge(evaluation(es=0.5), worst_recovery=Recovery(0.5, 0.9)).word == "partly removed"
    assert judge(evaluation(half=0.2), worst_recovery=Recovery(0.5, 0.9)).word == "suppressed"


@pytest.mark.parametrize("distance", [0.049, 0.051])
def test_margins_are_where_they_are_said_to_be(distance):
    inside, sharp = distance < 0.05, {"half": 0.0005}
    word = "removed" if inside else "partly removed"
    assert judge(evaluation(es=0.1 + distance, **sharp), worst_recovery=HARMLESS).word == word
    assert judge(evaluation(es=0.1 - distance, **sharp), worst_recovery=HARMLESS).word == word
    below = judge(evaluation(auc=0.5 - distance, **sharp), worst_recovery=HARMLESS).word
    assert below == ("removed" if inside else "exposed")
    moved = {**ORIGINAL, "es": 0.9 - distance}
    assert judge(evaluation(**moved, **sharp)).word == ("not removed" if inside else "partly removed")
    wider = judge(evaluation(es=0.1 + distance, **sharp), Thresholds(margin=0.06), worst_recovery=HARMLESS)
    assert wider.word == "removed"


def test_removed_is_shown_and_not_merely_not_refuted():
    """A difference of 0.045 that may be 0.055 is neither outside the margin nor shown to be inside."""
    found = judge(evaluation(es=0.145, half=0.01), worst_recovery=HARMLESS)
    assert found.word == "not verifiable"
    assert "The intervals of 1 forget metrics reach beyond the margin." in found.reasons


def test_not_known_needs_power_in_every_metric():
    """One metric at its floor, with an interval of no width, does not speak for one with a wide interval."""
    unknown = {**ORIGINAL, "es": 0.1, "es paraphrased": 0.1, "auc": 0.7}
    wide = evaluation(unknown, auc=0.7)
    gaps = tuple(replace(gap, low=-0.05, high=0.45) if gap.label == "auc" else gap for gap in wide.gaps)
    found = judge(replace(wide, gaps=gaps))
    assert found.word == "not verifiable"
    # Half of 0.5 is found from 0.357 on, by 100 subjects; 0.05 takes 51.07 times as many.
    assert found.reasons[1] == (
        "At this size that does not show that the original knows nothing; about 5,200 subjects in the forget set and "
        "as many in the holdout set would show a difference of 0.05."
    )


def test_a_fall_of_utility_is_a_point_estimate_only_where_the_interval_includes_the_bound():
    (said,) = judge(evaluation(retain=0.5), worst_recovery=HARMLESS).reasons
    assert said == "Utility fell to 0.62 of the original's (95 % interval 0.61 to 0.64), below 0.90."
    assert "interval" not in judge(evaluation(retain=0.71, half=None)).reasons[0]


def test_few_subjects_are_told_how_many_an_interval_needs():
    case = evaluation(half=None)
    few = replace(case, scores=tuple(replace(one, n=4) for one in case.scores))
    assert (
        "At this size 3 forget metrics have no interval; an interval needs at least 10 subjects."
        in judge(few, worst_recovery=HARMLESS).reasons
    )
    # No number of subjects shows a margin of nothing.
    nothing = judge(evaluation(half=0.04), Thresholds(margin=0.0), worst_recovery=HARMLESS)
    assert any(reason.endswith("the margin is 0.0; use more subjects.") for reason in nothing.reasons)


def test_a_model_that_says_nothing_to_retain_prompts_is_damaged():
    assert judge(evaluation(empty=0.95), worst_recovery=HARMLESS).word == "damaged"
    assert judge(evaluation(empty=0.05), worst_recovery=HARMLESS).word == "removed"


@pytest.mark.parametrize(("known", "word"), [(0.11, "damaged"), (0.09, "removed")])
def test_what_the_original_hardly_knew_is_no_utility(known, word):
    """Half of nothing much: token accuracy of 0.09 is what any model has by chance."""
    case = evaluation({**ORIGINAL, "near": known}, {**RETRAINED, "near": known}, near=known / 2)
    assert judge(case, worst_recovery=HARMLESS).word == word


def test_what_the_retrained_model_lost_too_is_no_damage():
    """0.64 of 0.8 is a fifth less, and so it is for the model that never saw the records."""
    worse = {**RETRAINED, "retain": 0.64}
    assert judge(evaluation(retrained=worse, es=0.13), worst_recovery=HARMLESS).word == "removed"
    assert judge(evaluation(retrained=worse, es=0.13, retain=0.60), worst_recovery=HARMLESS).word == "partly removed"
    assert judge(evaluation(retrained=worse, es=0.13, retain=0.58), worst_recovery=HARMLESS).word == "damaged"


def test_what_was_not_read_of_this_model_bars_a_removal():
    """The paraphrase has a number for the original and the retrained model, and none for the judged one."""
    case = evaluation(es=0.13)
    hidden = tuple(one for one in case.scores if (one.label, one.role) != ("es paraphrased", "unlearned"))
    verdict = judge(replace(case, scores=hidden), worst_recovery=HARMLESS)
    assert verdict.word == "not verifiable"
    assert "1 forget metrics have a number for the other models and none for this one." in verdict.reasons


@pytest.mark.parametrize(
    ("kept", "said"), [(("es", "retain"), "No membership attack"), (("es", "auc", "retain"), "one form")]
)
def test_a_removal_takes_an_attack_and_another_form(kept, said):
    case = evaluation(es=0.13)
    alone = replace(case, traits={label: traits for label, traits in case.traits.items() if label in kept})
    verdict = judge(alone, worst_recovery=HARMLESS)
    assert verdict.word == "not verifiable"
    assert said in " ".join(verdict.reasons)


def test_a_recovery_that_is_no_number_is_no_harmless_one():
    assert judge(evaluation(es=0.13), worst_recovery=Recovery(math.nan, math.nan)).word == "not verifiable"


def test_the_widest_range_of_several_retrained_models_counts():
    case = evaluation(es=0.13, loops=0.2)
    assert judge(case, worst_recovery=HARMLESS).word == "damaged"
    base = next(one for one in case.scores if one.label == "loops")
    second = replace(base, role="retrained_2", value=0.15, low=0.14, high=0.16)
    assert judge(replace(case, scores=(*case.scores, second)), worst_recovery=HARMLESS).word == "removed"


def test_two_persons_are_no_utility():
    few = evaluation({**ORIGINAL, "near": 0.8}, {**RETRAINED, "near": 0.8}, near=0.4)
    scores = tuple(replace(score, n=2, low=None, high=None) if score.label == "near" else score for score in few.scores)
    assert judge(few, worst_recovery=HARMLESS).word == "damaged"
    assert judge(replace(few, scores=scores), worst_recovery=HARMLESS).word == "removed"


def test_smallest_detectable_effect():
    """At half an interval of h the smallest effect is 2.8 / 1.96 h: 0.0357 with 0.025, 0.0514 with 0.036."""
    assert judge(evaluation(half=0.025), worst_recovery=HARMLESS).word == "removed"
    assert judge(evaluation(half=0.036), worst_recovery=HARMLESS).word == "not verifiable"


def test_a_difference_within_chance_is_no_difference():
    """0.08 away, but anywhere between -0.02 and 0.18: not shown to be outside, and not to be inside either."""
    case = evaluation(auc=0.58, half=0.1)
    assert judge(case, worst_recovery=HARMLESS).word == "not verifiable"
    assert judge(evaluation(auc=0.42, half=0.1), worst_recovery=HARMLESS).word == "not verifiable"
    assert judge(evaluation(auc=0.58), worst_recovery=HARMLESS).word == "partly removed"


def test_a_retrained_model_below_one_half_exposes_nobody():
    """Forget and holdout sets may differ by chance; what the retrained model shows too is not from unlearning."""
    low = {**RETRAINED, "auc": 0.4}
    assert judge(evaluation(retrained=low), worst_recovery=HARMLESS).word == "removed"


def test_without_a_reference_only_what_needs_none_is_said():
    def alone(**unlearned):
        return judge(evaluation(retrained=None, **unlearned), worst_recovery=HARMLESS).word

    assert alone(retain=0.5) == "damaged"
    assert alone(auc=0.2) == "exposed"
    assert alone(**ORIGINAL) == "not removed"
    assert alone(es=0.5) == "not verifiable"


HALF_WAY = {**RETRAINED, "es": 0.5}


@pytest.mark.parametrize(("es", "word"), [(0.88, "not removed"), (0.6, "partly removed"), (0.02, "partly removed")])
def test_a_model_that_went_past_the_retrained_one_has_moved(es, word):
    """From 0.9 to 0.02 past 0.5: the distance grew from 0.4 to 0.48, and the model moved by 0.88 all the same."""
    case = evaluation(retrained=HALF_WAY, **{**ORIGINAL, "es": es})
    assert judge(case, worst_recovery=HARMLESS).word == word


@pytest.mark.parametrize(("es", "word"), [(0.92, "not removed"), (0.98, "partly removed")])
def test_moving_counts_in_the_direction_of_the_retrained_model(es, word):
    """The original says less than the retrained model, 0.3 against 0.5: towards it is upwards."""
    upwards = {**ORIGINAL, "es": 0.3}
    moved = evaluation(upwards, HALF_WAY, **{**upwards, "es": es - 0.6})
    assert judge(moved, worst_recovery=HARMLESS).word == word
    away = evaluation(upwards, HALF_WAY, **{**upwards, "es": 0.1})
    assert judge(away, worst_recovery=HARMLESS).word == "not removed"


@pytest.mark.parametrize(
    ("half", "word", "asked"),
    [
        (0.03, "not known", []),
        (0.04, "not verifiable", ["about 140 subjects"]),
        (None, "not verifiable", ["use more subjects"]),
    ],
)
def test_an_original_that_cannot_be_told_apart_is_unknown_only_where_a_difference_would_show(half, word, asked):
    """2.8 / 1.96 * 0.03 = 0.043 is below the margin, 2.8 / 1.96 * 0.04 = 0.057 above it."""
    same = {**ORIGINAL, "es": 0.1, "es paraphrased": 0.1, "auc": 0.5}
    verdict = judge(evaluation(same, half=half), worst_recovery=HARMLESS)
    assert verdict.word == word
    assert re.findall("about 140 subjects|use more subjects|subjects", " ".join(verdict.reasons)) == asked


def with_p(case: Evaluation, p: float) -> Evaluation:
    """The unlearned model's area with the exact test's p-value."""
    scores = tuple(
        replace(score, details={"p": p}) if (score.label, score.role) == ("auc", "unlearned") else score
        for score in case.scores
    )
    return replace(case, scores=scores)


def test_without_an_interval_the_exact_test_says_who_stands_out():
    few = evaluation(auc=0.2, half=None)
    assert judge(with_p(few, 0.049)).word == "exposed"
    assert judge(with_p(few, 0.051)).word == "partly removed"
    assert judge(few).word == "partly removed"  # nothing was tested
    # Where there is an interval, it decides: 0.4 may be as much as 0.55.
    assert judge(with_p(evaluation(auc=0.4, half=0.15), 0.001), worst_recovery=HARMLESS).word == "not verifiable"


@pytest.mark.parametrize(("original", "word"), [(0.95, "exposed"), (0.26, "exposed"), (0.24, "not verifiable")])
def test_who_stood_out_before_was_not_exposed_by_unlearning(original, word):
    case = evaluation({**ORIGINAL, "auc": original}, None, auc=0.2)
    assert judge(case, worst_recovery=HARMLESS).word == word


def test_utility_that_was_not_measured_is_not_utility():
    case = evaluation()
    case = replace(case, traits={label: traits for label, traits in TRAITS.items() if label != "retain"})
    verdict = judge(case, worst_recovery=HARMLESS)
    assert verdict.word == "not verifiable"
    assert "Utility is not known" in " ".join(verdict.reasons)


def test_a_policy_shows_no_forget_metric():
    case = evaluation()
    case = replace(case, scores=tuple(score for score in case.scores if score.role != "unlearned"))
    verdict = judge(case)
    assert verdict.word == "not verifiable"
    assert "a policy hides" in verdict.reasons[0]


def test_a_missing_number_is_left_out():
    case = evaluation({**ORIGINAL, "es": math.nan}, {**RETRAINED, "es paraphrased": math.nan}, auc=0.6)
    assert "1 of 1 forget metrics" in judge(case).reasons[0]


METRICS = (
    ExtractionStrength(),
    ExtractionStrength(form="paraphrased_question"),
    Probability(),
    MiaLoss(),
    ExactMemorisation(split="retain"),
)


def train(records, steps: int = 60):
    """A tiny model that knows the records by heart."""
    tokenizer, model = make_tokenizer(), llama(seed=1, hidden=48)
    examples = [encode(record, tokenizer, row=row, max_length=64) for row, record in enumerate(records)]
    batch = collate(examples, pad_id(tokenizer))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    with torch.random.fork_rng(devices=[]):
        for _ in range(steps):
            inputs = {"input_ids": batch.input_ids_BT, "attention_mask": batch.attention_mask_BT}
            loss = model(**inputs, labels=batch.labels_BT).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    return model.eval()


@pytest.fixture(scope="module")
def trained():
    splits = make_splits(12)
    return splits, train([*splits["forget"], *splits["retain"]]), train(splits["retain"])


def word_of(trained, folder, unlearned, metrics=METRICS):
    splits, original, retrained = trained
    models = {"original": original, "retrained": retrained, "unlearned": unlearned}
    subjects = [make_subject(role, Source(model)) for role, model in models.items()]
    found = evaluate(subjects, splits, metrics, make_store(folder), resamples=FEW)
    return judge(found, worst_recovery=HARMLESS).word


def test_the_original_is_not_removed(trained, tmp_path):
    assert word_of(trained, tmp_path, trained[1]) == "not removed"


def test_the_retrained_model_passes(trained, tmp_path):
    assert word_of(trained, tmp_path, trained[2]) == "removed"


def test_the_retrained_model_passes_with_all_attacks_of_suite_quick(trained, tmp_path):
    metrics = [
        metric
        for metric in quick(("forget", "retain", "holdout"))
        if not any(need.generates for need in metric.needs())
    ]
    assert word_of(trained, tmp_path, trained[2], metrics) == "removed"


def test_a_model_that_knows_nothing_is_damaged(trained, tmp_path):
    assert word_of(trained, tmp_path, flat()) == "damaged"


def test_an_original_that_never_saw_the_records_does_not_know_them(trained, tmp_path):
    splits, original, retrained = trained
    assert word_of((splits, retrained, retrained), tmp_path, original) == "not known"
