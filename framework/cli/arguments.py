"""The words after a verb: positional names, `conf=`, `key=value` overrides and `--flag value`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from framework import plugins
from framework.config.load import LoadedConfig, load
from framework.config.schema import RunConfig
from framework.config.sources import available
from framework.errors import UserError
from framework.naming import listed, nearest
from framework.parallel.world import World
from framework.run_folder import is_run_folder


@dataclass(frozen=True)
class Arguments:
    """What a verb was given.

    Attributes:
        names: words without `=`, in order.
        conf: value of `conf=`, None when absent.
        overrides: the other words with `=`, and `~key`.
        flags: `--out FILE` as {"out": "FILE"}.
    """

    names: tuple[str, ...]
    conf: str | None
    overrides: tuple[str, ...]
    flags: dict[str, str]

    def load(self) -> LoadedConfig:
        """The configuration of `conf=`.

        Raises:
            UserError: there is no `conf=`, or a word is neither an override nor expected.
            ConfigError: the configuration has faults.
        """
        if self.conf is None:
            raise UserError(f"conf=FILE is missing{listed(available(), 'available')}")
        return load(self.conf, self.overrides, world_size=World.detect().size)

    def load_plugins(self) -> None:
        """Load what `plugins=[a,b]` names, for verbs that take nothing else.

        Raises:
            UserError: another override or `conf=` was given.
            PluginError: a plugin cannot be loaded.
        """
        if self.conf is not None:
            raise UserError("this verb takes no configuration; plugins=[a,b] includes plugins")
        for word in self.overrides:
            key, _, value = word.partition("=")
            if key != "plugins":
                raise UserError(f"cannot use '{word}' here; only plugins=[a,b]")
            names = (name.strip(" '\"") for name in value.strip("[]").split(","))
            plugins.load([name for name in names if name])

    def expect_names(self, low: int, high: int, usage: str) -> None:
        """Raises UserError unless between `low` and `high` names were given."""
        if not low <= len(self.names) <= high:
            words = " ".join(self.names) or "nothing"
            raise UserError(f"usage: python -m framework {usage}; got {words}")


def run_folder(name: str) -> Path:
    """The run folder that was named.

    Raises:
        UserError: it is none.
    """
    if not is_run_folder(Path(name)):
        raise UserError(f"{name} is not a run folder")
    return Path(name)


def starts_processes(config: RunConfig) -> bool:
    """Whether the run's processes are still to be started, by this one."""
    launch = config.launch
    return launch.name == "local" and launch.num_processes != 1 and World.detect().size == 1


def parse(words: Sequence[str], flags: Collection[str] = ()) -> Arguments:
    """Sort `words`; each of `flags` takes a value, as `--out FILE` or `--out=FILE`.

    Raises:
        UserError: an unknown flag, a flag without its value, or two `conf=`.
    """
    names: list[str] = []
    overrides: list[str] = []
    given: dict[str, str] = {}
    conf = None
    queue = list(words)
    while queue:
        word = queue.pop(0)
        if word.startswith("--"):
            flag, equals, value = word.removeprefix("--").partition("=")
            if flag not in flags:
                offered = [f"--{name}" for name in flags] + ["--help"]
                raise UserError(f"unknown option --{flag}{nearest(f'--{flag}', offered)}{listed(offered)}")
            if not equals and not queue:
                raise UserError(f"--{flag} needs a value")
            given[flag] = value if equals else queue.pop(0)
        elif word.startswith("conf="):
            if conf is not None:
                raise UserError(f"two configurations: conf={conf} and {word}; give one")
            conf = word.removeprefix("conf=")
        elif "=" in word or word.startswith("~"):
            overrides.append(word)
        else:
            names.append(word)
    return Arguments(tuple(names), conf, tuple(overrides), given)
