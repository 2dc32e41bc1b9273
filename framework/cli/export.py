"""usage: python -m framework export RUN [--out FILE] [--checkpoint best|latest|PATH]
       python -m framework export RUN --policy FILE [--weights average|last]

Write the weights of a run's model as safetensors, or those that its policy gives the groups as JSON, to
draw samples of another run by (data.sampling.weights=FILE).

  RUN             a run folder
  --out           the file to write
  --checkpoint    which weights: the selected ones (best, the default), the newest, or a checkpoint folder
  --policy        the JSON file to write
  --weights       of the groups: the mean over the steps (average, the default) or the newest (last)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from framework.cli.arguments import Arguments, parse
from framework.errors import EXIT_OK, UserError
from framework.options import nearest
from framework.run_folder import is_run_folder


def main(words: Sequence[str]) -> int:
    """Export one run and print where the weights are."""
    arguments = parse(words, flags=("out", "checkpoint", "policy", "weights"))
    arguments.expect_names(1, 1, "export RUN [--out FILE] [--checkpoint best|latest|PATH] [--policy FILE]")
    if arguments.overrides or arguments.conf:
        raise UserError("export takes a run folder and no overrides: the run is as it was trained")
    run_dir = Path(arguments.names[0])
    if not is_run_folder(run_dir):
        raise UserError(f"{run_dir} is not a run folder")
    print(_export_weights(run_dir, arguments) if "policy" in arguments.flags else _export(run_dir, arguments))
    return EXIT_OK


def _export(run_dir: Path, arguments: Arguments) -> Path:
    if "weights" in arguments.flags:
        raise UserError("--weights says which weights of the groups --policy writes; add --policy FILE")
    # Imports torch, which a mistyped command need not wait for.
    from framework.checkpoint.export import export

    out = Path(arguments.flags["out"]) if "out" in arguments.flags else None
    return export(run_dir, out, arguments.flags.get("checkpoint", "best"))


def _export_weights(run_dir: Path, arguments: Arguments) -> Path:
    strange = [flag for flag in ("out", "checkpoint") if flag in arguments.flags]
    if strange:
        raise UserError(f"--policy writes the weights of groups, of which --{strange[0]} says nothing")
    from framework.evaluation.policy_weights import Which, export_weights

    given = arguments.flags.get("weights", "average")
    which = next((each for each in get_args(Which) if each == given), None)
    if which is None:
        raise UserError(f"--weights must be average or last, not '{given}'{nearest(given, get_args(Which))}")
    out = Path(arguments.flags["policy"])
    export_weights(run_dir, out, which)
    return out
