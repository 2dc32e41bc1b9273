"""A property of a JSON Schema in words, with its range."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NAMES = {
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "boolean": "true or false",
    "null": "null",
    "object": "section",
}
RANGES = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}


def type_text(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """`number > 0`, `kl | chi_square`, `list of whole number >= 1 | null`."""
    if "$ref" in schema:
        return type_text(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "const" in schema:
        return str(schema["const"])
    if "enum" in schema:
        return " | ".join(str(value) for value in schema["enum"])
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " | ".join(dict.fromkeys(type_text(each, definitions) for each in schema[key]))
    if schema.get("type") == "array":
        return f"list of {_items(schema, definitions)}"
    if schema.get("type") == "object" and "name" in schema.get("properties", {}):
        return type_text(schema["properties"]["name"], definitions)
    name = NAMES.get(schema.get("type", ""), "anything")
    limits = [f"{sign} {schema[key]:g}" for key, sign in RANGES.items() if key in schema]
    return " ".join([name, " and ".join(limits)]).strip()


def _items(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    if "prefixItems" in schema:
        return ", ".join(type_text(item, definitions) for item in schema["prefixItems"])
    return type_text(schema.get("items", {}), definitions)
