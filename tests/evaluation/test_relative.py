"""Nearer to the retrained model or to the original, subject by subject, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from expunge.data.record import Record
from expunge.evaluation.result import Evaluation, Traits
from expunge.evaluation.verdict.relative import Relative, relative_test
from expunge.metrics.base import Sample
from expunge.storage.secret import Secret

NAN = float("nan")


def records(*subjects: str | None) -> list[Record]:
    return [
        Record(
            index=row,
            split="forget",
            kind="text",
            answer=Secret("x", "forget record"),
            subject=None if name is None else Secret(name, "forget record"),
        )
        for row, name in enumerate(subjects)
    ]


def evaluation(name: str = "extraction_strength", **roles: list[list[float]]) -> Evaluation:
    """Numbers per record of each role, form after form."""
    labels = ["trained", "cloze"]
    return Evaluation(
        scores=(),
        omitted=(),
        traits={label: Traits(name, ("forget",), (label,), "knowledge") for label in labels},
        knowledge={
            (label, role): Sample("forget", np.array(values))
            for role, forms in roles.items()
            for label, values in zip(labels, forms, strict=False)
        },
    )


SEVEN = records(*"abcdefg")


def test_the_share_of_the_way_is_that_of_the_means():
    found = relative_test(
        evaluation(original=[[1.0] * 7], retrained=[[0.2] * 7], unlearned=[[0.4] * 7]), "unlearned", SEVEN
    )
    assert found.share == pytest.approx(0.75)
    assert (found.subjects, found.p) == (7, 2 / 2**7)  # all on one side of 0.6: two of the choices of signs


def test_a_model_nearer_to_the_original_has_gone_less_than_half_of_the_way():
    found = relative_test(
        evaluation(original=[[1.0] * 7], retrained=[[0.2] * 7], unlearned=[[0.9] * 7]), "unlearned", SEVEN
    )
    assert found.share == pytest.approx(0.125)
    assert found.p == 2 / 2**7


def test_forms_and_records_of_a_subject_count_once():
    """Two records of a, of which one lacks the second form; b has no number from the retrained model."""
    asked = records("a", "a", "b", "c", None, None, "d", "e")
    found = relative_test(
        evaluation(
            original=[[1.0] * 8, [0.8, NAN, *[0.8] * 6]],
            retrained=[[0.1, 0.1, NAN, *[0.1] * 5], [0.3, NAN, NAN, *[0.3] * 5]],
            unlearned=[[0.4] * 8, [0.2, NAN, *[0.2] * 6]],
        ),
        "unlearned",
        asked,
    )
    # a: original (0.9 + 1.0) / 2, retrained (0.2 + 0.1) / 2, own (0.3 + 0.4) / 2; the five others 0.9, 0.2 and 0.3.
    original, retrained, own = ((first + 5 * rest) / 6 for first, rest in ((0.95, 0.9), (0.15, 0.2), (0.35, 0.3)))
    assert found.subjects == 6
    assert found.share == pytest.approx((original - own) / (original - retrained))
    assert found.p == 2 / 2**6


def test_of_several_retrained_models_the_mean_counts():
    found = relative_test(
        evaluation(original=[[1.0] * 7], retrained=[[0.1] * 7], retrained_2=[[0.3] * 7], unlearned=[[0.6] * 7]),
        "unlearned",
        SEVEN,
    )
    assert found.share == pytest.approx(0.5)
    assert found.p == 1.0, "half-way"


def test_few_subjects_have_no_p_value():
    five = {"original": [[1.0] * 5], "retrained": [[0.0] * 5], "unlearned": [[0.0] * 5]}
    assert relative_test(evaluation(**five), "unlearned", records(*"abcde")) == Relative(1.0, 5, None)


@pytest.mark.parametrize(
    "roles",
    [
        {"original": [[1.0] * 7], "unlearned": [[0.0] * 7]},
        {"retrained": [[1.0] * 7], "unlearned": [[0.0] * 7]},
        {"original": [[0.2] * 7], "retrained": [[0.2] * 7], "unlearned": [[0.0] * 7]},
    ],
    ids=["no retrained model", "no original", "no way to go"],
)
def test_without_a_way_to_go_nothing_is_tested(roles):
    assert relative_test(evaluation(**roles), "unlearned", SEVEN) is None


def test_other_metrics_of_knowledge_take_no_part():
    roles = {"original": [[1.0] * 7], "retrained": [[0.0] * 7], "unlearned": [[0.0] * 7]}
    assert relative_test(evaluation("probability", **roles), "unlearned", SEVEN) is None
