"""The page of a sweep, from its files alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from framework.errors import UserError
from framework.reporting.report.blocks import Plot, Section, Table
from framework.reporting.report.sweep.page import sweep_page
from framework.reporting.report.sweep.read import read_sweep
from framework.reporting.report.write import write_report
from tests.sweep_files import SPACE, content, write_sweep


def sections(folder: Path) -> dict[str, Section]:
    return {section.id: section for section in sweep_page(read_sweep(folder)).sections}


def test_the_answer_comes_first_then_the_evidence(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path)
    page = sweep_page(read_sweep(folder))
    assert "largest worst-group accuracy on validation" in page.question
    assert page.answers == content()["verdicts"]
    assert ("trials", "19 complete, 1 failed, 4 pruned") in page.details
    assert [section.id for section in page.sections] == ["chosen", "history", "parameters", "trials"]
    html = write_report(folder).read_text()
    assert "trial-0000/seed-0/report.html" in html
    assert "trial-0001/seed-0/report.html" not in html


def test_history_has_every_trial_and_the_best_so_far(tmp_path: Path) -> None:
    [plot] = sections(write_sweep(tmp_path))["history"].blocks
    assert isinstance(plot, Plot)
    complete, best, pruned = plot.traces
    trials = content()["trials"]
    assert complete["x"] == [t["number"] for t in trials if t["state"] == "complete"]
    assert best["y"] == [max(complete["y"][: k + 1]) for k in range(len(complete["y"]))]
    assert pruned["x"] == [5, 11, 17, 23]
    assert pruned["y"] == [trials[k]["evaluations"]["2"] for k in pruned["x"]]
    assert len(plot.table.rows) == 24


def test_parameters_are_drawn_to_scale_with_the_best_on_top(tmp_path: Path) -> None:
    coordinates, importances, *slices = sections(write_sweep(tmp_path))["parameters"].blocks
    assert isinstance(coordinates, Plot)
    trials = [t for t in content()["trials"] if t["state"] == "complete"]
    assert len(coordinates.traces) == len(trials)
    best = coordinates.traces[-1]
    assert best["name"] == f"trial {content()['best']['number']}"
    assert best["y"][-1] == 1
    # The logarithm of the learning rate from the smallest to the largest.
    by_name = {trace["name"]: trace["y"] for trace in coordinates.traces}
    powers = {t["number"]: (7 * t["number"]) % 24 for t in trials}
    low, high = min(powers.values()), max(powers.values())
    for number, power in powers.items():
        assert by_name[f"trial {number}"][0] == pytest.approx((power - low) / (high - low))
    assert isinstance(importances, Plot)
    assert importances.traces[0]["x"] == [0.02, 0.08, 0.2, 0.7]
    assert [plot.title for plot in slices if isinstance(plot, Plot)] == list(SPACE)
    kinds = [plot.layout["xaxis"]["type"] for plot in slices if isinstance(plot, Plot)]
    assert kinds == ["log", "linear", "category", "linear"]


def test_trials_are_listed_the_best_first(tmp_path: Path) -> None:
    [table] = sections(write_sweep(tmp_path))["trials"].blocks
    assert isinstance(table, Table)
    values = [row[2] for row in table.rows if row[2] is not None]
    assert values == sorted(values, reverse=True)
    assert len(table.rows) == 24
    assert table.links == {[row[0] for row in table.rows].index(0): "trial-0000/seed-0/report.html"}
    chosen = sections(tmp_path)["chosen"].blocks[1]
    assert isinstance(chosen, Table)
    assert chosen.rows[-1] == ["test", 0, 0.81]


def test_a_sweep_without_a_complete_trial_has_a_page_too(tmp_path: Path) -> None:
    data = content(1)
    data |= {"best": None, "importances": {}, "verdicts": ["No trial came to its end."]}
    data["trials"][0] |= {"state": "failed", "value": None, "by_seed": {}}
    assert list(sections(write_sweep(tmp_path, data))) == ["trials"]
    (tmp_path / "sweep.json").write_text(json.dumps({"trials": []}))
    with pytest.raises(UserError, match="not the file of a sweep"):
        write_report(tmp_path)
