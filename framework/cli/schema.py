"""usage: python -m framework schema [--out FILE] [plugins=[a,b]]

Print the JSON Schema of run files, all registered components included. An editor with a YAML
language server completes and checks files that name it in their first line:

  # yaml-language-server: $schema=../run.schema.json

  --out           write it to this file
  plugins=[a,b]   include the components of these plugins
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from framework.cli.arguments import parse
from framework.config.json_schema import run_file_schema
from framework.errors import EXIT_OK
from framework.files import writing


def main(words: Sequence[str]) -> int:
    """Print or write the schema."""
    arguments = parse(words, flags=("out",))
    arguments.expect_names(0, 0, "schema [--out FILE] [plugins=[a,b]]")
    arguments.load_plugins()
    text = json.dumps(run_file_schema(), indent=1, ensure_ascii=False)
    if "out" not in arguments.flags:
        print(text)
        return EXIT_OK
    out = Path(arguments.flags["out"])
    with writing(out):
        out.write_text(f"{text}\n", encoding="utf-8")
    print(out)
    return EXIT_OK
