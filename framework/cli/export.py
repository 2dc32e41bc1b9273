"""usage: python -m framework export RUN [--out FILE] [--checkpoint best|latest|PATH]

Write the weights of a run's model as safetensors.

  RUN             a run folder
  --out           the file to write, by default model.safetensors in the run folder
  --checkpoint    which weights: the selected ones (best, the default), the newest, or a checkpoint folder
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from framework.cli.arguments import parse, run_folder
from framework.errors import EXIT_OK, UserError


def main(words: Sequence[str]) -> int:
    """Export one run and print where the weights are."""
    arguments = parse(words, flags=("out", "checkpoint"))
    arguments.expect_names(1, 1, "export RUN [--out FILE] [--checkpoint best|latest|PATH]")
    if arguments.overrides or arguments.conf:
        raise UserError("export takes a run folder and no overrides: the run is as it was trained")
    run_dir = run_folder(arguments.names[0])
    # Imports torch, which a mistyped command need not wait for.
    from framework.checkpoint.export import export

    out = Path(arguments.flags["out"]) if "out" in arguments.flags else None
    print(export(run_dir, out, arguments.flags.get("checkpoint", "best")))
    return EXIT_OK
