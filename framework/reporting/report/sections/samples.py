"""The training samples that counted most, shown."""

from __future__ import annotations

from framework.reporting.report.blocks import Block, Gallery, Section, Table, Text
from framework.reporting.report.most_weighted import most_weighted
from framework.reporting.report.read import Record, RunFiles
from framework.reporting.text import number


def section(run: RunFiles) -> Section | None:
    """A gallery; before the run has ended, only their numbers are known."""
    records = run.of("sample_weights")
    if not records:
        return None
    entries = most_weighted(records)
    batches = f"{len(records)} recorded batch{'es' if len(records) > 1 else ''}"
    if not entries:
        text = f"In {batches} no sample had more weight than ERM gives."
        return Section("samples", "Most up-weighted samples", [Text(text)])
    blocks: list[Block] = []
    if run.facts.samples:
        caption = (
            f"Training samples with the largest weights in {batches}, without augmentation. Hard"
            " samples, rare ones and wrong labels all end up here: look before you trust a large weight."
        )
        blocks.append(Gallery(caption, [_shown(sample) for sample in run.facts.samples]))
    rows = [
        [int(e["index"]), e["group"], e["weight"], e["sample_loss"], e["step"], e["times"]] for e in entries
    ]
    columns = ["index", "group", "times the weight of ERM", "loss", "at step", "times recorded"]
    blocks.append(Table("Most up-weighted training samples", columns, rows))
    return Section("samples", "Most up-weighted samples", blocks)


def _shown(sample: Record) -> dict[str, object]:
    facts = [
        ("weight", f"{number(float(sample['weight']))} x"),
        ("loss", number(float(sample["sample_loss"]))),
        ("step", f"{int(sample['step']):,}"),
        ("index", f"{int(sample['index']):,}"),
    ]
    title = str(sample.get("target", ""))
    group = str(sample.get("group", ""))
    if group not in (title, ""):
        facts.insert(0, ("group", group))
    return {
        "title": f"target {title}",
        "image": str(sample.get("image", "")),
        "fields": dict(sample.get("fields", {})),
        "facts": facts,
    }
