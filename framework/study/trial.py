"""One run of a study, with the runs of a recipe that come before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from framework.study.grid import Choice
from framework.study.recipe.file import Recipe
from framework.study.recipe.plan import Making, PhaseTraining, phase_jobs
from framework.study.training import Training
from framework.study.words import quoted


@dataclass(frozen=True)
class Trial(Training):
    """One run of a comparison or a sweep.

    Attributes:
        arm: what it belongs to.
        candidate: the values that are tried in it.
        seed: its seed.
        before: where the arm is a recipe, what its last phase builds on, in order.
    """

    arm: Choice
    candidate: Choice
    seed: int
    before: tuple[PhaseTraining | Making, ...] = ()

    @property
    def name(self) -> str:
        """For a reader: arm, candidate and seed."""
        names = [name for name in (self.arm.name, self.candidate.name) if name]
        return ", ".join([*names, f"seed {self.seed}"])

    @property
    def jobs(self) -> tuple[PhaseTraining | Making | Trial, ...]:
        """All that must be done for it, itself the last."""
        return (*self.before, self)

    @property
    def earlier(self) -> list[Path]:
        """The run folders of the phases before."""
        return [job.folder for job in self.before if isinstance(job, Training)]


def run_trial(
    conf: str, overrides: Sequence[str], arm: Choice, candidate: Choice, seed: int, folder: Path
) -> Trial:
    """A trial that is one run in `folder`."""
    words = (f"conf={conf}", *overrides, f"seed={seed}", f"run.dir={quoted(str(folder))}")
    return Trial(arm, candidate, seed, folder=folder, words=words)


def recipe_trial(recipe: Recipe, arm: Choice, candidate: Choice, seed: int, folder: Path) -> Trial:
    """A trial that is the last phase of a recipe; the folders of all phases are in `folder`."""
    phases = phase_jobs(recipe.with_seed(seed), folder)
    last, _ = phases[-1]
    trial = Trial(arm, candidate, seed, folder=last.folder, words=last.words)
    before: list[PhaseTraining | Making] = []
    for training, makings in phases[:-1]:
        before += [training, *makings]
    return replace(trial, before=tuple(_named(job, f"{trial.name}, {job.name}") for job in before))


def _named(job: PhaseTraining | Making, name: str) -> PhaseTraining | Making:
    return replace(job, name=name)
