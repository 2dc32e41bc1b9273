"""Loading plugins by every kind of name, once each, and leaving nothing behind when one fails."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from framework import plugins
from framework.config.load import load
from framework.errors import ConfigError, PluginError
from framework.registry import registry
from tests.registrations import rolled_back

POLICY = """\
from framework.policies.base import Policy
from framework.registry import register


@register.policy("{name}")
class Mine(Policy):
    '''Counts nothing.

    Args:
        size: how much.
    '''

    def __init__(self, *, size: int = 1) -> None:
        pass

    def weights(self, samples):
        return samples.loss
"""

Write = Callable[[str, str], Path]


@pytest.fixture(autouse=True)
def _put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run in an empty folder, and forget the plugins of a test when it ends."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with rolled_back(tmp_path):
        yield


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(path: str, text: str) -> Path:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    return write


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("plugins/mine.py", "mine"),
        ("plugins/mine/__init__.py", "mine"),
        ("elsewhere/mine.py", "elsewhere/mine.py"),
        ("elsewhere/mine/__init__.py", "elsewhere/mine"),
        ("mine_module.py", "mine_module"),
        ("mine_package/inner.py", "mine_package.inner"),
    ],
)
def test_every_kind_of_name(path: str, name: str, write: Write) -> None:
    write(path, POLICY.format(name="mine"))
    assert "mine" not in registry.names("policy")
    plugins.load([name])
    assert "mine" in registry.names("policy")
    plugins.load([name, name])


def test_an_installed_entry_point(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("installed_module.py", POLICY.format(name="mine"))
    entry = EntryPoint("short", "installed_module", plugins.GROUP)
    monkeypatch.setattr(plugins, "_entry_points", lambda: {"short": entry})
    plugins.load(["short"])
    assert "mine" in registry.names("policy")
    with pytest.raises(PluginError, match=r"did you mean short\?"):
        plugins.load(["shrt"])


def test_a_folder_may_have_several_modules(write: Write) -> None:
    write("plugins/mine/__init__.py", "from . import policy\n")
    write("plugins/mine/policy.py", POLICY.format(name="mine"))
    plugins.load(["mine"])
    assert "mine" in registry.names("policy")


def test_nothing_is_loaded_that_is_not_named(write: Write) -> None:
    write("plugins/mine.py", "raise RuntimeError('must not run')\n")
    plugins.load([])
    with pytest.raises(PluginError, match="must not run"):
        plugins.load(["mine"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("\n\nimport not_there_at_all\n", r"plugins/bad.py:3\): ModuleNotFoundError: No module named"),
        ("def f(:\n", r"plugins/bad.py:1\): SyntaxError"),
        ("x = 1\n1 / 0\n", r"plugins/bad.py:2\): ZeroDivisionError"),
        ("import sys\nsys.exit(3)\n", r"plugins/bad.py:2\): SystemExit: 3"),
        (
            POLICY.format(name="erm"),
            r"plugins/bad.py:5\): policy 'erm' .* already registered by framework.policies.erm",
        ),
        (POLICY.format(name="mine").replace("'''", "#"), r"plugins/bad.py"),
    ],
)
def test_a_plugin_that_fails(text: str, says: str, write: Write) -> None:
    write("plugins/bad.py", text)
    with pytest.raises(PluginError, match=f"plugin 'bad' \\(.*{says}"):
        plugins.load(["bad"])


def test_a_plugin_that_fails_leaves_nothing_and_can_be_mended(write: Write) -> None:
    write("plugins/bad/__init__.py", "from . import policy\nraise RuntimeError('half way')\n")
    write("plugins/bad/policy.py", POLICY.format(name="mine"))
    with pytest.raises(PluginError, match="half way"):
        plugins.load(["bad"])
    assert "mine" not in registry.names("policy")
    write("plugins/bad/__init__.py", "from . import policy  # mended\n")
    plugins.load(["bad"])
    assert "mine" in registry.names("policy")


def test_a_failure_inside_another_module_is_placed_in_the_plugin(write: Write) -> None:
    write("helper_of_mine.py", "def fail():\n    raise RuntimeError('no')\n")
    write("plugins/bad.py", "import helper_of_mine\nhelper_of_mine.fail()\n")
    with pytest.raises(PluginError, match=r"plugins/bad.py:2\): RuntimeError: no"):
        plugins.load(["bad"])


@pytest.mark.parametrize("name", ["nowhere/mine.py", "nowhere/mine", "mine.py"])
def test_a_path_that_is_not_there(name: str) -> None:
    with pytest.raises(PluginError, match="no such file"):
        plugins.load([name])


def test_a_name_that_is_nothing_offers_the_nearest(write: Write) -> None:
    write("plugins/tail.py", "")
    with pytest.raises(PluginError, match=r"did you mean tail\? \(found: tail\)"):
        plugins.load(["tial"])


@pytest.mark.parametrize("name", ["x" * 300, "", "a b", "..", "a..b", ".a"])
def test_a_name_that_no_plugin_can_have(name: str) -> None:
    with pytest.raises(PluginError, match="is neither"):
        plugins.load([name])


def test_two_files_of_one_name(write: Write) -> None:
    write("plugins/mine.py", "")
    write("elsewhere/mine.py", "")
    plugins.load(["mine"])
    with pytest.raises(PluginError, match="have the same name"):
        plugins.load(["elsewhere/mine.py"])


def test_a_configuration_loads_the_plugins_that_it_names(write: Write) -> None:
    write("plugins/mine.py", POLICY.format(name="mine"))
    run = "defaults: [vit_rgd, _self_]\npolicy: {name: mine, size: 3}\n"
    write("without.yaml", run)
    write("with.yaml", f"plugins: [mine]\n{run}")
    with pytest.raises(ConfigError, match="there is no 'mine'"):
        load("without.yaml")
    loaded = load("with.yaml")
    assert loaded.config.policy.options() == {"size": 3}


def test_a_broken_plugin_is_one_problem_among_others(write: Write) -> None:
    write("plugins/bad.py", "1 / 0\n")
    with pytest.raises(ConfigError) as caught:
        load("vit_rgd", ["plugins=[bad]", "policy={name: of_bad}", "train.epochs=0"])
    assert [problem.path for problem in caught.value.problems] == ["plugins.0", "train.epochs"]
