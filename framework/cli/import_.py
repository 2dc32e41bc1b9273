"""usage: python -m framework import FOLDER conf=FILE [key=value ...] --out DIR [--tag TAG] [--step N]
                                  [--rename OLD:NEW,...] [--names all|partial] [--moments keep|drop]

Make of a checkpoint of DeepSpeed (ZeRO 1 to 3, or universal) one that a run of this configuration starts
from, with `resume=DIR`, under any engine: weights, the optimizer's moments and its step. DeepSpeed need not
be installed. The run's data, its policy and its random numbers begin as in a run from the beginning.

  FOLDER          what engine.save_checkpoint was given, or one checkpoint in it
  --out           folder for the checkpoint
  --tag           which checkpoint of FOLDER; the newest if left out
  --step          where in its schedule and data the run begins; 0 if left out
  --rename        what names begin with there, and here: `module.:` takes it off, `:model.` puts it before
  --names         partial: take what has the same name, instead of demanding all (the default)
  --moments       drop: take the weights alone

exit codes: 0 written, 2 something is wrong with the input
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from framework.cli.arguments import Arguments, parse
from framework.errors import EXIT_OK, UserError
from framework.naming import nearest

_USAGE = "import FOLDER conf=FILE [key=value ...] --out DIR"


def main(words: Sequence[str]) -> int:
    """Import one checkpoint and print where it is."""
    arguments = parse(words, flags=("out", "tag", "step", "rename", "names", "moments"))
    arguments.expect_names(1, 1, _USAGE)
    if "out" not in arguments.flags:
        raise UserError("--out DIR is missing")
    step = arguments.flags.get("step", "0")
    if not step.isdecimal():
        raise UserError(f"--step must be a number of steps, not '{step}'")
    rename = _rename(arguments.flags.get("rename"))
    partial = _choice(arguments, "names", ("all", "partial")) == "partial"
    moments = _choice(arguments, "moments", ("keep", "drop")) == "keep"
    loaded = arguments.load()
    # Imports the training machinery, which a mistyped command need not wait for.
    from framework.import_deepspeed import import_deepspeed

    source, out = Path(arguments.names[0]), Path(arguments.flags["out"])
    print(
        import_deepspeed(
            loaded, source, out, tag=arguments.flags.get("tag"), step=int(step), rename=rename,
            partial=partial, moments=moments,
        )
    )  # fmt: skip
    return EXIT_OK


def _rename(text: str | None) -> dict[str, str]:
    if text is None:
        return {}
    pairs = [pair.split(":") for pair in text.split(",")]
    if any(len(pair) != 2 for pair in pairs):
        raise UserError(f"--rename takes OLD:NEW, or several of them with commas between, not '{text}'")
    renamed = dict(pairs)
    if len(renamed) < len(pairs):
        raise UserError(f"--rename gives one beginning twice: '{text}'")
    return renamed


def _choice(arguments: Arguments, flag: str, choices: Sequence[str]) -> str:
    given = arguments.flags.get(flag, choices[0])
    if given not in choices:
        raise UserError(f"--{flag} must be {' or '.join(choices)}, not '{given}'{nearest(given, choices)}")
    return given
