"""The report of a comparison: its numbers, what is missing, and that names stay text."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from plotly import graph_objects

from framework.__main__ import main
from framework.reporting.report.blocks import Plot
from framework.reporting.report.comparison.page import comparison_page
from framework.reporting.report.comparison.read import read_comparison
from framework.reporting.report.write import write_report
from tests.report_runs import Parsed, evaluation, train, write_run

METRIC = "worst_group_accuracy"
HOSTILE = "</script><img src=x onerror=alert(1)>"


def arm(name: str, values: dict[int, float], folder: str, missing: dict[str, str] | None = None) -> Any:
    groups = [{"name": "a", "count": 9, "accuracy": 0.9}, {"name": "b", "count": 9, "accuracy": 0.5}]
    runs = [
        {
            "seed": seed,
            "folder": f"{folder}/{name}/seed-{seed}",
            "selected_step": 20,
            "selection": value,
            "metrics": {METRIC: value, "seconds": 0.001},
            "worst_group": "b",
            "groups": groups,
            "costs": {"seconds": 10.0 + seed},
        }
        for seed, value in values.items()
    ]
    return {"name": name, "runs": runs, "missing": missing or {}}


def write_comparison(folder: Path, second: str = "rgd", runs: str = "gone") -> Path:
    """Two arms with two seeds each, of which one has no result."""
    folder.mkdir(exist_ok=True)
    first = {"num_seeds": 2, "mean": 0.55, "std": 0.07, "better": "more"}
    tested = {"difference_mean": 0.1, "difference_low": -0.2, "difference_high": 0.4, "t_p_holm": 0.5}
    content = {
        "version": 1,
        "command": ["python", "-m", "framework", "compare"],
        "split": "test",
        "metric": METRIC,
        "metrics": {METRIC: {"maximize": True}, "seconds": {"maximize": False}},
        "verdicts": [f"No significant difference between {second} and erm.", "A second sentence."],
        "notes": ["Each run reports its best checkpoint."],
        "arms": [arm("erm", {0: 0.5, 1: 0.6}, runs), arm(second, {0: 0.65, 1: 0.65}, runs, {"2": "failed"})],
        "table": [
            {"metric": METRIC, "arm": "erm", **first},
            {"metric": METRIC, "arm": second, **first, "mean": 0.65, "std": None, **tested},
            {"metric": "seconds", "arm": "erm", "mean": 10.5, "num_seeds": 2, "better": "less"},
        ],
    }
    (folder / "comparison.json").write_text(json.dumps(content))
    return folder


def test_the_page_holds_the_numbers(tmp_path: Path) -> None:
    parsed = Parsed(write_report(write_comparison(tmp_path)).read_text(encoding="utf-8"))
    assert parsed.texts.index("No significant difference between rgd and erm.") < 20
    assert "1 run has no result: rgd, seed 2." in parsed.texts
    assert parsed.tables["worst-group-accuracy-per-seed.csv"] == [
        ["seed", "erm", "rgd"],
        ["0", "0.5", "0.65"],
        ["1", "0.6", "0.65"],
    ]
    differences = parsed.tables["worst-group-accuracy-differences-to-erm.csv"]
    assert [float(row[1]) for row in differences[1:]] == pytest.approx([0.15, 0.05])
    result = parsed.tables["worst-group-accuracy-on-test-more-is-better.csv"]
    assert result[2] == ["rgd", "2", "0.65", "", "0.1", "-0.2", "0.4", "0.5"]
    # The evaluation took a millisecond, the run ten seconds.
    assert parsed.tables["seconds-per-seed.csv"][1:] == [["0", "10.0", "10.0"], ["1", "11.0", "11.0"]]
    assert parsed.tables["accuracy-per-group-on-test.csv"][1:] == [["a", "0.9", "0.9"], ["b", "0.5", "0.5"]]
    assert ["rgd, seed 2", "", "", "", "", "no result: failed", ""] in parsed.tables["runs.csv"]
    assert "curves" not in [a.get("id") for a in parsed.all("section")]


def test_curves_and_links_where_the_runs_are(tmp_path: Path) -> None:
    study = write_comparison(tmp_path / "study", runs="elsewhere/study")  # it was moved since
    for name in ("erm", "rgd"):
        for seed in (0, 1):
            folder = study / name / f"seed-{seed}"
            folder.parent.mkdir(exist_ok=True)
            accuracy = 0.5 + 0.1 * seed
            write_run(folder, [train(10, 1.0), evaluation(10, {"a": (0.9, 10), "b": (accuracy, 10)})])
            write_report(folder)
    parsed = Parsed(write_report(study).read_text(encoding="utf-8"))
    curves = parsed.tables["worst-group-accuracy-on-validation.csv"]
    assert [float(cell) for cell in curves[1][1:]] == pytest.approx([10, 0.55, 0.5, 0.6, 2])
    links = [a["href"] or "" for a in parsed.all("a") if (a.get("href") or "").endswith(".html")]
    assert len(links) == 4
    assert all((study / link).is_file() for link in links)


def test_every_figure_is_one_that_plotly_accepts(tmp_path: Path) -> None:
    sections = comparison_page(read_comparison(write_comparison(tmp_path))).sections
    plots = [block for section in sections for block in section.blocks if isinstance(block, Plot)]
    assert len(plots) == 4
    for plot in plots:
        graph_objects.Figure(json.loads(re.sub(r"@[a-z]+", "#123456", json.dumps(plot.figure))))


def test_names_from_data_stay_text(tmp_path: Path) -> None:
    parsed = Parsed(write_report(write_comparison(tmp_path, HOSTILE)).read_text(encoding="utf-8"))
    assert not parsed.all("img")
    assert parsed.text.count(HOSTILE) > 5
    assert all("<" not in json.dumps(figure) for figure in parsed.figures.values())


def test_a_broken_file_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "comparison.json").write_text("[]")
    assert main(["report", str(tmp_path)]) == 2
    assert "is not the file of a comparison" in capsys.readouterr().err
