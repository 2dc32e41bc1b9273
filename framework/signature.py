"""What the signature and the docstring of a component say: its options, and what it is to be given."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from pydantic import Field
from pydantic.fields import FieldInfo

from framework.errors import PluginError


@dataclass(frozen=True)
class Signature:
    """A component as it describes itself.

    Attributes:
        summary: first paragraph of the docstring, on one line.
        options: keyword-only parameter -> type and field (default, description).
        supplied: names of the positional parameters.
    """

    summary: str
    options: dict[str, tuple[Any, FieldInfo]]
    supplied: tuple[str, ...]


def read_signature(
    target: Callable[..., Any], what: str, available: Collection[str], where: str
) -> Signature:
    """Options and supplied parameters of `target`.

    Args:
        target: the class or function.
        what: its kind with an article, for messages.
        available: what positional parameters may be called.
        where: name and module, for messages.

    Raises:
        PluginError: a parameter has no type, is of no use, or hides others; or there is no docstring.
    """
    hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target, include_extras=True)
    docstring = inspect.getdoc(target) or ""
    described = _argument_descriptions(docstring)
    supplied: list[str] = []
    options: dict[str, tuple[Any, FieldInfo]] = {}
    for parameter in inspect.signature(target).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY:
            if parameter.name not in hints:
                raise PluginError(f"{where}: option '{parameter.name}' needs a type annotation")
            default = ... if parameter.default is parameter.empty else parameter.default
            description = described.get(parameter.name)
            options[parameter.name] = (hints[parameter.name], Field(default, description=description))
        elif parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            if parameter.name not in available:
                raise PluginError(
                    f"{where}: parameter '{parameter.name}' is neither keyword-only (an option) nor one of"
                    f" what {what} is given ({', '.join(sorted(available)) or 'nothing'})"
                )
            supplied.append(parameter.name)
        else:
            raise PluginError(f"{where}: *args and **kwargs hide options; name each one")
    summary = docstring.split("\n\n")[0].replace("\n", " ").strip()
    if not summary:
        raise PluginError(f"{where}: needs a docstring; its first line is what `framework list` shows")
    return Signature(summary, options, tuple(supplied))


def _argument_descriptions(docstring: str) -> dict[str, str]:
    """The entries of a docstring's `Args:` section: name -> description on one line."""
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)+)", docstring, re.MULTILINE)
    if section is None:
        return {}
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", section.group(1), re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}
