"""Training written out by hand: no policy, engine, optimizer, schedule or loop of the project in it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass
class Plan:
    """The numbers of one run, as a person would write them down.

    Attributes:
        lr: learning rate of a step, by its number.
        decay: weight decay of a parameter.
        optimistic: take gradients half a step ahead.
    """

    size: int
    num_steps: int
    lr: Callable[[int], float]
    momentum: float = 0.0
    decay: Callable[[Tensor], float] = lambda parameter: 0.0
    clip: float = math.inf
    ema: float | None = None
    optimistic: bool = False


@dataclass
class Trace:
    """What the loop ended with and what it saw."""

    theta: dict[str, Tensor]
    average: dict[str, Tensor]
    norms: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)


class Weights:
    """Weights (n,) of a batch from its losses and groups (n,), then whatever the method remembers."""

    def __call__(self, losses: np.ndarray, groups: np.ndarray) -> np.ndarray:
        return np.full(len(losses), 1 / len(losses))

    @property
    def state(self) -> np.ndarray:
        return np.zeros(0)


class Rgd(Weights):
    """exp(min(l, T) / (T + 1)) / n, or / their sum."""

    def __init__(self, clip: float, *, sum_one: bool) -> None:
        self.clip, self.sum_one = clip, sum_one

    def __call__(self, losses: np.ndarray, groups: np.ndarray) -> np.ndarray:
        raised = np.exp(np.minimum(losses, self.clip) / (self.clip + 1))
        return raised / (raised.sum() if self.sum_one else len(losses))


class GroupDro(Weights):
    """q_g <- q_g exp(step * (l_g + C / sqrt(n_g))), renormalised; weight q_g / count of g in the batch."""

    def __init__(self, counts: np.ndarray, step: float, adjustment: float, *, frozen: bool) -> None:
        self.q = np.full(len(counts), 1 / len(counts))
        self.step, self.frozen = step, frozen
        self.adjustment = adjustment / np.sqrt(counts)

    def __call__(self, losses: np.ndarray, groups: np.ndarray) -> np.ndarray:
        count = np.array([(groups == g).sum() for g in range(len(self.q))])
        mean = np.array([losses[groups == g].sum() / max(count[g], 1) for g in range(len(self.q))])
        moving = count > 0 if self.frozen else np.ones(len(self.q), dtype=bool)
        held = self.q[moving].sum()
        q = self.q.copy()
        q[moving] *= np.exp(self.step * (mean + self.adjustment))[moving]
        q[moving] *= held / q[moving].sum()
        self.q = q
        return np.array([q[g] / count[g] for g in groups])

    @property
    def state(self) -> np.ndarray:
        return self.q


class Also(Weights):
    """pi_g * groups / n; then pi moves by the sums of scaled losses, half a step further if optimistic."""

    def __init__(self, prior: np.ndarray, lr: float, decay: float, *, optimistic: bool) -> None:
        self.pi = self.prior = prior / prior.sum()
        self.half = self.pi
        self.lr, self.decay, self.optimistic = lr, decay, optimistic

    def __call__(self, losses: np.ndarray, groups: np.ndarray) -> np.ndarray:
        scale = len(self.pi) / len(losses)
        weights = self.half[groups] * scale
        payoff = np.zeros(len(self.pi))
        np.add.at(payoff, groups, losses * scale)
        self.pi = self.moved(payoff)
        self.half = self.moved(payoff) if self.optimistic else self.pi
        return weights

    def moved(self, payoff: np.ndarray) -> np.ndarray:
        pull = self.decay * self.lr
        logits = (np.log(self.pi) + pull * np.log(self.prior) + self.lr * payoff) / (1 + pull)
        raised = np.exp(logits - logits.max())
        return raised / raised.sum()

    @property
    def state(self) -> np.ndarray:
        return self.pi


def train(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    groups: np.ndarray,
    epoch_order: Callable[[int], np.ndarray],
    weigh: Weights,
    plan: Plan,
) -> Trace:
    """SGD with momentum on sum_i weight_i * loss_i; the batches follow the order of each epoch."""
    named = dict(model.named_parameters())
    theta = {name: parameter.detach().clone() for name, parameter in named.items()}
    velocity: dict[str, Tensor] = {}
    ahead = theta
    trace = Trace(theta, {name: tensor.clone() for name, tensor in theta.items()})
    epoch, place, order = 0, 0, epoch_order(0)
    for number in range(plan.num_steps):
        batch = order[place : place + plan.size]
        place += plan.size
        if place >= len(order):
            epoch, place, order = epoch + 1, 0, epoch_order(epoch + 1)
        outputs = torch.func.functional_call(model, ahead, (inputs[batch],))
        losses = F.cross_entropy(outputs, targets[batch], reduction="none").detach().double().numpy()
        weights = torch.from_numpy(weigh(losses, groups[batch])).float()
        point = {name: tensor.clone().requires_grad_() for name, tensor in ahead.items()}
        outputs = torch.func.functional_call(model, point, (inputs[batch],))
        objective = (weights * F.cross_entropy(outputs, targets[batch], reduction="none")).sum()
        gradients = dict(zip(point, torch.autograd.grad(objective, list(point.values())), strict=True))
        norm = math.sqrt(sum(float(g.double().pow(2).sum()) for g in gradients.values()))
        if norm > plan.clip:
            gradients = {name: g * (plan.clip / norm) for name, g in gradients.items()}
        theta, velocity = _moved(theta, velocity, gradients, plan, number)
        # The half step follows the gradient just taken and leaves no trace in the velocity.
        ahead = _moved(theta, velocity, gradients, plan, number + 1)[0] if plan.optimistic else theta
        if plan.ema is not None:
            for name, tensor in theta.items():
                trace.average[name] = plan.ema * trace.average[name] + (1 - plan.ema) * tensor
        trace.norms.append(norm)
        trace.sizes.append(len(batch))
        trace.losses.append(float(losses.sum()))
    trace.theta = theta
    return trace


def _moved(
    theta: dict[str, Tensor],
    velocity: dict[str, Tensor],
    gradients: dict[str, Tensor],
    plan: Plan,
    number: int,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    new_theta, new_velocity = {}, {}
    for name, tensor in theta.items():
        force = gradients[name] + plan.decay(tensor) * tensor
        new_velocity[name] = plan.momentum * velocity.get(name, torch.zeros_like(force)) + force
        new_theta[name] = tensor - plan.lr(number) * new_velocity[name]
    return new_theta, new_velocity
