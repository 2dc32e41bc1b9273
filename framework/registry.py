"""One flat dictionary of components per kind.

A component is a class or function registered under a name. Its keyword-only parameters are its
options: they become a frozen pydantic model, so one signature is the constructor, the schema of
the YAML section and the text of `framework list`. Its positional parameters are supplied by the
assembly (a component takes those it names)::

    @register.policy("asymmetric")
    class Asymmetric(Policy):
        \"\"\"Up-weights the largest losses.

        Args:
            tail: share of the batch that is up-weighted.
        \"\"\"

        def __init__(self, *, tail: OpenFraction = 0.1) -> None: ...
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, create_model
from pydantic_core import core_schema

from framework.errors import ConfigError, PluginError, Problem
from framework.naming import listed, nearest
from framework.signature import read_signature

Target = TypeVar("Target", bound=Callable[..., Any])

#: kind -> (packages whose modules register the built-in components, what the assembly supplies)
KINDS: dict[str, tuple[tuple[str, ...], frozenset[str]]] = {
    "dataset": (("framework.data.sources",), frozenset({"seed", "on_error"})),
    "transform": (("framework.data.transforms",), frozenset({"seed", "on_error"})),
    "model": (("framework.models",), frozenset({"spec"})),
    "task": (("framework.tasks",), frozenset({"spec", "class_counts", "class_shares"})),
    "policy": (
        ("framework.policies",),
        frozenset({"group_counts", "group_shares", "group_names", "class_shares", "class_names"})
        | {"batch_size", "updates_per_epoch"},
    ),
    "regularizer": (("framework.regularizers",), frozenset({"group_counts", "spec"})),
    "optimizer": (("framework.optim.optimizers",), frozenset({"parameters"})),
    "schedule": (("framework.optim.schedules",), frozenset({"num_steps"})),
    "engine": (("framework.engines",), frozenset({"settings"})),
    "callback": (("framework.callbacks",), frozenset()),
    "reporter": (("framework.reporting",), frozenset({"run_dir"})),
    "artifact": (("framework.artifacts",), frozenset()),
}


class ComponentConfig(BaseModel):
    """The validated options of one component: the `name` of the section and its keyword options."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
    name: str

    def options(self) -> dict[str, Any]:
        """The keyword options, nested component sections still as `ComponentConfig`."""
        fields = type(self).model_fields
        return {key: getattr(self, key) for key in fields if key != "name"}


@dataclass(frozen=True)
class Of:
    """Marks a field as a section that names a component: ``Annotated[ComponentConfig, Of("policy")]``."""

    kind: str

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        models = [registry.get(self.kind, name).model for name in registry.names(self.kind)]
        if not models:
            return handler(source)
        return core_schema.tagged_union_schema(
            {model.model_fields["name"].default: handler.generate_schema(model) for model in models},
            discriminator="name",
        )


@dataclass(frozen=True)
class Component:
    """A registered class or function, its option model, and what the assembly must supply."""

    kind: str
    name: str
    target: Callable[..., Any]
    summary: str
    model: type[ComponentConfig]
    supplied: tuple[str, ...]

    def build(self, config: ComponentConfig, **supplied: Any) -> Any:
        """Call the target with its options and with those of `supplied` that it names.

        Raises:
            ConfigError: the component refused its options (it raised ValueError).
        """
        options = {key: _build_nested(self.kind, value, supplied) for key, value in config.options().items()}
        try:
            return self.target(**{name: supplied[name] for name in self.supplied}, **options)
        except ValueError as error:
            raise ConfigError([Problem(f"{self.kind} {self.name}", str(error))]) from error


class Registry:
    """All components by kind and name. Built-in ones are imported when their kind is first asked for."""

    def __init__(self) -> None:
        self._components: dict[str, dict[str, Component]] = {kind: {} for kind in KINDS}
        self._loaded: set[str] = set()

    def add(self, kind: str, name: str, target: Callable[..., Any]) -> None:
        """Register `target`; the name must be free.

        Raises:
            PluginError: the name is taken, or the signature asks for what the assembly does not supply.
        """
        taken = self._components[kind].get(name)
        if taken is not None:
            raise PluginError(
                f"{kind} '{name}' of {target.__module__} is already registered by {taken.target.__module__};"
                " choose another name"
            )
        self._components[kind][name] = _describe(kind, name, target)

    def load(self, kind: str) -> None:
        """Import the packages that register the built-in components of `kind`."""
        if kind in self._loaded:
            return
        self._loaded.add(kind)
        try:
            for package_name in KINDS[kind][0]:
                package = importlib.import_module(package_name)
                for module in pkgutil.iter_modules(getattr(package, "__path__", [])):
                    importlib.import_module(f"{package_name}.{module.name}")
        except BaseException:
            # Asked again it must fail again: a part of the components would pass for all of them.
            self._loaded.discard(kind)
            raise

    def load_all(self) -> None:
        """Import the built-in components of every kind."""
        for kind in KINDS:
            self.load(kind)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What is registered inside stays only if the block does not raise."""
        before = {kind: dict(components) for kind, components in self._components.items()}
        try:
            yield
        except BaseException:
            self._components = before
            raise

    def names(self, kind: str) -> list[str]:
        """The registered names of `kind`, sorted."""
        self.load(kind)
        return sorted(self._components[kind])

    def get(self, kind: str, name: str) -> Component:
        """The component registered under `name`.

        Raises:
            ConfigError: no such component; the message offers the nearest name.
        """
        self.load(kind)
        if name not in self._components[kind]:
            message = f"unknown {kind} '{name}'{nearest(name, self._components[kind])}"
            raise ConfigError([Problem(kind, f"{message}{listed(self.names(kind))}")])
        return self._components[kind][name]

    def build(self, kind: str, config: ComponentConfig, **supplied: Any) -> Any:
        """Build the component that `config` names."""
        return self.get(kind, config.name).build(config, **supplied)


class Register:
    """The decorators: ``@register.policy("name")`` and one for every other kind."""

    def __getattr__(self, kind: str) -> Callable[[str], Callable[[Target], Target]]:
        if kind not in KINDS:
            raise AttributeError(f"no kind '{kind}'{nearest(kind, KINDS)}{listed(KINDS)}")

        def name_it(name: str) -> Callable[[Target], Target]:
            def add(target: Target) -> Target:
                registry.add(kind, name, target)
                return target

            return add

        return name_it


def _build_nested(kind: str, value: Any, supplied: Mapping[str, Any]) -> Any:
    if isinstance(value, ComponentConfig):
        return registry.build(kind, value, **supplied)
    if isinstance(value, (list, tuple)):
        return type(value)(_build_nested(kind, item, supplied) for item in value)
    if isinstance(value, dict):
        return {key: _build_nested(kind, item, supplied) for key, item in value.items()}
    return value


def _describe(kind: str, name: str, target: Callable[..., Any]) -> Component:
    """Read name, options and what is supplied from the signature and the docstring."""
    where = f"{kind} '{name}' ({target.__module__})"
    signature = read_signature(target, f"a {kind}", KINDS[kind][1], where)
    fields: dict[str, Any] = {"name": (Literal[name], name), **signature.options}
    model = create_model(
        f"{kind}_{name}",
        __base__=ComponentConfig,
        __doc__=signature.summary,
        __module__=target.__module__,
        **fields,
    )
    return Component(kind, name, target, signature.summary, model, signature.supplied)


registry = Registry()
register = Register()
