"""Learning-rate schedules: a factor on the optimizer's learning rate, a pure function of the step."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch

from framework.options import Count, Fraction, Natural, Positive
from framework.registry import register


class Schedule(ABC):
    """Warm-up, then a decay that a subclass defines. It keeps no state, so nothing has to be resumed.

    Attributes:
        num_steps: optimizer steps of the whole run.
        warmup: steps of linear warm-up; step s of them has the factor (s + 1) / warmup.
    """

    def __init__(self, num_steps: int, warmup_steps: int, warmup_fraction: float) -> None:
        if warmup_steps and warmup_fraction:
            raise ValueError("give warmup_steps or warmup_fraction, not both")
        if warmup_steps > num_steps:
            raise ValueError(f"warmup_steps {warmup_steps} is more than the {num_steps} steps of the run")
        self.num_steps = num_steps
        self.warmup = warmup_steps or round(warmup_fraction * num_steps)

    @abstractmethod
    def decay(self, step: int) -> float:
        """The factor `step` steps after the end of the warm-up."""

    def factor(self, step: int) -> float:
        """The factor of the optimizer step number `step`, from 0."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        return self.decay(step - self.warmup)

    def progress(self, step: int) -> float:
        """Share of the time after the warm-up that has passed after `step` steps, from 0 to 1."""
        return min(step / max(self.num_steps - self.warmup, 1), 1.0)

    def apply(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Set `lr` of every parameter group for optimizer step number `step`.

        The undecayed rate is kept in the group as `initial_lr`. A group with the key `next_lr`, as an
        optimizer that looks one step ahead has, is also told the rate of the following step.
        """
        factor = self.factor(step)
        for group in optimizer.param_groups:
            base = group.setdefault("initial_lr", group["lr"])
            group["lr"] = base * factor
            if "next_lr" in group:
                group["next_lr"] = base * self.factor(step + 1)


@register.schedule("constant")
class Constant(Schedule):
    """The same learning rate throughout, after an optional warm-up.

    Args:
        warmup_steps: steps of linear warm-up.
        warmup_fraction: the same as a share of all steps; give one of the two.
    """

    def __init__(self, num_steps: int, *, warmup_steps: Natural = 0, warmup_fraction: Fraction = 0.0) -> None:
        super().__init__(num_steps, warmup_steps, warmup_fraction)

    def decay(self, step: int) -> float:
        """1."""
        return 1.0


@register.schedule("linear")
class Linear(Schedule):
    """A straight line down to `final_factor` at the end of the run.

    Args:
        final_factor: factor on the learning rate that is reached after the last step.
        warmup_steps: steps of linear warm-up.
        warmup_fraction: the same as a share of all steps; give one of the two.
    """

    def __init__(
        self,
        num_steps: int,
        *,
        final_factor: Fraction = 0.0,
        warmup_steps: Natural = 0,
        warmup_fraction: Fraction = 0.0,
    ) -> None:
        super().__init__(num_steps, warmup_steps, warmup_fraction)
        self.final_factor = final_factor

    def decay(self, step: int) -> float:
        """1 - (1 - final_factor) * progress."""
        return 1 - (1 - self.final_factor) * self.progress(step)


@register.schedule("cosine")
class Cosine(Schedule):
    """Half a cosine down to `final_factor` at the end of the run (arXiv 1608.03983, without restarts).

    Args:
        final_factor: factor on the learning rate that is reached after the last step.
        warmup_steps: steps of linear warm-up.
        warmup_fraction: the same as a share of all steps; give one of the two.
    """

    def __init__(
        self,
        num_steps: int,
        *,
        final_factor: Fraction = 0.0,
        warmup_steps: Natural = 0,
        warmup_fraction: Fraction = 0.0,
    ) -> None:
        super().__init__(num_steps, warmup_steps, warmup_fraction)
        self.final_factor = final_factor

    def decay(self, step: int) -> float:
        """final_factor + (1 - final_factor) * (1 + cos(pi * progress)) / 2."""
        return self.final_factor + (1 - self.final_factor) * (1 + math.cos(math.pi * self.progress(step))) / 2


@register.schedule("step")
class Step(Schedule):
    """The learning rate times `gamma` at each milestone.

    Args:
        milestones: when to multiply: step numbers (integers), or shares of all steps (below 1).
        gamma: the factor.
        warmup_steps: steps of linear warm-up; the milestones count from the start of the run.
        warmup_fraction: the same as a share of all steps; give one of the two.
    """

    def __init__(
        self,
        num_steps: int,
        *,
        milestones: list[Count] | list[Fraction] = [0.5, 0.75],  # noqa: B006
        gamma: Positive = 0.1,
        warmup_steps: Natural = 0,
        warmup_fraction: Fraction = 0.0,
    ) -> None:
        super().__init__(num_steps, warmup_steps, warmup_fraction)
        self.gamma = gamma
        self.milestones = sorted(
            # A share below 1 lies before the end, in a run of two steps, too.
            m if isinstance(m, int) else min(round(m * num_steps), num_steps - (m < 1))
            for m in milestones
        )
        late = [milestone for milestone in self.milestones if milestone >= num_steps]
        if late:
            raise ValueError(f"milestone {late[0]} is not before the end of the run at {num_steps} steps")

    def decay(self, step: int) -> float:
        """gamma to the power of the number of milestones that have passed."""
        return self.gamma ** sum(milestone <= step + self.warmup for milestone in self.milestones)
