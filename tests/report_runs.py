"""Run folders for the tests of the report: written record by record, and the page they give, parsed."""

from __future__ import annotations

import base64
import csv
import io
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import yaml

from framework.reporting.jsonl import encode

CONFIG = {
    "name": "made",
    "seed": 3,
    "data": {"source": {"name": "digits"}},
    "policy": {"name": "group_dro", "step_size": 0.01},
    "model": {"name": "mlp"},
    "batch": {"size": 64},
    "select": {"metric": "worst_group_accuracy", "split": "validation", "patience": None},
}


def evaluation(
    step: int, accuracies: dict[str, tuple[float, int]], split: str = "validation", **more: Any
) -> Any:
    """An evaluation record of groups with (accuracy, samples) each; the loss of a group is 1 - accuracy."""
    total = sum(count for _, count in accuracies.values())
    overall = sum(value * count for value, count in accuracies.values()) / total
    worst = min(accuracies, key=lambda name: accuracies[name][0])
    return {
        "event": "evaluation",
        "step": step,
        "epoch": 1,
        "split": split,
        "num_samples": total,
        "accuracy": overall,
        "loss": 1 - overall,
        "worst_group": worst,
        "worst_group_accuracy": accuracies[worst][0],
        "worst_group_loss": 1 - accuracies[worst][0],
        "group_average_accuracy": sum(value for value, _ in accuracies.values()) / len(accuracies),
        "groups": [
            {"name": name, "count": count, "train_count": 10 * count, "accuracy": value, "loss": 1 - value}
            for name, (value, count) in accuracies.items()
        ],
        **more,
    }


def train(step: int, loss: float, **more: Any) -> Any:
    """A train record."""
    numbers = {"objective": loss, "lr": 0.1, "samples": 64 * step, "elapsed_seconds": step / 10}
    return {"event": "train", "step": step, "epoch": 0, "loss": loss, **numbers, **more}


#: a run of 40 steps and two groups, selected at step 20
RECORDS = [
    *(
        train(step, 1 / step, gradient_norm=1.0, effective_sample_size=60.0, largest_weight=0.02)
        for step in (10, 20)
    ),
    {"event": "policy", "step": 20, "epoch": 1, "q": {"a": 0.3, "b": 0.7}},
    evaluation(20, {"a": (0.9, 200), "b": (0.5, 20)}, best=True),
    train(40, 0.02),
    {"event": "policy", "step": 40, "epoch": 2, "q": {"a": 0.05, "b": 0.95}},
    evaluation(40, {"a": (0.95, 200), "b": (0.4, 20)}, best=False),
    evaluation(40, {"a": (0.9, 200), "b": (0.5, 20)}, final=True, selected_step=20),
    evaluation(
        40,
        {"a": (0.85, 200), "b": (0.6, 20)},
        split="test",
        final=True,
        selected_step=20,
        ece=0.2,
        statistics={"confusion": [[8.0, 2.0], [1.0, 9.0]], "calibration": [[0, 20.0], [0, 18.0], [0, 17.0]]},
    ),
]
#: what the callback `sample_weights` adds to it
SAMPLES = [
    {
        "event": "sample_weights",
        "step": step,
        "epoch": 0,
        "weights": {"min": 0.1, "p10": 0.2, "median": 1.0, "p90": 2.0, "max": 3.0 + step},
        "groups": [{"name": "a", "count": 60, "median": 0.9}, {"name": "b", "count": 4, "median": 2.0}],
        "top": [{"index": step, "group": "b", "weight": 3.0 + step, "sample_loss": 2.0}],
    }
    for step in (10, 20, 30, 40)
]


def write_run(
    folder: Path,
    records: list[Any],
    *,
    state: str | None = "finished",
    config: dict[str, Any] = CONFIG,
    facts: dict[str, Any] | None = None,
) -> Path:
    """A run folder that holds these records."""
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "config.provenance.json").write_text(json.dumps({"policy.step_size": "command line"}))
    (folder / "metrics.jsonl").write_text("".join(encode(record) + "\n" for record in records))
    if state is not None:
        status = {"state": state, "step": 40, "reason": "", "pid": 1}
        (folder / "status.json").write_text(json.dumps(status))
    if facts is not None:
        (folder / "report.json").write_text(json.dumps(facts))
    return folder


class Parsed(HTMLParser):
    """The elements of a page, and its data, as a program that knows nothing of the templates finds them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.figures: dict[str, Any] = {}
        self.texts: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self._inside: list[str] = []
        self.feed(html)
        for _, attributes in self.elements:
            href = attributes.get("href") or ""
            if href.startswith("data:text/csv"):
                content = base64.b64decode(href.partition(",")[2]).decode()
                self.tables[str(attributes["download"])] = list(csv.reader(io.StringIO(content)))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        name = self.elements[-1][1].get("data-plot") if self.elements else None
        if self._inside and name is not None:
            self.figures[name] = json.loads(data)
        elif not self._inside and data.strip():
            self.texts.append(" ".join(data.split()))

    @property
    def text(self) -> str:
        """What a reader sees."""
        return " ".join(self.texts)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every element of this kind."""
        return [attributes for name, attributes in self.elements if name == tag]
