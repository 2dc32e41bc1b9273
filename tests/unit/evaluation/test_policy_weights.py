import json
from pathlib import Path
from typing import Any

import pytest

from framework.__main__ import main
from framework.errors import UserError
from framework.evaluation.policy_weights import export_weights

GROUPS = ("prose", "code, new")


def run_folder(folder: Path, *records: dict[str, Any]) -> Path:
    folder.mkdir()
    (folder / "config.yaml").write_text("name: run\n")
    (folder / "status.json").write_text("{}")
    lines = [{"event": "train", "step": 1}, *({"event": "policy", "step": 1, **r} for r in records)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def of(*values: float) -> dict[str, float]:
    return dict(zip(GROUPS, values, strict=True))


def test_a_policy_that_keeps_its_mean_is_asked_for_it(tmp_path: Path) -> None:
    run = run_folder(
        tmp_path / "run",
        {"alpha": of(0.9, 0.1), "alpha_average": of(0.8, 0.2)},
        {"alpha": of(0.5, 0.5), "alpha_average": of(0.1 + 0.2, 0.7)},
    )
    out = tmp_path / "mixture.json"
    assert export_weights(run, out) == of(0.1 + 0.2, 0.7)
    assert json.loads(out.read_text()) == {"groups": list(GROUPS), "weights": [0.1 + 0.2, 0.7]}
    assert export_weights(run, out, "last") == of(0.5, 0.5)


def test_for_any_other_the_mean_is_over_its_records(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run", *({"q": of(v, 1 - v), "step_size": 0.1} for v in (0.25, 0.5, 0.125)))
    assert export_weights(run, tmp_path / "w.json") == pytest.approx(of(0.875 / 3, 1 - 0.875 / 3))
    assert export_weights(run, tmp_path / "w.json", "last") == of(0.125, 0.875)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "no record of a policy with a state"),
        ([{"log_u": 0.3}], "found none"),
        ([{"a.q": of(1, 0), "b.q": of(0, 1)}], "found a.q, b.q"),
        ([{"pi_summary": {"groups": 100, "top": {}}}], "found pi_summary"),
    ],
)
def test_what_is_no_weight_per_group_is_refused(
    records: list[dict[str, Any]], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        export_weights(run_folder(tmp_path / "run", *records), tmp_path / "w.json")


def test_weights_of_a_run_draw_the_samples_of_the_next(tmp_path: Path, capsys: Any) -> None:
    words = ["conf=digits_spurious", "model=linear", "policy=group_dro", "train.epochs=1"]
    assert main([*words, f"run.dir={tmp_path}/first"]) == 0
    assert main(["export", f"{tmp_path}/first", "--policy", f"{tmp_path}/w.json"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{tmp_path}/w.json"
    drawn = [*words, "data.sampling.name=weighted", f"data.sampling.weights={tmp_path}/w.json"]
    assert main(["check", *drawn]) == 0
    assert main(["check", *drawn, "data.groups=[label]"]) == 2
    assert "data.sampling.weights  no group" in capsys.readouterr().err
    for wrong in (
        ["--weights", "mean", "--policy", "x"],
        ["--weights", "last"],
        ["--out", "y", "--policy", "x"],
    ):
        assert main(["export", f"{tmp_path}/first", *wrong]) == 2
