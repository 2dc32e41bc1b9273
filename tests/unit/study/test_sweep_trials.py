"""Trials in every kind of storage, shared by workers that come, go and vanish."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from framework.errors import ConfigError, UserError
from framework.study.sweep import trials as module
from framework.study.sweep import worker
from framework.study.sweep.samplers import check_names
from framework.study.sweep.space import Choices, Range
from framework.study.sweep.storage import without_password
from framework.study.sweep.trials import Attempt, Trials
from tests import postgresql

SPACE = [Range("lr", 1e-4, 1.0, integer=False, log=True), Choices("clip", ("1", "2"))]
SWEEP = {"space": {"lr": "log", "clip": "choice"}, "seeds": [0], "config": {"optimizer": {"name": "sgd"}}}
Open = Callable[..., Trials]


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    if not postgresql.FOLDERS:
        pytest.skip("PostgreSQL is not installed")
    pytest.importorskip("psycopg")
    with postgresql.server() as url:
        yield url


@pytest.fixture(params=["sqlite", "journal", "postgresql"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return str(request.getfixturevalue("database"))
    return (
        f"sqlite:///{tmp_path}/trials.db" if request.param == "sqlite" else f"journal:{tmp_path}/trials.log"
    )


@pytest.fixture
def opened(storage: str, request: pytest.FixtureRequest) -> Iterator[Open]:
    """Open the test's sweep as one worker or another."""
    workers: list[Trials] = []

    def open_trials(me: str = "", *, num_trials: int = 3, sampler: str = "random", **more: Any) -> Trials:
        trials = Trials(
            storage,
            request.node.name,
            more.pop("space", SPACE),
            num_trials=num_trials,
            maximize=True,
            sampler=sampler,
            pruner=more.pop("pruner", "none"),
            sweep={**SWEEP, **more},
        )
        trials._me = me or worker.identity()
        workers.append(trials)
        return trials

    yield open_trials
    for trials in workers:
        trials.close()


def asked(trials: Trials) -> Attempt:
    attempt = trials.ask()
    assert attempt is not None
    return attempt


def test_there_are_never_more_than_wanted(opened: Open) -> None:
    one, other = opened(), opened("there net:1 5 6")
    attempts = [asked(one), asked(other), asked(one)]
    assert [attempt.number for attempt in attempts] == [0, 1, 2]
    assert len({attempt.parameters["lr"] for attempt in attempts}) == 3
    assert other.ask() is None
    assert (one.missing(), other.missing()) == (3, 3)
    one.complete(attempts[0], {0: 0.25, 1: 0.75}, 2.0)
    other.fail(attempts[1], "the loss is not finite")
    one.prune(attempts[2], 1.0)
    assert other.missing() == 0
    assert other.ask() is None
    first, second, third = other.candidates()
    assert (first.state, first.value, first.by_seed, first.seconds) == (
        "complete",
        0.5,
        {0: 0.25, 1: 0.75},
        2.0,
    )
    assert (second.state, second.reason, second.host) == ("failed", "the loss is not finite", "there")
    assert (third.state, third.value) == ("pruned", None)
    assert third.parameters == attempts[2].parameters
    # More may be wanted later.
    assert asked(opened(num_trials=4)).number == 3


