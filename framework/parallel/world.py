"""Which process this is, of how many, as the launcher's environment says."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from framework.errors import ConfigError

#: launcher -> its variables for rank, size and local rank; the first one that is set counts
_LAUNCHERS = {
    "torchrun": ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
    "Slurm": ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"),
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

        A Slurm step counts only under `srun` (SLURM_STEP_ID with more than one task): a shell inside an
        allocation is one process.

        Raises:
            ConfigError: a launcher's variables are incomplete or no numbers.
        """
        for launcher, (rank, size, local) in _LAUNCHERS.items():
            if rank not in environment or size not in environment:
                continue
            try:
                world = World(int(environment[rank]), int(environment[size]), int(environment.get(local, 0)))
            except ValueError as error:
                raise ConfigError(f"{launcher}'s variables {rank}, {size} are no numbers: {error}") from error
            if not 0 <= world.rank < world.size:
                raise ConfigError(f"{launcher} says rank {world.rank} of {world.size} processes")
            return world
        return World()
