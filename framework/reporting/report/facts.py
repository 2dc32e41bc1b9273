"""What only a live run knows and its report needs: its description, names of classes, samples to show."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from framework.data.preview import preview
from framework.reporting.report.measures import is_number
from framework.reporting.report.most_weighted import most_weighted
from framework.reporting.report.read import Facts, read_run
from framework.training.check import describe

if TYPE_CHECKING:
    from framework.training.assemble import Run


def facts_of(run: Run) -> Facts:
    """The facts of a run that has come to its end."""
    assert run.dir is not None
    training = run.data.splits["train"]
    entries = most_weighted(read_run(run.dir).of("sample_weights"))
    previews = preview(training, [int(entry["index"]) for entry in entries])
    return Facts(
        summary=describe(run),
        class_names=run.data.spec.class_names,
        samples=[
            {
                **{key: value if _is_plain(value) else str(value) for key, value in entry.items()},
                **asdict(shown),
            }
            for entry, shown in zip(entries, previews, strict=True)
        ],
    )


def _is_plain(value: object) -> bool:
    return isinstance(value, str) or is_number(value)
