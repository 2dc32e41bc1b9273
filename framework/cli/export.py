"""usage: python -m framework export RUN [--out FILE] [--checkpoint best|latest|PATH]
       python -m framework export RUN --deepspeed DIR [--optimizer torch|deepspeed] [--checkpoint ...]

Write the weights of a run's model as safetensors; or weights, the optimizer's moments and its step as a
universal checkpoint of DeepSpeed.

  RUN             a run folder
  --out           the file to write, by default model.safetensors in the run folder
  --checkpoint    which weights: the selected ones (best, the default), the newest, or a checkpoint folder
  --deepspeed     the folder to write, for engines of ZeRO 1 to 3 with `checkpoint: {load_universal: true}`
  --optimizer     whose optimizer goes on there: torch.optim (torch, the default), or FusedAdam and
                  DeepSpeedCPUAdam (deepspeed), which count steps otherwise
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from framework.cli.arguments import Arguments, parse, run_folder
from framework.errors import EXIT_OK, UserError
from framework.naming import nearest


def main(words: Sequence[str]) -> int:
    """Export one run and print where the weights are."""
    arguments = parse(words, flags=("out", "checkpoint", "deepspeed", "optimizer"))
    arguments.expect_names(1, 1, "export RUN [--out FILE | --deepspeed DIR] [--checkpoint best|latest|PATH]")
    if arguments.overrides or arguments.conf:
        raise UserError("export takes a run folder and no overrides: the run is as it was trained")
    run_dir = run_folder(arguments.names[0])
    which = arguments.flags.get("checkpoint", "best")
    if "deepspeed" in arguments.flags:
        print(_export_deepspeed(run_dir, arguments, which))
        return EXIT_OK
    if "optimizer" in arguments.flags:
        raise UserError("--optimizer says whose optimizer reads what --deepspeed writes; add --deepspeed DIR")
    # Imports torch, which a mistyped command need not wait for.
    from framework.checkpoint.export import export

    out = Path(arguments.flags["out"]) if "out" in arguments.flags else None
    print(export(run_dir, out, which))
    return EXIT_OK


def _export_deepspeed(run_dir: Path, arguments: Arguments, which: str) -> Path:
    if "out" in arguments.flags:
        raise UserError("--out names a file of weights, and --deepspeed a folder; give one of them")
    from framework.checkpoint.deepspeed.write import Counter, export_deepspeed

    given = arguments.flags.get("optimizer", "torch")
    counter = next((each for each in get_args(Counter) if each == given), None)
    if counter is None:
        hint = nearest(given, get_args(Counter))
        raise UserError(f"--optimizer must be torch or deepspeed, not '{given}'{hint}")
    return export_deepspeed(run_dir, Path(arguments.flags["deepspeed"]), which, counter)
