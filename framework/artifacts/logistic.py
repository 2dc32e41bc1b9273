"""Logistic regression whose result is a linear layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LinearHead:
    """A layer that gives logits.

    Attributes:
        weight: (classes, features).
        bias: (classes,).
    """

    weight: np.ndarray
    bias: np.ndarray

    def predict(self, features: np.ndarray) -> np.ndarray:
        """The class (n,) of features (n, features)."""
        found: np.ndarray = (features @ self.weight.T + self.bias).argmax(axis=1)
        return found


def balanced_subset(groups: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Positions of a random subset in which every group is as large as the smallest one, sorted."""
    counts = np.bincount(groups)
    smallest = int(counts[counts > 0].min())
    chosen = [
        random.permutation(np.flatnonzero(groups == group))[:smallest] for group in np.flatnonzero(counts)
    ]
    return np.sort(np.concatenate(chosen))


def fit_head(
    features: np.ndarray, labels: np.ndarray, scale_by: np.ndarray, c: float, num_classes: int, seed: int
) -> LinearHead:
    """L1 logistic regression on standardised features, as a layer for those that are not.

    Args:
        features: (n, features).
        labels: (n,) class ids.
        scale_by: (m, features) whose means and deviations standardise.
        c: inverse strength of the penalty.
        num_classes: logits of the layer; a class without samples gets the least logit of all.
        seed: of the solver.
    """
    # scikit-learn's linear models take a second to import, and few runs need them.
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(scale_by)
    standard = scaler.transform(features)

    def against_the_rest(label: int) -> tuple[np.ndarray, float]:
        model = LogisticRegression(l1_ratio=1.0, C=c, solver="liblinear", random_state=seed)
        model.fit(standard, labels == label)
        scaled = model.coef_[0] / scaler.scale_
        return scaled, float(model.intercept_[0] - scaled @ scaler.mean_)

    classes = np.unique(labels)
    weight = np.zeros((num_classes, features.shape[1]))
    bias = np.full(num_classes, -1e4)
    if len(classes) == 2:
        # One regression says it all: the difference of the two logits is its decision function.
        scaled, intercept = against_the_rest(classes[1])
        weight[classes] = np.stack([-scaled / 2, scaled / 2])
        bias[classes] = [-intercept / 2, intercept / 2]
    else:
        for label in classes:
            weight[label], bias[label] = against_the_rest(label)
    return LinearHead(weight, bias)


def worst_group_accuracy(
    head: LinearHead, features: np.ndarray, labels: np.ndarray, groups: np.ndarray
) -> float:
    """The smallest accuracy of any group."""
    correct = head.predict(features) == labels
    return float(min(correct[groups == group].mean() for group in np.unique(groups)))
