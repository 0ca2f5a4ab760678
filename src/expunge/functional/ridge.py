"""Ridge regression as a classifier, for many penalties from one decomposition.

Shapes: N examples, C classes, D features, R = min(N, D).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from expunge.errors import InputError


class RidgePath(NamedTuple):
    """One fit for all penalties: of features with mean 0 and variance 1, X = U S V', to one-hot classes.

    ``W = V diag(s / (s^2 + N penalty)) U' Y`` minimises ``|X W - Y|^2 / N + penalty |W|^2``, Y being the one-hot
    classes less their mean.

    Attributes:
        mean_D: mean of each feature.
        scale_D: standard deviation of each feature, 1 where it is constant.
        right_RD: V'.
        singular_R: S.
        projected_RC: U' Y.
        shares_C: share of each class, which is the intercept.
        examples: N.
    """

    mean_D: Tensor
    scale_D: Tensor
    right_RD: Tensor
    singular_R: Tensor
    projected_RC: Tensor
    shares_C: Tensor
    examples: int

    @classmethod
    def of(cls, features_ND: Tensor, labels_N: Tensor, classes: int) -> RidgePath:
        """Decomposes features (N, D) for labels (N,) from 0 to ``classes`` - 1, in float64.

        Raises:
            InputError: nothing to learn from.
        """
        if not len(features_ND):
            raise InputError("There is no example to learn from.")
        features_ND = features_ND.double()
        mean_D = features_ND.mean(0)
        deviation_D = features_ND.std(0, correction=0)
        scale_D = torch.where(deviation_D > 0, deviation_D, 1.0)
        targets_NC = torch.nn.functional.one_hot(labels_N, classes).double()
        shares_C = targets_NC.mean(0)
        left_NR, singular_R, right_RD = torch.linalg.svd((features_ND - mean_D) / scale_D, full_matrices=False)
        projected_RC = left_NR.T @ (targets_NC - shares_C)
        return cls(mean_D, scale_D, right_RD, singular_R, projected_RC, shares_C, len(features_ND))

    def weights(self, penalty: float) -> Tensor:
        """W (D, C) for a penalty above 0."""
        factor_R = self.singular_R / (self.singular_R.square() + self.examples * penalty)
        return self.right_RD.T @ (factor_R[:, None] * self.projected_RC)

    def predict(self, features_ND: Tensor, penalty: float) -> Tensor:
        """The class (N,) with the highest value."""
        standard_ND = (features_ND.double() - self.mean_D) / self.scale_D
        return (standard_ND @ self.weights(penalty) + self.shares_C).argmax(-1)
