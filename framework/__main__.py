"""`python -m framework`: finds the verb and turns what a user can cause into one message and an exit code."""

from __future__ import annotations

import importlib
import os
import re
import sys
import time
import traceback
from collections.abc import Sequence
from keyword import iskeyword

from framework.cli.verbs import DEFAULT_VERB, VERBS, overview, unknown_verb
from framework.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, ConfigError, UserError

EXIT_BROKEN_PIPE = 141
#: how long a process that leaves the word to another one stays
_SILENCE_SECONDS = 1.0
#: deepspeed's launcher and torch.distributed.launch put it before a user's words; LOCAL_RANK says the same
_LOCAL_RANK = re.compile(r"--local[-_]rank=\d+")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and "LOCAL_RANK" in os.environ and _LOCAL_RANK.fullmatch(words[0]):
        del words[0]
    try:
        return _dispatch(words)
    except UserError as error:
        _tell(error)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader, e.g. `head`, has left; what is still buffered must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except Exception:
        rank = _rank_of_several()
        if rank is None:
            raise
        print(f"rank {rank}: {traceback.format_exc()}", end="", file=sys.stderr)
        return EXIT_FAILED


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("--help", "-h", "help"):
        print(overview())
        return EXIT_OK
    if words[0] == "--version":
        print(_version())
        return EXIT_OK
    if words[0] in VERBS:
        verb, words = words[0], words[1:]
    elif "=" in words[0] or words[0].startswith("~"):
        verb = DEFAULT_VERB
    else:
        raise unknown_verb(words[0])
    # One module per verb, imported when it is asked for: `--help` must not wait for torch.
    module = importlib.import_module(f"framework.cli.{verb}{'_' if iskeyword(verb) else ''}")
    if "--help" in words or "-h" in words:
        print((module.__doc__ or "").strip())
        return EXIT_OK
    code = module.main(words)
    assert isinstance(code, int), verb
    return code


def _rank_of_several() -> int | None:
    from framework.parallel.world import World

    world = World.detect()
    return None if world.size == 1 else world.rank


def _tell(error: UserError) -> None:
    """One message for all processes: not from those that only share another's fault."""
    from framework.parallel.world import World

    try:
        world = World.detect()
    except UserError:
        world = World()  # what the launcher says of the processes is the fault
    # Before the processes have met, those of one machine see the same fault: its first one speaks.
    if error.shared or (not error.settled and world.local_rank != 0):
        # A launcher ends all processes when the first one has ended: the one that speaks must come to it.
        time.sleep(_SILENCE_SECONDS)
        return
    prefix = "" if world.is_main else f"rank {world.rank}: "
    print(f"{prefix}{_message(error)}", file=sys.stderr)


def _message(error: UserError) -> str:
    if not isinstance(error, ConfigError):
        return f"error: {error}"
    from framework.config.problems import render

    text = render(error.problems, error.source)
    return text if text.startswith(error.source or "\n") else f"error: {text}"


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"framework {version('framework')}"
    except PackageNotFoundError:
        return "framework (not installed)"


if __name__ == "__main__":
    sys.exit(main())
