"""Registering components: what a signature becomes, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import pytest
from pydantic import ValidationError

from framework.errors import ConfigError, PluginError
from framework.options import Count, Positive
from framework.registry import KINDS, ComponentConfig, Of, Registry, register, registry
from tests.registrations import rolled_back


@pytest.fixture(autouse=True)
def _put_back() -> Iterator[None]:
    with rolled_back():
        yield


def make(name: str = "thing") -> type:
    @register.policy(name)
    class Thing:
        """Does a thing.

        More about it.

        Args:
            size: how large it is,
                in metres.
            mode: which way.
        """

        def __init__(self, group_counts: Any, *, size: Positive = 2.0, mode: Literal["a", "b"] = "a") -> None:
            if size == 13:
                raise ValueError("13 brings bad luck")
            self.made_of = (group_counts, size, mode)

    return Thing


def test_a_signature_becomes_options() -> None:
    target = make()
    component = registry.get("policy", "thing")
    assert component.target is target
    assert component.summary == "Does a thing."
    assert component.supplied == ("group_counts",)
    fields = component.model.model_fields
    assert list(fields) == ["name", "size", "mode"]
    assert fields["size"].description == "how large it is, in metres."
    assert fields["mode"].default == "a"


def test_options_are_validated_by_their_types() -> None:
    make()
    model = registry.get("policy", "thing").model
    assert model.model_validate({"name": "thing", "size": 3}).options() == {"size": 3.0, "mode": "a"}
    for bad in ({"size": 0}, {"mode": "c"}, {"siz": 1}):
        with pytest.raises(ValidationError):
            model.model_validate({"name": "thing", **bad})


def test_a_component_is_built_from_options_and_what_it_asks_for() -> None:
    make()
    config = registry.get("policy", "thing").model.model_validate({"name": "thing", "mode": "b"})
    built = registry.build("policy", config, group_counts=[3, 4], batch_size=64)
    assert built.made_of == ([3, 4], 2.0, "b")


def test_a_refused_option_names_the_component() -> None:
    make()
    config = registry.get("policy", "thing").model.model_validate({"name": "thing", "size": 13})
    with pytest.raises(ConfigError, match="policy thing: 13 brings bad luck"):
        registry.build("policy", config, group_counts=[])


def test_a_component_inside_a_component_is_built_first() -> None:
    make("inner")

    @register.policy("outer")
    class Outer:
        """Holds another."""

        def __init__(self, *, inner: Annotated[ComponentConfig, Of("policy")], times: Count = 1) -> None:
            self.inner = inner

    model = registry.get("policy", "outer").model
    config = model.model_validate({"name": "outer", "inner": {"name": "inner", "size": 5}})
    built = registry.build("policy", config, group_counts=[1])
    assert built.inner.made_of == ([1], 5.0, "a")


def test_a_name_can_be_taken_once_per_kind() -> None:
    make("same")
    with pytest.raises(PluginError, match=r"policy 'same' of .*test_registry is already registered by"):
        make("same")


def test_the_same_name_is_free_in_another_kind() -> None:
    make("same")

    @register.callback("same")
    class Same:
        """Another thing."""

    assert registry.get("callback", "same").target is Same


def without_annotation() -> Any:
    class Bad:
        """Bad."""

        def __init__(self, *, size=1) -> None:  # type: ignore[no-untyped-def]
            pass

    return Bad


def with_keywords() -> Any:
    class Bad:
        """Bad."""

        def __init__(self, **options: int) -> None:
            pass

    return Bad


def with_unknown_supply() -> Any:
    class Bad:
        """Bad."""

        def __init__(self, weather: str) -> None:
            pass

    return Bad


def without_docstring() -> Any:
    class Bad:
        pass

    return Bad


@pytest.mark.parametrize(
    ("factory", "says"),
    [
        (without_annotation, "option 'size' needs a type annotation"),
        (with_keywords, r"\*args and \*\*kwargs hide options"),
        (with_unknown_supply, "parameter 'weather' is neither keyword-only"),
        (without_docstring, "needs a docstring"),
    ],
)
def test_refused_signatures(factory: Any, says: str) -> None:
    with pytest.raises(PluginError, match=says):
        register.policy("bad")(factory())
    assert "bad" not in registry.names("policy")


def test_an_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown policy 'rdg'; did you mean rgd"):
        registry.get("policy", "rdg")


def test_an_unknown_kind_offers_the_nearest() -> None:
    with pytest.raises(AttributeError, match="no kind 'polici'; did you mean policy"):
        _ = register.polici


def test_a_transaction_that_fails_leaves_nothing() -> None:
    def fail() -> None:
        with registry.transaction():
            make("half")
            raise RuntimeError("later in the module")

    with pytest.raises(RuntimeError):
        fail()
    assert "half" not in registry.names("policy")


def test_a_new_registry_is_empty_until_asked() -> None:
    assert all(not components for components in Registry()._components.values())


@pytest.mark.parametrize("kind", KINDS)
def test_every_built_in_component_is_described(kind: str) -> None:
    for name in registry.names(kind):
        component = registry.get(kind, name)
        assert component.summary
        for key, field in component.model.model_fields.items():
            # The options of torch's own classes are described by torch.
            described = field.description or key == "name" or component.summary.startswith("torch.optim.")
            assert described, f"{kind} {name}.{key} has no description under Args:"
