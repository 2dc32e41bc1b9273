"""What a page is made of: sections of texts, tables, plots and galleries."""

from __future__ import annotations

import base64
import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from framework.reporting.text import number

Cell = str | int | float | None
#: rows of a table that are shown under a plot; the CSV file has all
MAX_ROWS = 200


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True)
class Remarks:
    """A list of things that a reader should know before believing the numbers.

    Attributes:
        items: one sentence or two each.
        nothing: what to say without any.
        alarming: whether they are a warning.
    """

    kind: ClassVar[str] = "remarks"
    items: Sequence[str]
    nothing: str
    alarming: bool = True


@dataclass(frozen=True)
class Table:
    """Rows under named columns; the CSV file holds full precision.

    Attributes:
        caption: what the table says, and the name of its file.
        columns: one heading per column.
        rows: one cell per column; the first one names the row.
        marked: places of the rows that stand out.
        links: row -> address behind its first cell.
    """

    kind: ClassVar[str] = "table"
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    marked: frozenset[int] = frozenset()
    links: Mapping[int, str] | None = None

    @property
    def shown(self) -> list[int]:
        """The places of the rows on the page: all, or evenly chosen ones with the first and the last."""
        count = len(self.rows)
        if count <= MAX_ROWS:
            return list(range(count))
        return sorted({round(place * (count - 1) / (MAX_ROWS - 1)) for place in range(MAX_ROWS)})

    @property
    def numeric(self) -> list[bool]:
        """Whether a column holds numbers."""
        return [
            any(_is_number(row[column]) for row in self.rows)
            and all(row[column] is None or _is_number(row[column]) for row in self.rows)
            for column in range(len(self.columns))
        ]

    def shown_cell(self, value: Cell) -> str:
        """A cell as the page shows it."""
        if isinstance(value, int) and not isinstance(value, bool):
            return f"{value:,}"
        if value is None:
            return ""
        return number(value) if isinstance(value, float) else str(value)

    @property
    def csv(self) -> str:
        """A data URI of the table as CSV, UTF-8."""
        file = io.StringIO()
        writer = csv.writer(file)
        writer.writerow(self.columns)
        writer.writerows([_harmless(cell) for cell in row] for row in self.rows)
        content = file.getvalue().encode(errors="backslashreplace")
        return "data:text/csv;charset=utf-8;base64," + base64.b64encode(content).decode()

    @property
    def file_name(self) -> str:
        """What a browser saves the CSV as."""
        words = "".join(c if c.isalnum() and c.isascii() else "-" for c in self.caption.lower())
        return "-".join(part for part in words.split("-") if part)[:60] + ".csv"


@dataclass(frozen=True)
class Plot:
    """A Plotly figure with its values.

    Attributes:
        title: what it shows.
        alt: the same in one or two sentences, for those who do not see it.
        traces: Plotly traces; a colour `@NAME` follows the page's light or dark scheme.
        layout: Plotly layout beyond the page's own.
        table: the values.
        wide: takes the whole width of the page.
        values_open: the table is shown without being asked for.
    """

    kind: ClassVar[str] = "plot"
    title: str
    alt: str
    traces: Sequence[Mapping[str, Any]]
    layout: Mapping[str, Any]
    table: Table
    wide: bool = False
    values_open: bool = False

    @property
    def figure(self) -> dict[str, Any]:
        """What the page's script draws: NaN and infinities are gaps, and no text is taken for markup."""
        figure: dict[str, Any] = _plain({"data": list(self.traces), "layout": dict(self.layout)})
        return figure


@dataclass(frozen=True)
class Gallery:
    """Samples to look at.

    Attributes:
        caption: what they have in common.
        samples: `title`, `image` (data URI or empty), `fields` (name -> text) and `facts` (label, text) each.
    """

    kind: ClassVar[str] = "gallery"
    caption: str
    samples: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Facts:
    """Labels with texts."""

    kind: ClassVar[str] = "facts"
    rows: Sequence[tuple[str, str]]


Block = Text | Remarks | Table | Plot | Gallery | Facts


@dataclass(frozen=True)
class Section:
    """One heading of a page with what is under it.

    Attributes:
        id: anchor in the page.
        folded: closed until a reader opens it, because it is long.
    """

    id: str
    title: str
    blocks: Sequence[Block]
    folded: bool = False


@dataclass(frozen=True)
class Page:
    """A whole report.

    Attributes:
        title: of the document.
        question: what the report answers.
        answers: the verdict, in paragraphs.
        details: label and text of what identifies the run or study.
        notice: why the numbers are preliminary, empty if they are not.
    """

    title: str
    question: str
    answers: Sequence[str]
    details: Sequence[tuple[str, str]]
    sections: Sequence[Section]
    notice: str = ""


def _is_number(value: Cell) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _harmless(cell: Cell) -> Cell:
    """Spreadsheets run a text that begins like a formula; an apostrophe makes it a text."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in "=+-@\t\r" and cell else cell


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        # Plotly reads some tags, links among them, in every text; it turns entities back.
        return value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
