"""One optimizer step: the papers' algorithm on one screen.

losses of the global batch -> policy -> weights -> gradient of sum_i weights_i * loss_i -> optimizer

With SAM the gradient is that at the worst point near the weights: the middle part runs twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from framework.config.batch_plan import BatchPlan
from framework.config.schema import SamConfig
from framework.data.batch import Batch, GlobalBatch
from framework.engines.base import Engine
from framework.errors import PluginError
from framework.policies.base import Policy, SampleLosses
from framework.tasks.base import Task
from framework.training.guards import NonFiniteGuard
from framework.training.progress import Progress
from framework.training.regularization import Regularization
from framework.training.sam import AscentPass, DescentPass
from framework.training.samples import Gather, joined, no_samples, own_samples


@dataclass(frozen=True)
class StepResult:
    """What one step saw; tensors stay on the device.

    Attributes:
        samples: the losses of the global batch (n,), at the weights before the step.
        weights: their weights (n,); None if the step was skipped before the policy spoke.
        objective: sum of weight x loss and penalties, a scalar; with SAM at the perturbed weights.
        penalty: what regularizers added to it, a scalar.
        gradient_norm: global norm before clipping, a scalar.
        taken: False when the guard skipped the step.
    """

    samples: SampleLosses
    weights: Tensor | None
    objective: Tensor
    penalty: Tensor
    gradient_norm: Tensor
    taken: bool


@dataclass(frozen=True)
class Step:
    """The training step of one run.

    Attributes:
        per_micro: each micro-batch is the policy's batch (another, cheaper algorithm); else the whole
            global batch is, whatever the number of micro-batches.
        sam: how far away, and of what, the gradient is taken; None takes it at the weights.
    """

    engine: Engine
    task: Task
    policy: Policy
    plan: BatchPlan
    guard: NonFiniteGuard
    progress: Progress
    clip_norm: float | None = None
    per_micro: bool = False
    sam: SamConfig | None = None
    regularization: Regularization = field(default_factory=Regularization)

    def __call__(self, batch: GlobalBatch) -> StepResult:
        """Take one step on the global batch, or skip it when its numbers are not finite."""
        batch = batch.to(self.engine.device)
        if not batch.num_samples:
            return _skipped(no_samples(self.engine.device))  # no sample of it could be read
        before = self.policy.state_dict()
        buffers = [buffer.clone() for buffer in self._buffers]
        self.engine.zero_grad()
        result = self._gradient(batch, self.policy) if self.sam is None else self._worst(batch, self.sam)
        if result.taken:
            norm = self.engine.clip(self.clip_norm)
            if self.guard.gradient_ok(norm, self.progress, self.engine.loss_scale):
                self.engine.step()
                self.regularization.count_step()
                self.progress.skipped = 0
                return replace(result, gradient_norm=norm)
        self.policy.load_state_dict(before)
        for buffer, value in zip(self._buffers, buffers, strict=True):
            buffer.copy_(value)
        self.engine.zero_grad()
        return replace(result, taken=False)

    @cached_property
    def gather(self) -> Gather:
        """Brings the losses of all ranks together."""
        return Gather(self.engine, self.plan)

    @cached_property
    def _buffers(self) -> list[Tensor]:
        """What a forward pass moves: running statistics, which one NaN would spoil for ever."""
        return list(self.engine.model.buffers())

    def _gradient(self, batch: GlobalBatch, policy: Policy) -> StepResult:
        """Accumulate the gradient of the objective where the model stands."""
        if self.per_micro and len(batch.micros) > 1:
            return self._each_micro(batch, policy)
        if policy.needs_batch or self.regularization:
            return self._whole_batch(batch, policy)
        return self._one_pass(batch, policy)

    def _worst(self, batch: GlobalBatch, sam: SamConfig) -> StepResult:
        """SAM: accumulate the gradient at w + rho g / |g|, where g is that of the ascent loss at w."""
        ascent = AscentPass(self.policy, sam.ascent)
        with self.engine.drawn_again():
            plain = self._gradient(batch, ascent)
        if not plain.taken:
            return plain
        norm = self.engine.clip(None)
        if not self.guard.gradient_ok(norm, self.progress, self.engine.loss_scale):
            return replace(plain, gradient_norm=norm, taken=False)
        # Running statistics are those of the weights, not of the point beside them.
        buffers = [buffer.clone() for buffer in self._buffers]
        with self.engine.perturbed(sam.rho, adaptive=sam.adaptive, add_gradient=sam.add_ascent):
            sharp = self._gradient(batch, DescentPass(ascent))
        for buffer, value in zip(self._buffers, buffers, strict=True):
            buffer.copy_(value)
        return replace(sharp, samples=plain.samples) if sharp.taken else sharp

    def _whole_batch(self, batch: GlobalBatch, policy: Policy) -> StepResult:
        """A weight depends on the other samples: all losses, then the policy, then the gradient."""
        cut = self.plan.cut(batch.num_samples, batch.left_out)
        if len(batch.micros) == 1:
            losses, micro = self._losses(batch.micros[0], last=True)
            graphs = [losses]
            samples = self.gather([micro], graphs, cut)
        else:
            # Holding the graphs of several micro-batches would be wrong under DDP and ZeRO-3 and large
            # everywhere, so the losses are computed twice, with the same random numbers.
            graphs = []
            with self.engine.preserved_state(), torch.no_grad():
                first_pass = [self._losses(micro) for micro in batch.micros]
                samples = self.gather(
                    [micro for _, micro in first_pass],
                    [losses for losses, _ in first_pass],
                    cut,
                )
        if not self.guard.losses_ok(samples, self.progress):
            return _skipped(samples)
        weights = self._checked(policy.step(samples), samples)
        factors, penalty = self._factors(weights, samples)
        for number, micro in enumerate(batch.micros):
            last = number == len(batch.micros) - 1
            losses = graphs[number] if graphs else self._losses(micro, last=last)[0]
            start, end = cut.span(number, self.engine.world.rank)
            self._backward(losses, factors[start:end], micro)
        return _taken(samples, weights, penalty)

    def _one_pass(self, batch: GlobalBatch, policy: Policy) -> StepResult:
        """A weight follows from the sample itself and the state: one pass, the state moves afterwards."""
        all_losses: list[Tensor] = []
        micros: list[Batch] = []
        for number, plain in enumerate(batch.micros):
            losses, micro = self._losses(plain, last=number == len(batch.micros) - 1)
            own = own_samples(micro, losses, batch.num_samples)
            weights = self._checked(policy.weights(own), own)
            self._backward(losses, weights, micro)
            all_losses.append(losses)
            micros.append(micro)
        samples = self.gather(micros, all_losses, self.plan.cut(batch.num_samples, batch.left_out))
        if not self.guard.losses_ok(samples, self.progress):
            return _skipped(samples)
        if len(weights) < len(samples.loss):
            weights = self._checked(policy.weights(samples), samples)
        policy.update(samples)
        return _taken(samples, weights, losses.new_zeros(()))

    def _each_micro(self, batch: GlobalBatch, policy: Policy) -> StepResult:
        """Each micro-batch is a batch of its own to the policy; their objectives are averaged by size."""
        cut = self.plan.cut(batch.num_samples, batch.left_out)
        parts: list[SampleLosses] = []
        all_weights: list[Tensor] = []
        penalties = torch.zeros((), device=self.engine.device)
        for number, plain in enumerate(batch.micros):
            losses, micro = self._losses(plain, last=number == len(batch.micros) - 1)
            samples = self.gather([micro], [losses], cut, first=number)
            if not self.guard.losses_ok(samples, self.progress):
                return _skipped(samples)
            first, last = cut.row(number)
            # Of a micro-batch without any sample no policy is asked.
            weights, factors = samples.loss, losses.detach()[:0]
            if last > first:
                share = (last - first) / batch.num_samples
                weights = self._checked(policy.step(samples), samples) * share
                factors, penalty = self._factors(weights, samples, share)
                penalties = penalties + penalty
            start, end = cut.span(number, self.engine.world.rank)
            self._backward(losses, factors[start - first : end - first], micro)
            parts.append(samples)
            all_weights.append(weights)
        return _taken(joined(parts), torch.cat(all_weights), penalties)

    def _losses(self, micro: Batch, *, last: bool = False) -> tuple[Tensor, Batch]:
        """Losses (micro,), and the batch with the columns that are for the policy in `extra`.

        With regularizers it is (micro, 1 + regularizers): beside the loss the term of each.
        """
        self.engine.announce(last=last)
        outputs = self.engine.forward(micro.inputs)
        appended, outputs = outputs, self.regularization.stripped(outputs)
        losses = self.task.losses(outputs, micro)
        assert losses.shape == (len(micro),), f"a task gives one loss per sample; got {tuple(losses.shape)}"
        own = {name: values for name, values in micro.extra.items() if values.dim() == 1}
        own |= self.task.columns(outputs.detach(), micro)
        if self.regularization:
            terms = self.regularization.terms(appended, micro, self.task)
            losses = torch.stack([losses, *terms.values()], dim=1)
            own |= {name: term.detach() for name, term in terms.items()}
        return losses, replace(micro, extra=own)

    def _checked(self, weights: Tensor, samples: SampleLosses) -> Tensor:
        if isinstance(weights, Tensor) and weights.shape == samples.loss.shape and not weights.requires_grad:
            return weights
        given = type(weights).__name__
        if isinstance(weights, Tensor):
            gradient = " with a gradient" if weights.requires_grad else ""
            given = f"weights of shape {tuple(weights.shape)}{gradient}"
        raise PluginError(
            f"policy {type(self.policy).__name__} gave {given} for {len(samples.loss)} samples;"
            " `weights` must return one detached number per sample"
        )

    def _factors(self, weights: Tensor, samples: SampleLosses, share: float = 1.0) -> tuple[Tensor, Tensor]:
        """What multiplies the columns of `_losses`, and the penalties, of which this batch has a share."""
        if not self.regularization:
            return weights, weights.new_zeros(())
        return self.regularization.factors(weights, samples, share)

    def _backward(self, losses: Tensor, weights: Tensor, micro: Batch) -> None:
        self.engine.backward(micro.keep_valid(losses), weights)


def _taken(samples: SampleLosses, weights: Tensor, penalty: Tensor) -> StepResult:
    objective = (weights * samples.loss).sum() + penalty
    return StepResult(samples, weights, objective, penalty, samples.loss.new_zeros(()), True)


def _skipped(samples: SampleLosses) -> StepResult:
    zero = samples.loss.new_zeros(())
    return StepResult(samples, None, zero, zero, zero, False)