def test_a_trial_that_was_one_too_many_does_not_count(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = opened(num_trials=1), opened("there net:1 5 6", num_trials=1)
    # Both ask before either has a trial.
    ask = one._study.ask
    monkeypatch.setattr(one._study, "ask", lambda: (other.ask(), ask())[1])
    assert one.ask() is None
    [candidate] = one.candidates()
    assert (candidate.number, candidate.state, candidate.host) == (0, "running", "there")


def test_what_is_given_up_is_the_same_when_it_is_asked_for_again(opened: Open) -> None:
    one, other = opened(), opened("there net:1 5 6")
    attempt = asked(one)
    one.give_up(attempt, killed=True)
    again = asked(other)
    assert (again.number, again.parameters, again.kills) == (0, attempt.parameters, 1)


def test_trials_of_a_killed_worker_are_taken_over_once(opened: Open) -> None:
    host, numbering, pid, _ = worker.identity().split()
    gone = opened(f"{host} {numbering} {pid} 1")  # the number is this process's, the time of its start is not
    lost = asked(gone)
    gone.report(lost, 1, 0.5)
    one, other = opened(), opened("there net:1 5 6")
    mine = asked(one)
    assert (mine.number, mine.parameters, mine.reported) == (0, lost.parameters, {1})
    assert asked(other).number == 1
    # What a worker says that was only asleep comes too late.
    gone.complete(lost, {0: 0.9}, 1.0)
    assert one.candidates()[0].state == "running"
    one.complete(mine, {0: 0.8}, 1.0)
    assert one.candidates()[0].value == 0.8


def test_a_silent_worker_elsewhere_loses_its_trials(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    away, one = opened("there net:1 5 6", num_trials=1), opened(num_trials=1)
    lost = asked(away)
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    assert one.ask() is None
    now[0] += module.STALE_SECONDS - 1
    away._beat_at = 0.0
    away.beat([lost])
    assert one.ask() is None
    now[0] += module.STALE_SECONDS - 1
    assert one.ask() is None
    now[0] += 2
    assert asked(one).parameters == lost.parameters


def test_hopeless_trials_are_found(opened: Open) -> None:
    trials = opened(num_trials=20, pruner="median")
    for _ in range(5):
        attempt = asked(trials)
        assert not trials.report(attempt, 1, 0.9)
        trials.complete(attempt, {0: 0.9}, 1.0)
    attempt = asked(trials)
    assert trials.report(attempt, 1, 0.1)
    assert not trials.report(attempt, 1, 0.1)  # after a restart it is measured again
    assert not trials.report(asked(trials), 1, 0.95)


def test_another_sweep_of_that_name_is_refused(opened: Open) -> None:
    opened()
    with pytest.raises(ConfigError, match=r"seeds: \[0\] there, \[0, 1\] now"):
        opened(seeds=[0, 1])
    with pytest.raises(ConfigError, match=r'optimizer.name: "sgd" there, "adam" now'):
        opened(config={"optimizer": {"name": "adam"}})
    opened(config={"optimizer": {"name": "sgd"}, "lr": 3})  # what is searched may be anything


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "nsga2"])
def test_a_worker_alone_proposes_the_same_after_a_restart(sampler: str, tmp_path: Path) -> None:
    def propose(name: str, *, restart: bool) -> list[dict[str, Any]]:
        found = []
        trials = None
        for _ in range(4):
            if trials is None or restart:
                trials = Trials(
                    f"journal:{tmp_path}/{name}", "s", SPACE, num_trials=4, maximize=True,
                    sampler=sampler, pruner="none", sweep=SWEEP,
                )  # fmt: skip
            attempt = asked(trials)
            found.append(dict(attempt.parameters))
            trials.complete(attempt, {0: float(attempt.parameters["lr"])}, 1.0)
            if restart:
                trials.close()
        return found

    assert propose("whole", restart=False) == propose("stopped", restart=True)


def test_a_grid_is_walked_through_once(tmp_path: Path) -> None:
    space = [Range("depth", 1, 3, integer=True, log=False), Choices("clip", ("1", "2"))]
    trials = Trials(
        f"journal:{tmp_path}/grid", "s", space, num_trials=6, maximize=True, sampler="grid",
        pruner="none", sweep=SWEEP,
    )  # fmt: skip
    seen = set()
    while (attempt := trials.ask()) is not None:
        seen.add((attempt.parameters["depth"], attempt.parameters["clip"]))
        trials.complete(attempt, {0: 0.5}, 1.0)
    assert seen == {(depth, clip) for depth in (1, 2, 3) for clip in ("1", "2")}


def test_a_storage_that_is_not_there_is_an_error_without_the_password(tmp_path: Path) -> None:
    assert without_password("mysql://me:secret@host/db") == "mysql://me:***@host/db"
    for storage in (f"sqlite:///{tmp_path}/none/here.db", "nonsense", "nonsense://me:secret@host/x"):
        with pytest.raises(UserError, match="cannot be used") as error:
            Trials(
                storage, "s", SPACE, num_trials=1, maximize=True, sampler="tpe", pruner="none", sweep=SWEEP
            )
        assert "secret" not in str(error.value)


def test_samplers_and_pruners_have_optunas_names() -> None:
    problems: list[Any] = []
    for sampler in ("tpe", "grid", "random", "nsga2", "nsgaiii", "gp", "cmaes", "qmc"):
        check_names(sampler, "hyperband", problems)
    assert problems == []
    check_names("tpee", "medain", problems)
    assert "did you mean tpe?" in problems[0].message
    assert "did you mean median?" in problems[1].message


def test_a_process_is_gone_only_if_that_is_certain() -> None:
    me = worker.identity()
    host, numbering, pid, started = me.split()
    assert not worker.is_gone(me)
    assert worker.is_gone(f"{host} {numbering} {pid} {int(started) - 1}")
    assert not worker.is_gone(f"elsewhere {numbering} {pid} 1")
    assert not worker.is_gone(f"{host} pid:[1] {pid} 1")
    assert not worker.is_gone("")
