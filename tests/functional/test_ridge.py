"""Ridge weights equal the normal equations, with more examples than features and with fewer."""

from __future__ import annotations

import pytest
import torch

from expunge.errors import InputError
from expunge.functional.ridge import RidgePath


def draw(count, width, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(count, width, generator=generator, dtype=torch.float64) * 3 + 1
    return features, torch.randint(classes, (count,), generator=generator)


@pytest.mark.parametrize(("count", "width"), [(40, 5), (6, 15)])
@pytest.mark.parametrize("penalty", [0.01, 2.0])
def test_weights_solve_the_normal_equations(count, width, penalty):
    features, labels = draw(count, width)
    standard = (features - features.mean(0)) / features.std(0, correction=0)
    targets = torch.eye(3, dtype=torch.float64)[labels]
    left = standard.T @ standard / count + penalty * torch.eye(width, dtype=torch.float64)
    expected = torch.linalg.solve(left, standard.T @ (targets - targets.mean(0)) / count)
    path = RidgePath.of(features, labels, 3)
    torch.testing.assert_close(path.weights(penalty), expected)
    guess = (standard @ expected + targets.mean(0)).argmax(-1)
    assert torch.equal(path.predict(features, penalty), guess)


def test_by_hand():
    """One feature, -1 and 1, one example of each class: Y less its mean is (1/2, -1/2) and back; W = +-1/2/(1+p)."""
    path = RidgePath.of(torch.tensor([[3.0], [5.0]]), torch.tensor([0, 1]), 2)
    torch.testing.assert_close(path.weights(1.0), torch.tensor([[-0.25, 0.25]], dtype=torch.float64))
    assert path.predict(torch.tensor([[3.9], [4.1]]), 1.0).tolist() == [0, 1]


def test_a_strong_penalty_leaves_the_frequent_class():
    features, labels = draw(40, 5)
    labels[:25] = 2
    assert RidgePath.of(features, labels, 3).predict(features, 1e9).tolist() == [2] * 40


def test_constant_features_say_nothing():
    features, labels = draw(20, 4)
    features[:, 1] = 7.0
    path = RidgePath.of(features, labels, 3)
    assert path.weights(0.1)[1].abs().max() < 1e-12
    assert torch.isfinite(path.weights(0.1)).all()


def test_nothing_to_learn_from():
    with pytest.raises(InputError, match="no example"):
        RidgePath.of(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long), 2)
