"""Every policy and penalty has its place in docs/policies, with the options that it has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from framework.registry import registry

ROOT = Path(__file__).parents[2]
INDEX = ROOT / "docs" / "policies.md"
PAGES = sorted((ROOT / "docs" / "policies").glob("*.md"))
COMPONENTS = [(kind, name) for kind in ("policy", "regularizer") for name in registry.names(kind)]


def section(name: str) -> tuple[Path, str]:
    """The page and the text of the one section with this heading."""
    found = []
    for page in PAGES:
        for match in re.finditer(
            rf"^(##+) {name}\n(.*?)(?=^##|\Z)", page.read_text(), re.MULTILINE | re.DOTALL
        ):
            found.append((page, match[2]))
    assert len(found) == 1, f"{name} has {len(found)} sections in docs/policies"
    return found[0]


def options(text: str) -> dict[str, str]:
    """option -> default, from rows such as ``| `a`, `b` | 1, null | ... |``."""
    shown: dict[str, str] = {}
    for names, defaults in re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| ([^|]+) \|", text, re.MULTILINE):
        values = [value.strip(" `") for value in defaults.split(",")]
        shown |= zip(re.findall(r"\w+", names), values, strict=True)
    return shown


@pytest.mark.parametrize(("kind", "name"), COMPONENTS, ids=[name for _, name in COMPONENTS])
def test_a_component_has_a_section_with_its_formula_source_and_options(kind: str, name: str) -> None:
    page, text = section(name)
    assert "arxiv.org" in text or name == "erm"
    assert re.search(r"^ {4}\S", text, re.MULTILINE) or name == "erm", "no formula"
    fields = {
        key: field for key, field in registry.get(kind, name).model.model_fields.items() if key != "name"
    }
    shown = options(text)
    assert shown.keys() == fields.keys(), page.name
    for key, field in fields.items():
        default = "required" if field.is_required() else field.default
        assert _value(shown[key]) == default, f"{name}.{key} in {page.name}"
    if kind == "policy":
        assert f"| [`{name}`](policies/{page.name}#{name}) |" in INDEX.read_text()
        assert "**Deviations" in text or name == "erm"


def _value(shown: str) -> Any:
    try:
        return float(shown)  # YAML takes 1e-3 for text
    except ValueError:
        return yaml.safe_load(shown)


def test_every_page_is_linked_and_leads_back() -> None:
    for page in PAGES:
        assert f"(policies/{page.name})" in INDEX.read_text()
        assert "](../policies.md)" in page.read_text()


@pytest.mark.parametrize("page", [INDEX, *PAGES], ids=lambda page: page.name)
def test_links_to_sections_lead_to_one(page: Path) -> None:
    for path, anchor in re.findall(r"\]\(([^)#:\s]*)#([\w-]+)\)", page.read_text()):
        target = (page.parent / path) if path else page
        headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
        assert anchor in anchors, f"{path}#{anchor}"
