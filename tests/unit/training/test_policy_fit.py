"""Combinations in which a policy's formula does not hold end in one message; useless ones in a warning."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from framework.__main__ import main
from framework.errors import EXIT_USER
from tests.tiny import assembled, write

BALANCED = "data.sampling.name=group_balanced"
EVEN = "data=digits"
REGRESSION = ["data=diabetes", "task=regression", "select.metric=worst_group_loss"]
TEXT = ["data=python_library", "task=language_modeling", "model=transformer_lm", "select.metric=perplexity"]
FOCAL_IN_DEFERRED = "policy={name: deferred, step: 3, base: {name: focal}}"
TRIMMED = "policy={name: trimmed, base: {name: rgd}, fraction: 0.05}"

REFUSED = {
    "focal, smoothed": (["policy=focal", "task.label_smoothing=0.1"], ("set task.label_smoothing to 0",)),
    "focal inside another": ([FOCAL_IN_DEFERRED, "task.label_smoothing=0.1"], ("deferred takes exp(-loss)",)),
    "focal, regression": (["policy=focal", *REGRESSION], ("task regression is not",)),
    "focal, mean over tokens": (["policy=focal", *TEXT], ("task language_modeling is not",)),
    "class_balanced twice": (["policy=class_balanced", BALANCED], ("lifted twice", "take erm or importance")),
    "trimmed groups": ([TRIMMED], ("remove all of", "rare_groups: warn")),
    "trimmed classes": ([TRIMMED, "data.groups=[]"], ("remove all of", "rare_groups: warn")),
    "doremi, no reference": (["policy=doremi"], ("column excess_loss or baseline_loss", "give none")),
    "no groups": (["policy=group_dro", "data.groups=[]"], ("data.groups", "name metadata columns")),
    "one domain": (
        ["policy=vrex", "data.policy_groups=[]"],
        ("data.policy_groups", "vrex needs two groups or more"),
    ),
    "one value": (
        [
            "policy=importance",
            EVEN,
            "data.transforms=[{name: merge_classes, keep: fine, classes: "
            "{low: [0, 1, 2, 3, 4], high: [5, 6, 7, 8, 9]}}, {name: subsample, classes: {low: 0}}]",
        ],
        ("importance needs two groups or more", "[label] forms one"),
    ),
}


@pytest.mark.parametrize(("overrides", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_right_is_refused(
    overrides: list[str], says: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", f"conf={write(tmp_path)}", *overrides]) == EXIT_USER
    message = capsys.readouterr().err
    assert "Traceback" not in message
    for fragment in says:
        assert fragment in " ".join(message.split())


def test_every_misfit_is_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = "{name: group_dro}"
    policy = f"policy={{name: deferred, step: 3, before: {{name: focal}}, base: {base}}}"
    words = [policy, "data.groups=[]", "task.label_smoothing=0.1"]
    assert main(["check", f"conf={write(tmp_path)}", *words]) == EXIT_USER
    message = capsys.readouterr().err
    assert "2 problems" in message
    assert "needs groups" in message
    assert "exp(-loss)" in message


@pytest.mark.parametrize(
    "overrides",
    [
        ["policy=focal"],
        ["policy=focal", "task=logit_adjusted"],
        ["policy=class_balanced"],
        ["policy=class_balanced", "policy.beta=0", BALANCED],
        [TRIMMED, EVEN],
        [TRIMMED, BALANCED],
        [TRIMMED, "policy.rare_groups=warn"],
    ],
    ids=" ".join,
)
def test_what_is_right_is_not_refused(overrides: list[str], tmp_path: Path) -> None:
    assembled(tmp_path, overrides)


def test_importance_under_balanced_sampling_says_that_it_does_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assembled(tmp_path, ["policy=importance"])
        assembled(
            tmp_path, ["policy=importance", EVEN, "data.groups=[]", "data.policy_groups=[label]", BALANCED]
        )
        assert not caplog.text
        policy = assembled(tmp_path, ["policy=importance", BALANCED]).policy
    assert "all weights are 1" in caplog.text
    assert policy.group_weights.tolist() == pytest.approx([1.0] * 10)  # type: ignore[attr-defined]
