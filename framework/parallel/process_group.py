"""The processes of a run meet, and part again."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import distributed
from torch._C._distributed_c10d import HashStore
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from framework.errors import UserError
from framework.parallel import flight_recorder
from framework.parallel.agreement import Agreement
from framework.parallel.world import World, meeting_point


def device_of(world: World) -> torch.device:
    """Where the process computes: its own GPU if there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", world.local_rank % torch.cuda.device_count())
    return torch.device("cpu")


@contextmanager
def process_group(world: World, timeout_seconds: float) -> Iterator[Agreement]:
    """Inside, the processes of `world` can talk to each other; nothing happens for a single one.

    An exception inside ends all of them: see `Agreement`.

    Args:
        world: as the launcher set it up; `meeting_point` says where rank 0 listens.
        timeout_seconds: how long a process waits for another one before the run fails.

    Raises:
        UserError: the processes do not find each other.
    """
    if world.size == 1:
        yield Agreement(world, None, timeout_seconds)
        return
    os.environ.update(meeting_point())
    device = device_of(world)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        flight_recorder.switch_on()
    timeout = timedelta(seconds=timeout_seconds)
    try:
        store, _, _ = next(rendezvous("env://", world.rank, world.size, timeout=timeout))
        distributed.init_process_group(
            _backends(device),
            store=PrefixStore("group", store),
            rank=world.rank,
            world_size=world.size,
            timeout=timeout,
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"rank {world.rank} of {world.size} did not find the others at"
            f" {os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}: {error}"
        ) from error
    agreement = Agreement(world, store, timeout_seconds)
    try:
        with agreement.on_failure():
            yield agreement
            distributed.barrier()
    finally:
        _leave()


def ensure_group(device: torch.device) -> None:
    """A group of this process alone, without address or port, where there is none: for what needs one."""
    if not distributed.is_initialized():
        distributed.init_process_group(_backends(device), store=HashStore(), rank=0, world_size=1)
        atexit.register(_leave)


def _backends(device: torch.device) -> str:
    return "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"


def _leave() -> None:
    # Without it a gloo process can abort at exit; after an error the others may be gone already.
    if distributed.is_initialized():
        distributed.destroy_process_group()
