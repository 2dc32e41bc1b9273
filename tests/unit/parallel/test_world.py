"""What launchers put into the environment."""

from __future__ import annotations

import pytest

from framework.errors import ConfigError, UserError
from framework.parallel.world import World, meeting_point


@pytest.mark.parametrize(
    ("environment", "world"),
    [
        ({}, World()),
        ({"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}, World(3, 8, 1)),
        (
            {"SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "4", "SLURM_NTASKS": "4", "SLURM_LOCALID": "0"},
            World(2, 4, 0),
        ),
        # a batch script, before any srun
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_LOCALID": "0"}, World()),
        # torchrun inside a Slurm step of one task per node
        (
            {
                "RANK": "5",
                "WORLD_SIZE": "8",
                "LOCAL_RANK": "1",
                "SLURM_PROCID": "1",
                "SLURM_STEP_NUM_TASKS": "2",
            },
            World(5, 8, 1),
        ),
        (
            {
                "OMPI_COMM_WORLD_RANK": "1",
                "OMPI_COMM_WORLD_SIZE": "2",
                "OMPI_COMM_WORLD_LOCAL_RANK": "1",
            },
            World(1, 2, 1),
        ),
        ({"PMI_RANK": "1", "PMI_SIZE": "2"}, World(1, 2, 0)),
    ],
)
def test_launchers(environment: dict[str, str], world: World) -> None:
    assert World.detect(environment) == world


@pytest.mark.parametrize(
    "environment", [{"RANK": "2", "WORLD_SIZE": "2"}, {"RANK": "0", "WORLD_SIZE": "two"}]
)
def test_nonsense_is_refused(environment: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="torchrun"):
        World.detect(environment)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("n1", "n1"),
        ("n1,n2", "n1"),
        ("n[1-4]", "n1"),
        ("gpu-a[003,007-009]", "gpu-a003"),
        ("n[1-2],m[1-2]", "n1"),
    ],
)
def test_a_slurm_step_meets_on_its_first_node(nodes: str, first: str) -> None:
    step = {"SLURM_STEP_NODELIST": nodes, "SLURM_STEP_NUM_TASKS": "2", "SLURM_JOB_ID": "1234567"}
    assert meeting_point(step) == {"MASTER_ADDR": first, "MASTER_PORT": "24567"}


def test_processes_of_one_mpirun_on_one_machine_meet_there() -> None:
    two = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_SIZE": "2", "PMIX_NAMESPACE": "1143865345"}
    found = meeting_point(two)
    assert found["MASTER_ADDR"] == "127.0.0.1"
    assert 20000 <= int(found["MASTER_PORT"]) < 30000
    assert meeting_point({**two, "PMIX_NAMESPACE": "7"}) != found  # another job, another port
    assert meeting_point({**two, "MASTER_PORT": "1"}) == {**found, "MASTER_PORT": "1"}


def test_mpirun_on_several_machines_must_say_where() -> None:
    with pytest.raises(UserError, match="MASTER_ADDR"):
        meeting_point({"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"})


NODES, LOCAL = 3, 2


@pytest.mark.parametrize("launcher", ["torchrun", "Slurm", "Open MPI", "MPI"])
def test_every_process_of_several_nodes_has_its_own_place(launcher: str) -> None:
    def environment(node: int, local: int) -> dict[str, str]:
        rank, size = str(node * LOCAL + local), str(NODES * LOCAL)
        return {
            "torchrun": {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": str(local)},
            "Slurm": {
                "SLURM_PROCID": rank,
                "SLURM_STEP_NUM_TASKS": size,
                "SLURM_LOCALID": str(local),
                "SLURM_NODEID": str(node),
                "SLURM_NTASKS": size,
            },
            "Open MPI": {
                "OMPI_COMM_WORLD_RANK": rank,
                "OMPI_COMM_WORLD_SIZE": size,
                "OMPI_COMM_WORLD_LOCAL_RANK": str(local),
            },
            "MPI": {"PMI_RANK": rank, "PMI_SIZE": size, "MPI_LOCALRANKID": str(local)},
        }[launcher]

    worlds = [World.detect(environment(node, local)) for node in range(NODES) for local in range(LOCAL)]
    assert [world.rank for world in worlds] == list(range(NODES * LOCAL))
    assert {world.size for world in worlds} == {NODES * LOCAL}
    assert [world.local_rank for world in worlds] == [0, 1] * NODES
    assert [world.is_main for world in worlds].count(True) == 1


def test_what_is_set_counts() -> None:
    given = {"MASTER_ADDR": "a", "MASTER_PORT": "1"}
    step = {"SLURM_STEP_NODELIST": "n1", "SLURM_STEP_NUM_TASKS": "2"}
    assert meeting_point(step | given) == given


@pytest.mark.parametrize(
    "environment", [{}, {"SLURM_STEP_NODELIST": "r[1-2]n[1-2]", "SLURM_STEP_NUM_TASKS": "2"}]
)
def test_no_meeting_point_is_an_error(environment: dict[str, str]) -> None:
    with pytest.raises(UserError, match="MASTER_ADDR"):
        meeting_point(environment)
