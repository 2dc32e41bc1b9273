"""usage: python -m framework list [KIND [NAME]] [plugins=[a,b]]

List the registered components; with a kind and a name, every option of one component.

  KIND            dataset, transform, model, task, policy, regularizer, optimizer, schedule, engine,
                  callback, reporter, artifact
  plugins=[a,b]   include the components of these plugins
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from framework.cli.arguments import parse
from framework.cli.output import console
from framework.config.text import scalar
from framework.config.types import type_text
from framework.errors import EXIT_OK, UserError
from framework.naming import listed, nearest
from framework.registry import KINDS, Component, registry


def main(words: Sequence[str]) -> int:
    """Print components or the options of one."""
    arguments = parse(words)
    arguments.expect_names(0, 2, "list [KIND [NAME]]")
    arguments.load_plugins()
    kind, name = (*arguments.names, "", "")[:2]
    if kind and kind not in KINDS:
        raise UserError(f"unknown kind '{kind}'{nearest(kind, KINDS)}{listed(KINDS)}")
    out = console()
    if name:
        _print_options(out, registry.get(kind, name))
    else:
        for each in [kind] if kind else KINDS:
            _print_names(out, each)
    return EXIT_OK


def _print_names(out: Console, kind: str) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, min_width=18)
    table.add_column(overflow="fold")
    for name in registry.names(kind):
        table.add_row(Text(f"  {name}"), Text(registry.get(kind, name).summary, style="dim"))
    out.print(Text(kind, style="bold"))
    out.print(table)


def _print_options(out: Console, component: Component) -> None:
    """A line `option: type = default` for each, its description below."""
    out.print(Text(f"{component.kind} {component.name}", style="bold"))
    out.print(Text(component.summary))
    schema = component.model.model_json_schema()
    if "$ref" in schema:
        # a component that holds others of its kind, and so perhaps itself, is one of its own definitions
        schema = {**schema["$defs"][schema["$ref"].rpartition("/")[2]], "$defs": schema["$defs"]}
    options = {key: value for key, value in schema["properties"].items() if key != "name"}
    for key, option in options.items():
        types = type_text(option, schema.get("$defs", {}))
        out.print()
        out.print(Text.assemble("  ", (key, "bold"), f": {types}{_default(option)}"))
        if "description" in option:
            out.print(Padding(Text(option["description"], style="dim"), (0, 0, 0, 6), expand=False))
    if not options:
        out.print("  no options")


def _default(option: dict[str, Any]) -> str:
    if "default" not in option:
        return " (required)"
    value = option["default"]
    if isinstance(value, list):
        return f" = [{', '.join(scalar(item) for item in value)}]"
    return "" if isinstance(value, dict) and value else f" = {scalar(value)}"
