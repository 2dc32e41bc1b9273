"""The page of a run's data: what is doubtful, counts, samples to look at, distributions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from framework.data.faults import Reader
from framework.data.preview import preview
from framework.data.survey.findings import findings
from framework.data.survey.survey import Survey
from framework.reporting.report.blocks import Block, Cell, Gallery, Page, Plot, Remarks, Section, Table, Text
from framework.reporting.report.plots import color

#: groups of which samples are shown, and samples of each
_MAX_GROUPS = 16
_PER_GROUP = 5
_MAX_HISTOGRAMS = 8
_MAX_BINS = 40
_MAX_FEATURES = 200


def data_page(survey: Survey, name: str) -> Page:
    """The page of the data of the configuration called `name`."""
    data = survey.data
    sizes = ", ".join(f"{split.size:,} {split.name}" for split in survey.splits)
    sections = [
        Section(
            "doubts",
            "Before you train on it",
            [Remarks(findings(survey), "No check found anything unusual.")],
        ),
        Section("counts", "Counts", [count_table(survey)]),
        Section("samples", "Samples", _samples(survey)),
        Section("values", "Values", _values(survey)),
        Section("duplicates", "Duplicates", [_duplicates(survey)]),
    ]
    return Page(
        title=f"Data of {name}",
        question=f"What is in the data of {name}?",
        answers=[f"{data.source}: {sizes} samples; {data.spec.kind}; {len(data.groups):,} groups."],
        details=[
            ("source", data.source),
            ("groups by", ", ".join(data.groups.columns) or "none"),
        ],
        sections=sections,
    )


def count_table(survey: Survey) -> Table:
    """Samples per split: of all, each class, and each group that is no class."""
    names = [split.name for split in survey.splits]
    rows: list[list[Cell]] = [["all", *(split.size for split in survey.splits)]]
    marked = set()
    counted: list[tuple[str, Sequence[str], Mapping[str, np.ndarray]]] = []
    if survey.class_counts:
        counted.append(("class", survey.class_names, survey.class_counts))
    if survey.data.groups.columns not in ((), ("label",)):
        counted.append(("group", survey.data.groups.names, survey.group_counts))
    for what, labels, counts in counted:
        for place, label in enumerate(labels):
            cells = [int(counts[split][place]) for split in names]
            if 0 in cells:
                marked.add(len(rows))
            rows.append([f"{what} {label}", *cells])
    return Table("Samples per split", ["", *names], rows, frozenset(marked))


def _samples(survey: Survey) -> list[Block]:
    """A gallery per group of the training split, the smallest groups first where there are many."""
    training = survey.data.splits["train"]
    groups = survey.data.groups.assign(training, "train")
    counts = survey.group_counts["train"]
    there = np.flatnonzero(counts)
    reader = Reader(training, survey.splits[0].faults)
    shown = np.sort(there[np.argsort(counts[there], kind="stable")][:_MAX_GROUPS])
    blocks: list[Block] = []
    if len(shown) < len(there):
        blocks.append(Text(f"Of {len(there):,} groups, the {len(shown)} smallest."))
    for group in shown.tolist():
        members = np.flatnonzero(groups == group)
        places = np.linspace(0, len(members) - 1, min(_PER_GROUP, len(members))).astype(np.int64)
        readable, _, _ = reader.fetch(members[places], None)
        chosen = readable.tolist()
        caption = f"Group {survey.data.groups.names[group]}: {len(members):,} training samples"
        samples = [
            {
                "title": f"target {entry.target}",
                "image": entry.image,
                "fields": entry.fields,
                "facts": [("position", f"{position:,}")],
            }
            for position, entry in zip(chosen, preview(training, chosen), strict=True)
        ]
        blocks.append(Gallery(caption, samples))
    return blocks


def _values(survey: Survey) -> list[Block]:
    blocks: list[Block] = []
    if survey.columns:
        rows: list[list[Cell]] = [
            [c.name, c.kind, *(c.missing[s.name] for s in survey.splits), c.content] for c in survey.columns
        ]
        missing = [f"missing in {split.name}" for split in survey.splits]
        marked = frozenset(n for n, c in enumerate(survey.columns) if c.constant or any(c.missing.values()))
        caption = "Columns as they stand in the file"
        blocks.append(Table(caption, ["column", "kind", *missing, "in training"], rows, marked))
    elif survey.splits[0].moments is not None:
        blocks.append(_moments(survey))
    return [*blocks, *_histograms(survey)]


def _moments(survey: Survey) -> Table:
    what = "channel" if len(survey.data.spec.input_shape) == 3 else "feature"
    columns = ["split", what, "smallest", "largest", "mean", "deviation", "missing", "infinite"]
    rows: list[list[Cell]] = []
    for split in survey.splits:
        moments = split.moments
        assert moments is not None
        parts = (moments.low, moments.high, moments.mean, moments.deviation)
        for place in range(min(len(moments.low), _MAX_FEATURES)):
            counts = (int(moments.missing[place]), int(moments.infinite[place]))
            rows.append([split.name, place, *(float(part[place]) for part in parts), *counts])
    return Table(f"Inputs per {what}", columns, rows)


def _histograms(survey: Survey) -> list[Block]:
    splits = survey.splits
    plots: list[Block] = []
    targets = {s.name: s.real_targets for s in splits if s.real_targets is not None}
    if targets:
        plots.append(_histogram("Targets", "target", targets))
    lengths = {s.name: s.lengths for s in splits if s.lengths is not None}
    if lengths:
        plots.append(_histogram("Lengths of the texts", "tokens", lengths))
    numeric = [column for column in survey.columns if column.values]
    for column in numeric[:_MAX_HISTOGRAMS]:
        plots.append(_histogram(f"Column {column.name}", column.name, column.values))
    values = {s.name: s.values for s in splits if s.values is not None}
    if values and not survey.columns:
        pooled = {name: part.reshape(-1) for name, part in values.items()}
        title = "Input values" if len(survey.data.spec.input_shape) == 3 else "Input values, all features"
        plots.append(_histogram(title, "value", pooled))
    return plots


def _histogram(title: str, x: str, values: Mapping[str, np.ndarray]) -> Plot:
    """Shares of each split per bin, over bins that all splits have in common."""
    known = {name: part[np.isfinite(part)] for name, part in values.items()}
    together = np.concatenate(list(known.values()))
    fewest = min((len(part) for part in known.values() if len(part)), default=1)
    bins = min(_MAX_BINS, 4 * math.ceil(fewest ** (1 / 3)))
    edges = np.histogram_bin_edges(together if len(together) else np.zeros(1), bins=bins)
    counts = {name: np.histogram(part, edges)[0] for name, part in known.items()}
    middles = ((edges[:-1] + edges[1:]) / 2).tolist()
    traces = [
        {
            "type": "scatter",
            "mode": "lines",
            "line": {"shape": "hvh", "color": color(place), "width": 2},
            "name": name,
            "x": middles,
            "y": (count / max(int(count.sum()), 1)).tolist(),
        }
        for place, (name, count) in enumerate(counts.items())
    ]
    rows: list[list[Cell]] = [
        [float(edges[place]), float(edges[place + 1]), *(int(count[place]) for count in counts.values())]
        for place in range(len(edges) - 1)
    ]
    table = Table(title, ["from", "to", *counts], rows)
    spans = [f"{name} {part.min():.6g} to {part.max():.6g}" for name, part in known.items() if len(part)]
    layout = {
        "xaxis": {"title": {"text": x}},
        "yaxis": {"title": {"text": "share of the split"}, "rangemode": "tozero"},
    }
    return Plot(title, f"From {', '.join(spans) or 'no values'}.", traces, layout, table)


def _duplicates(survey: Survey) -> Block:
    if not survey.duplicates:
        return Text("No two samples that were read have the same inputs.")
    rows: list[list[Cell]] = [
        [d.other_split, d.other_position, d.split, d.position, "equal" if d.same_target else "different"]
        for d in sorted(survey.duplicates, key=lambda d: (not d.across, d.same_target))
    ]
    marked = frozenset(place for place, row in enumerate(rows) if row[0] != row[2] or row[4] == "different")
    columns = ["split", "position", "same inputs as in", "position there", "targets"]
    return Table("Samples with the inputs of an earlier one", columns, rows, marked)
