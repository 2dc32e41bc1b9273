"""JSON Schema of run files, for editors."""

from __future__ import annotations

from typing import Any

from framework.config.schema import RunConfig, rebuild


def run_file_schema() -> dict[str, Any]:
    """The schema of one file: of a whole run or any part of it.

    A file may leave out what its defaults list brings in, even the `name` of a component whose options
    it changes, so nothing is required and a section may fit several components.
    """
    rebuild()
    schema: dict[str, Any] = _relaxed(RunConfig.model_json_schema())
    schema["properties"] = {
        "defaults": {
            "description": "Files to compose, in order: names, `group: option`, and _self_ for this file.",
            "type": "array",
            "items": {"type": ["string", "object"]},
        },
        **schema["properties"],
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _relaxed(node: Any) -> Any:
    if isinstance(node, list):
        return [_relaxed(item) for item in node]
    if not isinstance(node, dict):
        return node
    relaxed = {key: _relaxed(value) for key, value in node.items() if not _is_strictness(key, value)}
    if "oneOf" in relaxed:
        relaxed["anyOf"] = relaxed.pop("oneOf")
    return relaxed


def _is_strictness(key: str, value: Any) -> bool:
    # An option of a component may itself be called `required`; then its value is not a list.
    return (key == "required" and isinstance(value, list)) or (key == "discriminator" and "mapping" in value)
