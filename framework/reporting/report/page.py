"""A page as one HTML file: text escaped, script, style and plotting library inside."""

from __future__ import annotations

import base64
import gzip
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from framework.reporting.report.blocks import Page, Plot


def render(page: Page) -> str:
    """The whole document. Everything that is not markup of the templates is escaped."""
    has_plots = any(isinstance(block, Plot) for section in page.sections for block in section.blocks)
    return (
        _environment().get_template("page.html").render(page=page, library=_library() if has_plots else None)
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("framework.reporting.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # JSON inside a script element: `<` and its kin are written as escapes, so nothing can close it.
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "allow_nan": False}
    return environment


@cache
def _library() -> str:
    """plotly.js, compressed, in base64: 1.9 MB instead of 4.8; the page's script unpacks it.

    The file is read without importing plotly, which would take longer than writing the whole report.
    """
    spec = find_spec("plotly")
    assert spec is not None, "plotly is a dependency"
    source = Path(spec.origin or "").parent / "package_data" / "plotly.min.js"
    return base64.b64encode(gzip.compress(source.read_bytes(), 6, mtime=0)).decode()
