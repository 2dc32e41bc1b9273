import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from framework.artifacts.logistic import LinearHead, balanced_subset, fit_head, worst_group_accuracy


def features(labels: np.ndarray) -> np.ndarray:
    random = np.random.default_rng(0)
    centres = random.normal(size=(labels.max() + 1, 5)) * 2
    values: np.ndarray = centres[labels] + random.normal(size=(len(labels), 5)) * [1, 10, 0.1, 1, 1] + 7
    return values


def test_two_classes_are_one_regression() -> None:
    labels = np.arange(60) % 2
    values = features(labels)
    head = fit_head(values, labels, values, 0.3, 2, seed=0)
    standard = (values - values.mean(0)) / values.std(0)
    model = LogisticRegression(l1_ratio=1.0, C=0.3, solver="liblinear").fit(standard, labels)
    logits = values @ head.weight.T + head.bias
    assert logits[:, 1] - logits[:, 0] == pytest.approx(model.decision_function(standard), abs=1e-9)
    # softmax of the two logits is the regression's probability
    assert 1 / (1 + np.exp(logits[:, 0] - logits[:, 1])) == pytest.approx(model.predict_proba(standard)[:, 1])


def test_more_classes_are_each_against_the_rest() -> None:
    labels = np.arange(90) % 3
    values = features(labels)
    head = fit_head(values, labels, values, 1.0, 4, seed=0)
    standard = (values - values.mean(0)) / values.std(0)
    for label in range(3):
        model = LogisticRegression(l1_ratio=1.0, C=1.0, solver="liblinear").fit(standard, labels == label)
        logits = values @ head.weight[label] + head.bias[label]
        assert logits == pytest.approx(model.decision_function(standard), abs=1e-2)
    # the class that nobody saw is never predicted
    assert set(head.predict(values)) <= {0, 1, 2}


def test_a_subset_has_as_many_of_every_group() -> None:
    groups = np.array([0] * 9 + [3] * 4 + [1] * 30)
    subsets = [balanced_subset(groups, np.random.default_rng(seed)) for seed in range(30)]
    for subset in subsets:
        assert np.bincount(groups[subset]).tolist() == [4, 4, 0, 4]
        assert len(set(subset.tolist())) == 12
    assert set(np.concatenate(subsets).tolist()) == set(range(43))


def test_the_worst_group() -> None:
    head = LinearHead(np.array([[0.0], [1.0]]), np.zeros(2))
    values, labels = np.array([[1.0], [-1.0], [1.0], [1.0]]), np.array([1, 1, 1, 0])
    assert worst_group_accuracy(head, values, labels, np.array([0, 0, 2, 2])) == 0.5
