"""What `list` and `schema` share: the plugins that an override names."""

from __future__ import annotations

from framework import plugins
from framework.cli.arguments import Arguments
from framework.errors import UserError


def load_plugins(arguments: Arguments) -> None:
    """Load what `plugins=[a,b]` names; nothing else may be overridden.

    Raises:
        UserError: another override or `conf=` was given.
        PluginError: a plugin cannot be loaded.
    """
    if arguments.conf is not None:
        raise UserError("this verb takes no configuration; plugins=[a,b] includes plugins")
    for word in arguments.overrides:
        key, _, value = word.partition("=")
        if key != "plugins":
            raise UserError(f"cannot use '{word}' here; only plugins=[a,b]")
        names = (name.strip(" '\"") for name in value.strip("[]").split(","))
        plugins.load([name for name in names if name])
