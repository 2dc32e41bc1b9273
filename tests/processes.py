"""Runs in processes of their own, started without importing torch each time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

from framework.checkpoint.store import CheckpointStore
from tests.forked import START
from tests.tiny import write
from tests.triggers import Action

PROBED = [
    "plugins=[tests.probes.plugin]",
    "task=classification",
    "task.name=probed",
    "callbacks=[{name: probe}]",
]
#: seconds that no healthy run comes near
LONG = 120


def start(
    folder: Path, overrides: Sequence[str], actions: dict[tuple[str, int], Action] | None = None
) -> BaseProcess:
    """Begin the tiny run with `run.dir=folder`, in a process group of its own."""
    conf = write(folder.parent)
    words = [f"conf={conf}", *PROBED, *overrides, f"run.dir={folder}"]
    process = START.Process(target=_work, args=(words, actions or {}, folder.parent / "output.txt"))
    process.start()
    return process


def command(*words: str) -> BaseProcess:
    """`python -m framework WORDS` in this folder; a study forks its runs from where this one was forked."""
    process = START.Process(target=_command, args=(words, Path.cwd(), dict(os.environ)))
    process.start()
    return process


def finish(process: BaseProcess) -> int:
    """The exit code of a process that was started."""
    process.join(LONG)
    assert process.exitcode is not None, "the run hangs"
    return process.exitcode


def run(folder: Path, overrides: Sequence[str], actions: dict[tuple[str, int], Action] | None = None) -> int:
    """`start` and `finish`."""
    return finish(start(folder, overrides, actions))


def output(folder: Path) -> str:
    """What the newest start of the run in `folder` wrote to its terminal."""
    return (folder.parent / "output.txt").read_text()


def weights(folder: Path) -> bytes:
    """Every tensor of the newest checkpoint."""
    path = CheckpointStore(folder / "checkpoints").load("latest").path
    return b"".join(file.read_bytes() for file in sorted(path.glob("*.safetensors")))


def _work(words: list[str], actions: dict[tuple[str, int], Action], terminal: Path) -> None:
    import torch

    from framework.__main__ import main
    from tests import triggers

    os.setpgid(0, 0)
    with terminal.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    torch.set_num_threads(1)
    with triggers.planned(actions):
        code = main(words)
    raise SystemExit(code)


def _command(words: Sequence[str], folder: Path, environment: dict[str, str]) -> None:
    from framework.__main__ import main

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    raise SystemExit(main(words))
