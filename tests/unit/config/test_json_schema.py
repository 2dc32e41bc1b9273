"""The schema that editors use, and the types that `list` prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from framework.config.json_schema import run_file_schema
from framework.config.types import type_text

CONF = Path(__file__).parents[3] / "conf"


def fits(value: Any, schema: Any, definitions: dict[str, Any]) -> bool:
    """As much of JSON Schema as the framework's own schema uses."""
    if "$ref" in schema:
        return fits(value, definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in schema:
        return any(fits(value, each, definitions) for each in schema["anyOf"])
    if "const" in schema or "enum" in schema:
        return value in schema.get("enum", [schema.get("const")])
    if isinstance(value, dict):
        known = schema.get("properties", {})
        closed = schema.get("additionalProperties") is False
        inner = all(fits(item, known[key], definitions) for key, item in value.items() if key in known)
        return "object" in schema.get("type", "") and inner and not (closed and set(value) - set(known))
    if isinstance(value, list) and "items" in schema:
        return all(fits(item, schema["items"], definitions) for item in value)
    kinds = {
        "integer": int,
        "number": (int, float),
        "string": str,
        "boolean": bool,
        "array": list,
        "object": dict,
        "null": type(None),
    }
    types = schema.get("type", list(kinds))
    return any(
        isinstance(value, kinds[kind])
        for kind in ([types] if isinstance(types, str) else types)
        if kind in kinds
    )


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return run_file_schema()


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_run_files_fit(path: Path, schema: dict[str, Any]) -> None:
    assert fits(yaml.safe_load(path.read_text()), schema, schema["$defs"])


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("policy: {name: rgd, clip: 2}", True),
        ("policy: {clip: 2}", True),
        ("policy: {name: rgd, clipp: 2}", False),
        ("policy: {name: nothing}", False),
        ("train: {epoch: 2}", False),
        ("defaults: [base, {policy: rgd}]", True),
        ("colour: red", False),
        ("data: {transforms: [{name: long_tail, factor: 3}]}", True),
        ("data: {transforms: [{name: long_tail, facter: 3}]}", False),
    ],
)
def test_fragments(text: str, good: bool, schema: dict[str, Any]) -> None:
    assert fits(yaml.safe_load(text), schema, schema["$defs"]) is good


def test_descriptions_reach_the_editor(schema: dict[str, Any]) -> None:
    assert "Name of the run" in schema["properties"]["name"]["description"]


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "number", "exclusiveMinimum": 0}, "number > 0"),
        ({"type": "number", "minimum": 0, "maximum": 1}, "number >= 0 and <= 1"),
        ({"enum": ["a", "b"], "type": "string"}, "a | b"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "whole number | null"),
        ({"type": "array", "items": {"type": "string"}}, "list of text"),
        (
            {"type": "array", "prefixItems": [{"type": "number"}, {"type": "number"}]},
            "list of number, number",
        ),
        ({"$ref": "#/$defs/Mode"}, "x | y"),
        ({}, "anything"),
    ],
)
def test_types_in_words(schema: dict[str, Any], text: str) -> None:
    assert type_text(schema, {"Mode": {"enum": ["x", "y"]}}) == text
