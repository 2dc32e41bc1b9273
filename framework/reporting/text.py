"""Numbers, durations and lines as people read them."""

from __future__ import annotations

import math
from collections.abc import Sequence

#: a piece of a line and how much it matters; 0 stays longest
Segment = tuple[int, str]


def number(value: float | None) -> str:
    """Four decimals, or four digits when the number is large or tiny; `-` for null."""
    if value is None:
        return "-"
    if not math.isfinite(value):
        return str(value)
    if value == 0 or 1e-3 <= abs(value) < 1e3:
        return f"{value:.4f}"
    return f"{value:.4g}"


def duration(seconds: float) -> str:
    """``1:02:03`` or ``2:03``."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def rate(per_second: float) -> str:
    """Samples per second, in three digits or more."""
    return f"{per_second:,.0f} samples/s" if per_second >= 100 else f"{per_second:.3g} samples/s"


def shorten(text: str, width: int) -> str:
    """The text, its middle left out where it is longer than `width`: both ends of a name tell it apart."""
    if len(text) <= width:
        return text
    if width <= 3:
        return text[:width]
    head = (width - 2) // 2
    return text[:head] + ".." + text[len(text) - (width - 2 - head) :]


def shorten_group(name: str, width: int) -> str:
    """A group's name; too long a one loses its columns (`3, water`), then its middle."""
    if len(name) <= width:
        return name
    pairs = [pair.partition("=") for pair in name.split(", ")]
    if all(equals for _, equals, _ in pairs):
        name = ", ".join(value for _, _, value in pairs)
    return shorten(name, width)


def fit(segments: Sequence[Segment], width: int | None, gap: str = "  ") -> str:
    """The segments in order on one line, without the least important ones that do not fit in `width`."""
    kept = list(segments)

    def joined() -> str:
        return gap.join(text for _, text in kept)

    while width is not None and len(kept) > 1 and len(joined()) > width:
        # The last of equally unimportant ones goes first.
        kept.pop(max(range(len(kept)), key=lambda place: (kept[place][0], place)))
    line = joined()
    return line if width is None else shorten(line, width)
