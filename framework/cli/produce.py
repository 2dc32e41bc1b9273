"""usage: python -m framework produce RUN ARTIFACT [option=value ...] [out=PATH]

Make of a finished run what a next run needs of it.

  RUN             a run folder
  ARTIFACT        errors, losses, policy_state or last_layer; `list artifact NAME` shows its options
  option=value    an option of the artifact: per=token, checkpoint=latest
  out=PATH        the file or folder; RUN/artifacts/ARTIFACT if left out

exit codes: 0 written, 2 something is wrong with the input
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from pydantic import ValidationError

from framework.cli.arguments import parse, run_folder, starts_processes
from framework.config.document import first_line
from framework.config.load import load_saved
from framework.config.problems import translate
from framework.config.provenance import COMMAND_LINE, Origins
from framework.errors import EXIT_OK, ConfigError, Problem, UserError
from framework.parallel.world import World
from framework.registry import ComponentConfig, registry


def main(words: Sequence[str]) -> int:
    """Make one artifact and print where it is."""
    arguments = parse(words)
    arguments.expect_names(2, 2, "produce RUN ARTIFACT [option=value ...] [out=PATH]")
    if arguments.conf is not None:
        raise UserError("produce takes a run folder and no conf=: the run is as it was trained")
    run_dir, name = run_folder(arguments.names[0]), arguments.names[1]
    loaded = load_saved(run_dir)
    out = [word.partition("=")[2] for word in arguments.overrides if word.startswith("out=")]
    if len(out) > 1 or out == [""]:
        raise UserError("out=PATH names one file or folder")
    section = _section(name, [word for word in arguments.overrides if not word.startswith("out=")])
    if starts_processes(loaded.config):
        from framework.launch.local import launch

        return launch(["produce", *words], loaded.config.launch.num_processes or 1)
    # Imports the training machinery, which a mistyped command need not wait for.
    from framework.produce import produce

    said = produce(run_dir, loaded, section, Path(out[0]) if out else None)
    if World.detect().is_main:
        print(said)
    return EXIT_OK


def _section(name: str, words: Sequence[str]) -> ComponentConfig:
    """The artifact and its options, validated."""
    model = registry.get("artifact", name).model
    parser = OverridesParser.create()
    data: dict[str, object] = {"name": name}
    origins = Origins(COMMAND_LINE)
    problems = []
    for word in words:
        try:
            override = parser.parse_override(word)
            data[override.key_or_group] = override.value()
        except HydraException as error:
            problems.append(Problem("", f"option '{word}' cannot be read: {first_line(error)}", COMMAND_LINE))
    try:
        section = model.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        problems += translate(error, model, data, origins)
    if problems:
        raise ConfigError(problems, f"artifact {name}")
    return section
