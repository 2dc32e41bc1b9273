"""Plugins: Python files, folders, modules or installed packages that register components, loaded by name."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from framework.errors import PluginError
from framework.naming import listed, nearest
from framework.paths import is_file
from framework.registry import registry

FOLDER = Path("plugins")
GROUP = "framework.plugins"


def load(names: Iterable[str]) -> None:
    """Import each plugin that is not yet loaded; importing it registers its components.

    A name is, in this order: a path to a .py file or a folder with `__init__.py`, such a file or folder
    in `./plugins`, an installed entry point of the group `framework.plugins`, an importable module.

    Raises:
        PluginError: not found, fails to import, or registers what cannot be registered. A plugin that
            fails leaves nothing registered.
    """
    names = list(names)
    if names:
        # A plugin must meet the built-in names already taken, not the other way round.
        registry.load_all()
    for name in names:
        _load(name)


def _load(name: str) -> None:
    file = _find_file(name)
    if file is not None:
        _import_file(name, file)
        return
    if name.endswith(".py") or "/" in name:
        raise PluginError(f"plugin '{name}': no such file")
    entry = _entry_points().get(name)
    if entry is not None:
        _guarded(name, entry.module, None, entry.load)
    elif _is_module(name):
        _guarded(name, name, None, lambda: importlib.import_module(name))
    else:
        offered = [*_folder_names(), *_entry_points()]
        raise PluginError(
            f"plugin '{name}' is neither a file or folder under plugins/, nor an installed plugin,"
            f" nor an importable module{nearest(name, offered)}{listed(offered, 'found')}"
        )


def _find_file(name: str) -> Path | None:
    candidates = [Path(name)] if name.endswith(".py") else [Path(name, "__init__.py")] if "/" in name else []
    candidates += [FOLDER / f"{name}.py", FOLDER / name / "__init__.py"]
    return next((path.resolve() for path in candidates if is_file(path)), None)


def _import_file(name: str, file: Path) -> None:
    stem = file.parent.name if file.name == "__init__.py" else file.stem
    # Under this name the objects of ./plugins can be pickled and found again by worker processes.
    module_name = f"{FOLDER.name}.{stem}"
    loaded = sys.modules.get(module_name)
    if loaded is not None:
        if Path(loaded.__file__ or "").resolve() != file:
            raise PluginError(f"plugin '{name}': {file} and {loaded.__file__} have the same name; rename one")
        return
    spec = importlib.util.spec_from_file_location(module_name, file)
    assert spec is not None, file
    assert spec.loader is not None, file
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    root = file.parent if file.name == "__init__.py" else file
    loader = spec.loader
    _guarded(name, module_name, root, lambda: loader.exec_module(module))


def _guarded(name: str, module_name: str, root: Path | None, importing: Callable[[], object]) -> None:
    """Run `importing`; if it fails, forget what it registered and imported and say where it failed."""
    try:
        with registry.transaction():
            importing()
    except (Exception, SystemExit) as error:
        for imported in list(sys.modules):
            if imported == module_name or imported.startswith(f"{module_name}."):
                del sys.modules[imported]
        message = str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"
        raise PluginError(f"plugin '{name}' ({_place(error, module_name, root)}): {message}") from error


def _place(error: BaseException, module_name: str, root: Path | None) -> str:
    """file:line of the innermost frame of the plugin's own code, else of the innermost frame."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_shown(error.filename)}:{error.lineno}"
    frames = list(traceback.walk_tb(error.__traceback__))
    own = [
        (frame, line)
        for frame, line in frames
        if _belongs(frame.f_code.co_filename, frame.f_globals.get("__name__", ""), module_name, root)
    ]
    frame, line = (own or frames)[-1]
    return f"{_shown(frame.f_code.co_filename)}:{line}"


def _belongs(filename: str, module: str, module_name: str, root: Path | None) -> bool:
    if root is not None:
        return Path(filename).is_relative_to(root)
    return module == module_name or module.startswith(f"{module_name}.")


def _shown(filename: str) -> str:
    path = Path(filename)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else filename


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _folder_names() -> list[str]:
    if not FOLDER.is_dir():
        return []
    files = (path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")
    folders = (path.parent.name for path in FOLDER.glob("*/__init__.py"))
    return sorted([*files, *folders])


def _entry_points() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}
