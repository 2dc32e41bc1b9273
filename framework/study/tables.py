"""A comparison as tables: the same cells for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from framework.reporting.text import duration, number, shorten
from framework.study.comparison import Cell, Comparison, Test
from framework.study.results import COSTS, RUNS, SECONDS
from framework.study.verdict import p_value

Rows = list[list[str]]


def main_rows(comparison: Comparison) -> tuple[list[str], Rows]:
    """Headings and rows of the metric that checkpoints were selected by."""
    metric = comparison.metric
    paired = comparison.is_paired
    # The adjusted p-values alone: beside them the others would be taken for results.
    headings = ["arm", "seeds", "mean ± std", "difference", "95 % interval"]
    headings.append("p (Holm)" if len(comparison.arms) > 2 else "p")
    ranked = any(test is not None and test.wilcoxon_p_holm is not None for test in comparison.tests[metric])
    headings += ["Wilcoxon p"] if ranked else []
    headings += ["wins:ties:losses"] if paired else []
    rows = []
    for place, (arm, cell) in enumerate(zip(comparison.arms, comparison.cells[metric], strict=True)):
        test = comparison.tests[metric][place - 1] if place else None
        row = [arm.name, str(len(cell.values)), mean_and_std(metric, cell), *_difference(metric, cell, test)]
        row.append(p_value(test.t_p_holm) if test else "")
        if ranked:
            row.append(p_value(test.wilcoxon_p_holm) if test else "")
        if paired:
            row.append(f"{test.wins}:{test.ties}:{test.losses}" if test else "")
        rows.append(row)
    return headings, rows


def other_rows(comparison: Comparison) -> tuple[list[str], Rows]:
    """Headings and rows of all other metrics: the mean of each arm, and its difference to the first."""
    metrics = [name for name in comparison.metrics if name != comparison.metric]
    rows = []
    for place, arm in enumerate(comparison.arms):
        row = [arm.name]
        for metric in metrics:
            text = mean_and_std(metric, comparison.cells[metric][place])
            test = comparison.tests[metric][place - 1] if place else None
            row.append(f"{text} *" if test and test.significant and metric not in COSTS else text)
        rows.append(row)
    return ["arm", *map(_label, metrics)], rows


def rich_table(title: str, headings: Sequence[str], rows: Rows, width: int) -> Table:
    """For the terminal."""
    table = Table(
        box=box.SIMPLE_HEAD,
        title=title,
        title_justify="left",
        title_style="bold",
        show_edge=False,
        pad_edge=False,
    )
    table.add_column(headings[0], overflow="fold")
    for heading in headings[1:]:
        # In a narrow terminal the longest heading must not take the room of the numbers.
        table.add_column(heading.replace(":losses", ":\nlosses"), justify="right", overflow="fold")
    for row in rows:
        table.add_row(Text(shorten(row[0], max(16, width // 3))), *map(Text, row[1:]))
    return table


def markdown_table(headings: Sequence[str], rows: Rows) -> str:
    """For a file."""
    lines = [headings, ["---", *("---:" for _ in headings[1:])], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def mean_and_std(metric: str, cell: Cell) -> str:
    """`0.8123 ± 0.0210`."""
    if cell.mean is None:
        return "-"
    mean = _shown(metric, cell.mean)
    return mean if cell.std is None or metric == RUNS else f"{mean} ± {_beside(metric, mean, cell.std)}"


def _difference(metric: str, cell: Cell, test: Test | None) -> list[str]:
    if test is None or cell.mean is None:
        return ["", ""]
    difference, mean = test.difference, _shown(metric, cell.mean)
    interval = "-"
    if difference.low is not None and difference.high is not None:
        low, high = (_beside(metric, mean, end, sign="+") for end in (difference.low, difference.high))
        interval = f"{low} to {high}"
    return [_beside(metric, mean, difference.mean, sign="+"), interval]


def _beside(metric: str, mean: str, value: float, sign: str = "-") -> str:
    """What is read beside a mean has as many decimals."""
    decimals = len(mean.partition(".")[2])
    alike = metric not in COSTS and mean.replace(".", "").replace("-", "").isdigit()
    return f"{value:{sign}.{decimals}f}" if alike else _shown(metric, value, sign=sign == "+")


def _label(metric: str) -> str:
    if metric == SECONDS:
        return "time"
    return metric.removesuffix("_bytes").replace("_", " ")


def _shown(metric: str, value: float, *, sign: bool = False) -> str:
    plus = "+" if sign and value >= 0 else ""
    if metric == RUNS:
        return f"{plus}{value:g}"
    if metric in COSTS and not sign:
        if metric == SECONDS:
            return duration(value) if value >= 60 else f"{value:.1f} s"
        return f"{value / 2**20:,.0f} MiB"
    return plus + number(value)
