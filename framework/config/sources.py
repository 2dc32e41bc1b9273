"""Where configuration files are found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from framework.errors import ConfigError, Problem
from framework.naming import listed, nearest
from framework.paths import is_file, is_folder
from framework.run_folder.same_run import CONFIG

PACKAGE = Path(__file__).resolve().parent.parent
GROUPS = ("data", "model", "task", "policy", "optimizer", "schedule", "engine", "reporting")
RECIPES = "recipe"
#: the folder of files for `compare arms=`
ARMS = "arms"
#: folders of the configuration that hold no run files
_NO_RUNS = (*GROUPS, "launch", "sweep", RECIPES, ARMS)


@dataclass(frozen=True)
class SearchPath:
    """The folders that are searched for files of a defaults list, the first match wins."""

    folders: tuple[Path, ...]

    @staticmethod
    def of(file: Path) -> SearchPath:
        """Beside `file`, then ./conf, then the configuration that the package ships."""
        folders = (file.resolve().parent, Path("conf").resolve(), shipped())
        return SearchPath(tuple(dict.fromkeys(folder for folder in folders if folder.is_dir())))

    def find(self, name: str) -> Path | None:
        """The file of `policy/rgd` or `base`."""
        candidates = (folder / f"{name.removesuffix('.yaml')}.yaml" for folder in self.folders)
        return next((path for path in candidates if is_file(path)), None)

    def is_group(self, name: str) -> bool:
        """Whether `name` is a folder of options."""
        return bool(name) and any(is_folder(folder / name) for folder in self.folders)

    def options(self, group: str) -> list[str]:
        """The files of a group, or the top-level ones for an empty name."""
        return sorted({path.stem for folder in self.folders for path in (folder / group).glob("*.yaml")})


def shipped() -> Path:
    """The packaged `conf`: inside an installed package, beside it in a checkout."""
    inside = PACKAGE / "conf"
    return inside if inside.is_dir() else PACKAGE.parent / "conf"


def available() -> list[str]:
    """Every run file that `conf=` finds by name, e.g. `vit_rgd` or `paper/table_2`."""
    names = set()
    for folder in (Path("conf"), shipped()):
        for path in folder.rglob("*.yaml"):
            relative = path.relative_to(folder)
            if relative.parts[0] not in _NO_RUNS and relative.stem != "base":
                names.add(relative.with_suffix("").as_posix())
    return sorted(names)


def recipes() -> list[str]:
    """Every recipe that `conf=` finds by name, e.g. `recipe/jtt_spurious`."""
    folders = (Path("conf"), shipped())
    paths = (path.relative_to(folder) for folder in folders for path in (folder / RECIPES).rglob("*.yaml"))
    return sorted({path.with_suffix("").as_posix() for path in paths})


def locate(conf: str, offered: Callable[[], list[str]] = available) -> Path:
    """The file that `conf=` means: a path, a run folder, else a name under ./conf or the shipped one.

    Args:
        conf: what was given.
        offered: the names that a message lists.

    Raises:
        ConfigError: there is no such file; the message offers the nearest name.
    """
    path = Path(conf)
    if not conf or not is_file(path):
        if conf and is_file(path / CONFIG):
            return path / CONFIG
        path = _by_name(conf, offered)
    if path.suffix != ".yaml":
        raise ConfigError([Problem("", f"{conf}: a configuration file must end in .yaml")])
    return path


def locate_arms(file: str) -> Path:
    """The file that `arms=` means: a path, else a name in `arms` under ./conf or the shipped one.

    Raises:
        ConfigError: there is no such file; the message offers the nearest name.
    """
    if file.endswith(".yaml") and is_file(Path(file)):
        return Path(file)
    search = SearchPath((Path("conf").resolve(), shipped()))
    found = search.find(f"{ARMS}/{file}") if file else None
    if found is None:
        names = search.options(ARMS)
        message = f"no file of arms '{file}'{nearest(file, names)}{listed(names, 'available')}"
        raise ConfigError([Problem("arms", message)])
    return found


def _by_name(conf: str, offered: Callable[[], list[str]]) -> Path:
    name = conf.removesuffix(".yaml")
    found = (folder / f"{name}.yaml" for folder in (Path("conf"), shipped()))
    path = next((path for path in found if name and is_file(path)), None)
    if path is None and conf and is_folder(Path(conf)):
        raise ConfigError([Problem("", f"{conf} is a folder without {CONFIG}, so not a run")])
    if path is None:
        names = offered()
        message = f"no configuration '{conf}'{nearest(name, names)}{listed(names, 'available')}"
        raise ConfigError([Problem("", message)])
    return path


def shown(path: Path) -> str:
    """`path` as messages print it: relative to the working directory when it is below."""
    resolved, here = path.resolve(), Path.cwd()
    return str(resolved.relative_to(here)) if resolved.is_relative_to(here) else str(resolved)
