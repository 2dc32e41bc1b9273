"""Starts the processes of a run on this machine, through torch's elastic launcher."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from framework.errors import EXIT_OK, EXIT_REQUEUE


def launch(words: Sequence[str], num_processes: int) -> int:
    """Run `python -m framework WORDS` in `num_processes` processes; returns the run's exit code.

    The processes find each other as under torchrun. When one dies the others are ended at once; the exit
    code is that of the first. A signal to this process reaches all of them, and they save and end.
    """
    # Each process says itself why it ends.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    # As torchrun does: otherwise every process takes all cores for itself.
    os.environ.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // num_processes, 1)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=num_processes,
        run_id="framework",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        logs_specs=DefaultLogsSpecs(),
    )
    command = [sys.executable, "-m", "framework", *words]
    try:
        elastic_launch(config, command[0])(*command[1:])
    except ChildFailedError as error:
        # The failure that came first is the cause, the others were ended for it.
        rank, failure = error.get_first_failure()
        if failure.exitcode > 0:
            return failure.exitcode  # it has said why
        print(f"error: rank {rank} was ended by {signal.Signals(-failure.exitcode).name}", file=sys.stderr)
        return 128 - failure.exitcode
    except SignalException:
        return EXIT_REQUEUE
    return EXIT_OK
