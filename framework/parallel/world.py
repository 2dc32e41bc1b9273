"""Which process this is, of how many, as the launcher's environment says."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from framework.errors import ConfigError, UserError

#: launcher -> its variables for rank, size and local rank; the first one that is set counts
_LAUNCHERS = {
    "torchrun": ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
    # the step's number of tasks is set by srun alone: a batch script is one process, whatever was allocated
    "Slurm": ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),
    "Open MPI": ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
    "MPI": ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"),
}


@dataclass(frozen=True)
class World:
    """The processes of a run: this one is number `rank` of `size`, and `local_rank` on its machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this process prints and writes the shared files."""
        return self.rank == 0

    @staticmethod
    def detect(environment: Mapping[str, str] = os.environ) -> World:
        """The world that torchrun, deepspeed, srun or mpirun set up; a single process without one.

        Under Slurm only what `srun` starts counts: a batch script or a shell in an allocation is one process.

        Raises:
            ConfigError: a launcher's variables are incomplete or no numbers.
        """
        for launcher, (rank, size, local) in _LAUNCHERS.items():
            if launcher == "torchrun" and (rank in environment) != (size in environment):
                given, missing = (rank, size) if rank in environment else (size, rank)
                raise ConfigError(f"{given} is set and {missing} is not: unset it, or start with torchrun")
            if rank not in environment or size not in environment:
                continue
            try:
                world = World(int(environment[rank]), int(environment[size]), int(environment.get(local, 0)))
            except ValueError as error:
                raise ConfigError(f"{launcher}'s variables {rank}, {size} are no numbers: {error}") from error
            if not 0 <= world.rank < world.size:
                says = f"{rank}={world.rank}, {size}={world.size}"
                raise ConfigError(
                    f"{launcher} gave {says}: a rank lies between 0 and the number of processes"
                )
            return world
        return World()


def meeting_point(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """MASTER_ADDR and MASTER_PORT: as set, or as they follow from the launcher's variables.

    Under Slurm that is the step's first node, under Open MPI this machine if no process is elsewhere; the
    port follows from the number of the job.

    Raises:
        UserError: they are not set and do not follow from the launcher's variables.
    """
    given = {name: environment[name] for name in ("MASTER_ADDR", "MASTER_PORT") if name in environment}
    if "SLURM_STEP_NODELIST" in environment and "SLURM_STEP_NUM_TASKS" in environment:
        node = _first_node(environment["SLURM_STEP_NODELIST"])
        port = 20000 + int(environment.get("SLURM_JOB_ID", "0")) % 10000
        derived = {"MASTER_PORT": str(port)} | ({"MASTER_ADDR": node} if node is not None else {})
        given = derived | given
    elif environment.get("OMPI_COMM_WORLD_LOCAL_SIZE", "") == environment.get("OMPI_COMM_WORLD_SIZE"):
        job = zlib.crc32(environment.get("PMIX_NAMESPACE", "").encode())
        given = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(20000 + job % 10000)} | given
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if name not in given]
    if missing:
        raise UserError(
            f"several processes were started without {' and '.join(missing)}: start them with torchrun, or"
            " set where rank 0 listens, the same on all of them"
        )
    return given


def _first_node(nodes: str) -> str | None:
    """`n1` of `n1,n2`, `n[1-4,7]` and the like; None for lists with several brackets in a name."""
    match = re.fullmatch(r"([^\[\],]+)(?:\[([^\[\],-]+)[^\[\]]*\])?(?:,.*)?", nodes)
    return f"{match[1]}{match[2] or ''}" if match is not None else None
