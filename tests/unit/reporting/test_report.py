"""The report of a run: its numbers, its sentences, and that nothing from data becomes markup."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
from plotly import graph_objects
from scipy.stats import binomtest

from framework.__main__ import main
from framework.reporting.report.blocks import Plot, Table
from framework.reporting.report.measures import wilson
from framework.reporting.report.plots import labels
from framework.reporting.report.read import read_run
from framework.reporting.report.run_page import run_page
from framework.reporting.report.verdict import verdict
from framework.reporting.report.write import write_report
from framework.run import train as train_run
from tests import tiny
from tests.report_runs import CONFIG, RECORDS, Parsed, evaluation, train, write_run

HOSTILE = "</script><img src=x onerror=alert(1)>\"'&{{7*7}}"


def page(folder: Path) -> Parsed:
    return Parsed(write_report(folder).read_text(encoding="utf-8"))


def test_the_verdict_says_what_the_numbers_say(tmp_path: Path) -> None:
    said = verdict(read_run(write_run(tmp_path, RECORDS)))
    low, high = binomtest(12, 20).proportion_ci(method="wilson")
    assert said.answer == (
        "On test, accuracy is 0.827 overall and 0.6 in the worst group, b (20 samples, 95 % interval"
        f" {low:.2f} to {high:.2f}): a gap of 0.227. The checkpoint of step 20 of 40 was selected by"
        " worst-group accuracy on validation, 0.5."
    )
    assert said.notice == ""
    doubts = "\n".join(said.remarks)
    assert "only 20 samples on test" in doubts
    assert "5.0 times the training loss" in doubts  # 0.1 after the last step against 0.02
    assert "q = 0.95 on group b" in doubts
    assert "too sure of itself" in doubts
    assert "skipped" not in doubts


def test_doubts_that_need_other_numbers(tmp_path: Path) -> None:
    skip = {"event": "skip", "step": 7, "epoch": 0, "samples": [1]}
    rising = [
        evaluation(step, {"a": (1 - loss, 100), "b": (0.9, 100)}) for step, loss in ((1, 0.1), (2, 0.8))
    ]
    tiny_batches = train(10, math.nan, effective_sample_size=2.0)
    doubts = "\n".join(verdict(read_run(write_run(tmp_path, [skip, tiny_batches, *rising]))).remarks)
    assert "1 step was skipped" in doubts
    assert "at step 7" in doubts
    assert "not finite from step 10 on" in doubts
    assert "batch of 64 fell to 2.0" in doubts
    assert "lowest at step 1 (0.1) and rose to 0.45" in doubts


def test_a_clean_run_has_no_doubts(tmp_path: Path) -> None:
    records = [train(10, 0.1), evaluation(10, {"a": (0.9, 500), "b": (0.88, 400)}, best=True)]
    assert verdict(read_run(write_run(tmp_path, records))).remarks == ()
    assert "No check of this run's numbers found anything unusual." in page(tmp_path).texts


def test_intervals_are_those_of_scipy() -> None:
    for hits, count in ((0, 7), (7, 7), (12, 20), (650, 1000)):
        low, high = binomtest(hits, count).proportion_ci(method="wilson")
        assert wilson(hits, count) == pytest.approx((low, high), abs=1e-12)
    with pytest.raises(ValueError, match="at least one sample"):
        wilson(0, 0)


def test_the_page_holds_the_numbers(tmp_path: Path) -> None:
    parsed = page(write_run(tmp_path, RECORDS))
    groups = parsed.tables["test-at-step-20-groups.csv"]
    assert groups[0][:4] == ["group", "training samples", "samples", "accuracy"]
    assert groups[2] == ["b", "200", "20", "0.6", "0.4", *map(str, wilson(12, 20))]
    assert parsed.tables["loss.csv"] == [
        ["step", "training", "validation"],
        ["10", "0.1", ""],
        ["20", "0.05", repr(1 - 190 / 220)],
        ["40", "0.02", repr(1 - 198 / 220)],
    ]
    assert parsed.tables["q-per-group.csv"][1:] == [["20", "0.3", "0.7"], ["40", "0.05", "0.95"]]
    assert parsed.tables["confusion-on-test-rows-are-targets-columns-predictions.csv"][1:] == [
        ["0", "8", "2"],
        ["1", "1", "9"],
    ]
    assert parsed.tables["calibration-on-test.csv"][2][2:] == ["20", "0.9", "0.85"]
    assert ["policy.step_size", "0.01", "command line"] in parsed.tables["configuration.csv"]


def test_every_figure_is_one_that_plotly_accepts(tmp_path: Path) -> None:
    sections = run_page(read_run(write_run(tmp_path, RECORDS))).sections
    plots = [block for section in sections for block in section.blocks if isinstance(block, Plot)]
    assert len(plots) >= 9
    for plot in plots:
        # The page's own colours are names until its script puts them in.
        figure = json.loads(re.sub(r"@[a-z]+", "#123456", json.dumps(plot.figure)))
        graph_objects.Figure(figure)
        assert plot.alt.endswith(".")


def test_structure_that_assistive_software_needs(tmp_path: Path) -> None:
    parsed = page(write_run(tmp_path, RECORDS))
    tags = [tag for tag, _ in parsed.elements]
    assert tags.count("h1") == tags.count("main") == tags.count("header") == tags.count("footer") == 1
    assert parsed.all("html")[0]["lang"] == "en"
    ids = [a["id"] for _, a in parsed.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for _, attributes in parsed.elements:
        assert attributes.get("aria-labelledby", ids[0]) in ids
        href = attributes.get("href") or ""
        assert not href.startswith("#") or href[1:] in ids
    assert all(a.get("scope") in ("col", "row") for a in parsed.all("th"))
    canvases = [a for a in parsed.all("div") if a.get("class") == "canvas"]
    assert canvases
    assert all(a["role"] == "img" and a["aria-label"] for a in canvases)
    assert {a["id"] for a in canvases} == set(parsed.figures)


def test_nothing_is_loaded_from_elsewhere(tmp_path: Path) -> None:
    text = write_report(write_run(tmp_path, RECORDS)).read_text(encoding="utf-8")
    assert "http:" not in text
    assert "https:" not in text
    for _, attributes in Parsed(text).elements:
        assert not (attributes.get("src") or "").startswith(("/", "file"))
    assert "@import" not in text


def test_names_from_data_stay_text(tmp_path: Path) -> None:
    names = {HOSTILE: (0.5, 40), "=1+1": (0.9, 40)}
    records = [
        train(10, 0.5),
        {"event": "policy", "step": 10, "epoch": 0, "q": dict.fromkeys(names, 0.5)},
        evaluation(10, names, best=True),
        evaluation(
            10, names, split=HOSTILE, final=True, selected_step=10, statistics={"confusion": [[1, 2], [3, 4]]}
        ),
        {
            "event": "sample_weights",
            "step": 10,
            "epoch": 0,
            "weights": {"min": 0.0, "p10": 0.1, "median": 1.0, "p90": 2.0, "max": 3.0},
            "groups": [{"name": name, "count": 1, "median": 1.0} for name in names],
            "top": [{"index": 4, "group": HOSTILE, "weight": 3.0, "sample_loss": 2.0}],
        },
    ]
    sample = {"index": 4, "group": HOSTILE, "weight": 3.0, "sample_loss": 2.0, "step": 10, "target": HOSTILE}
    facts = {"class_names": [HOSTILE, "b"], "samples": [{**sample, "fields": {HOSTILE: HOSTILE}}]}
    config = {**CONFIG, "name": HOSTILE}
    parsed = page(write_run(tmp_path, records, config=config, facts=facts))
    clean = page(write_run(tmp_path / "clean", RECORDS))
    assert {tag for tag, _ in parsed.elements} <= {tag for tag, _ in clean.elements} | {"ul", "li", "h3"}
    assert not any(name.startswith("on") for _, attributes in parsed.elements for name in attributes)
    assert parsed.text.count(HOSTILE) > 5
    for figure in parsed.figures.values():
        assert "<" not in json.dumps(figure)  # Plotly would take some tags for markup
    assert "'=1+1" in str(parsed.tables)  # a spreadsheet would compute it


@pytest.mark.parametrize(
    ("records", "state", "answer"),
    [
        ([], None, "Nothing was measured yet."),
        ([train(10, 0.25)], "running", "the training loss at step 10 is 0.25."),
        (RECORDS[:4], "interrupted", "On validation, accuracy is 0.864"),
    ],
)
def test_a_run_that_has_not_ended(
    tmp_path: Path, records: list[dict], state: str | None, answer: str
) -> None:
    folder = write_run(tmp_path, records, state=state)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"event": "train", "st')  # a line that is being written
    parsed = page(folder)
    assert answer in parsed.text
    assert "preliminary" in parsed.text or "does not say how" in parsed.text


def test_numbers_that_are_none(tmp_path: Path) -> None:
    broken = evaluation(10, {"a": (math.nan, 50), "b": (0.5, 50)}, best=False)
    parsed = page(write_run(tmp_path, [train(5, 1.0), train(10, math.inf), broken, train(20, math.nan)]))
    assert "not finite" in parsed.text
    (loss,) = [f for f in parsed.figures.values() if f["data"][0]["name"] == "training"]
    assert loss["data"][0]["y"] == [1.0, None, None]
    assert [row[1] for row in parsed.tables["loss.csv"][1:]] == ["1.0", "inf", "nan"]


def test_a_regression_run(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    overrides = ["data=diabetes", "task=regression", "select.metric=worst_group_loss", "data.transforms=[]"]
    more = [
        "run.report=true",
        f"run.dir={folder}",
        "callbacks=[{name: sample_weights, every_steps: 4}]",
        "policy=rgd",
    ]
    assert train_run(tiny.loaded(tmp_path, [*overrides, *more])) == 0
    parsed = Parsed((folder / "report.html").read_text(encoding="utf-8"))
    assert "On test, loss is" in parsed.text
    assert "accuracy" not in parsed.text
    assert "Most up-weighted samples" in parsed.texts


def test_a_run_writes_its_report_and_shows_its_samples(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    overrides = ["policy=group_dro", "run.report=true", f"run.dir={folder}"]
    assert (
        train_run(tiny.loaded(tmp_path, [*overrides, "callbacks=[{name: sample_weights, every_steps: 4}]"]))
        == 0
    )
    parsed = Parsed((folder / "report.html").read_text(encoding="utf-8"))
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    (final,) = [r for r in metrics if r.get("final") and r["split"] == "test"]
    confusion = parsed.tables["confusion-on-test-rows-are-targets-columns-predictions.csv"]
    assert sum(int(row[place]) for place, row in enumerate(confusion) if place) == round(
        final["accuracy"] * final["num_samples"]
    )
    heaviest = max(top["weight"] for r in metrics if r["event"] == "sample_weights" for top in r["top"])
    shown = parsed.tables["most-up-weighted-training-samples.csv"]
    assert float(shown[1][2]) == heaviest
    images = [a["src"] or "" for a in parsed.all("img")]
    assert len(images) == len(shown) - 1
    assert all(src.startswith("data:image/png;base64,") for src in images)


def test_a_report_that_fails_does_not_fail_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("framework.reporting.report.write.render", lambda page: 1 / 0)
    assert train_run(tiny.loaded(tmp_path, ["run.report=true", f"run.dir={tmp_path / 'run'}"])) == 0
    assert "no report was written: ZeroDivisionError" in caplog.text


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = write_run(tmp_path / "run", RECORDS), tmp_path / "pages" / "mine.html"
    assert main(["report", str(folder), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert out.stat().st_size > 1_000_000
    assert main(["report", str(tmp_path / "nothing")]) == 2
    assert "is neither a run folder nor" in capsys.readouterr().err
    assert main(["report", str(folder), "policy=erm"]) == 2
    assert "takes a folder and no overrides" in capsys.readouterr().err


def test_the_verb_waits_neither_for_torch_nor_for_plotly(tmp_path: Path) -> None:
    folder = write_run(tmp_path, RECORDS)
    program = (
        f"import sys; from framework.__main__ import main; code = main(['report', {str(folder)!r}]);"
        "sys.exit(str(heavy) if (heavy := {'torch', 'plotly'} & set(sys.modules)) else code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_long_table_shows_some_rows_and_downloads_all() -> None:
    table = Table("long", ["step", "value"], [[step, step / 7] for step in range(1000)])
    assert len(table.shown) == 200
    assert (table.shown[0], table.shown[-1]) == (0, 999)
    assert table.numeric == [True, True]


def test_labels_of_groups_are_alike_in_form_and_never_the_same() -> None:
    assert labels(["label=1, colour=red", "label=10, colour=green"], 20) == ["1, red", "10, green"]
    assert labels(["a", "b"], 20) == ["a", "b"]
    same = labels(["x" * 30 + "y" + "x" * 30, "x" * 61], 10)
    assert len(set(same)) == 2
