"""What a run folder holds, as far as the run has come."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from framework.config.load import PROVENANCE
from framework.files import replace_file, to_json
from framework.reporting.jsonl import restore
from framework.run_folder import Status, read_metrics, read_status
from framework.run_folder.environment import read_environments
from framework.run_folder.metrics import METRICS
from framework.run_folder.same_run import CONFIG

Record = Mapping[str, Any]

#: what the report shows of data and model and no other file of the run says
FACTS = "report.json"
#: the page itself
REPORT = "report.html"


@dataclass(frozen=True)
class Facts:
    """The content of report.json, empty for a run that did not come to its end.

    Attributes:
        summary: label and text of what describes the run.
        class_names: one per class.
        samples: training samples that counted most, each with index, group, weight, loss, and its preview.
    """

    summary: Sequence[tuple[str, str]] = ()
    class_names: Sequence[str] = ()
    samples: Sequence[Mapping[str, Any]] = ()

    def write(self, run_dir: Path) -> None:
        """Replace report.json.

        Raises:
            OSError: the folder is not writable.
        """
        replace_file(run_dir / FACTS, [to_json(vars(self))])


@dataclass(frozen=True)
class RunFiles:
    """One run folder; whatever is missing or damaged is empty.

    Attributes:
        config: the resolved configuration.
        origins: dotted key -> where its value was written.
        environments: one entry per start, oldest first.
        records: event -> its records in order; `evaluation` without those at the selected checkpoint.
        finals: the evaluations at the selected checkpoint.
    """

    dir: Path
    status: Status | None
    config: Mapping[str, Any]
    origins: Mapping[str, str]
    environments: Sequence[Record]
    records: Mapping[str, Sequence[Record]]
    finals: Sequence[Record]
    facts: Facts = field(default_factory=Facts)

    @property
    def name(self) -> str:
        """The run's name, or its folder's."""
        return str(self.config.get("name", self.dir.name))

    def of(self, event: str) -> Sequence[Record]:
        """The records of one event."""
        return self.records.get(event, ())

    def setting(self, key: str, default: Any = None) -> Any:
        """The value at a dotted key of the configuration."""
        value: Any = self.config
        for part in key.split("."):
            if not isinstance(value, Mapping) or part not in value:
                return default
            value = value[part]
        return value

    def splits(self) -> list[str]:
        """The splits measured during training, in the order they appear."""
        return list(dict.fromkeys(str(record.get("split")) for record in self.of("evaluation")))

    def evaluations(self, split: str) -> list[Record]:
        """The evaluations of `split` during training."""
        return [record for record in self.of("evaluation") if record.get("split") == split]

    def final(self, split: str | None = None) -> Record | None:
        """The evaluation of `split` at the selected checkpoint; by default the test's, else the last one."""
        if split is None:
            return self.final("test") or (self.finals[-1] if self.finals else None)
        return next((record for record in self.finals if record.get("split") == split), None)

    @property
    def judged(self) -> Record | None:
        """The evaluation that the report is about: at the selected checkpoint, else the newest."""
        split = self.setting("select.split", "validation")
        newest = self.evaluations(split) or self.of("evaluation")
        return self.final() or (newest[-1] if newest else None)

    @property
    def selected_step(self) -> int | None:
        """The step of the selected checkpoint so far."""
        final = self.final()
        if final is not None:
            return int(final["selected_step"])
        best = [record["step"] for record in self.of("evaluation") if record.get("best")]
        return int(best[-1]) if best else None


def read_run(run_dir: Path) -> RunFiles:
    """Everything in `run_dir` that can be read; a run that is still going on has less."""
    records: dict[str, list[Record]] = {}
    finals: list[Record] = []
    try:
        lines = [restore(record) for record in read_metrics(run_dir / METRICS)]
    except OSError:
        lines = []
    for record in lines:
        if record.get("event") == "evaluation" and record.get("final"):
            finals.append(record)
        else:
            records.setdefault(str(record.get("event")), []).append(record)
    return RunFiles(
        dir=run_dir,
        status=read_status(run_dir),
        config=_mapping(run_dir / CONFIG),
        origins=_mapping(run_dir / PROVENANCE),
        environments=read_environments(run_dir),
        records=records,
        finals=finals,
        facts=_facts(run_dir),
    )


def _mapping(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def _facts(run_dir: Path) -> Facts:
    content = _mapping(run_dir / FACTS)
    known = {name: content[name] for name in Facts.__dataclass_fields__ if name in content}
    return Facts(**known)
