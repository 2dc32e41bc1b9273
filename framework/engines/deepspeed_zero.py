"""ZeRO stages 1 to 3: each process moves its share of the parameters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from framework.engines import model_state
from framework.engines.base import EngineSettings
from framework.engines.birth import shell_and_source
from framework.engines.deepspeed_birth import fill, with_placeholders
from framework.engines.deepspeed_replicated import DeepSpeedEngine
from framework.engines.deepspeed_shards import OptimizerShards, ParameterShards, Shards
from framework.engines.deepspeed_state import by_name, scatter
from framework.engines.deepspeed_weights import gathered_for_writing, unsharded, whole_copy
from framework.engines.precision import LossScaleOptions, Precision, restore_loss_scale
from framework.errors import ConfigError, Problem
from framework.optim.ema import Ema
from framework.optim.optimistic import LOOKAHEAD, Optimistic
from framework.optim.perturbation import perturb
from framework.pieces import Piece, whole


class ZeroEngine(DeepSpeedEngine):
    """Stages 1 to 3: what training moves are flat fp32 shards; the model follows them after every step.

    A gradient is reduced in the last backward pass, so its norm is known before the step; DeepSpeed clips
    inside its step by the norm that `clip` was given, and is told the norm, which it would measure again.
    """

    def __init__(
        self,
        settings: EngineSettings,
        precision: Precision,
        loss_scale: LossScaleOptions,
        options: dict[str, Any],
        *,
        compile: bool = False,
    ) -> None:
        self.stage: int = options["stage"]
        self._source: nn.Module | None = None
        self._is_empty = False
        super().__init__(replace(settings, ema_decay=None), precision, loss_scale, options, compile=compile)
        self.zero: Any = self.parallel.optimizer
        kind = ParameterShards if self.stage == 3 else OptimizerShards
        named = list(self.model.named_parameters())
        self.shards: Shards = kind(self.zero, named, self.world)
        if settings.ema_decay is not None:
            flats: Any = [(str(number), flat) for number, flat in enumerate(self.shards.flats)]
            self.ema = Ema(flats, settings.ema_decay)
        #: offloaded gradients lie elsewhere, with norms of their own
        self._is_offloaded: bool = options["offload_optimizer"] or options["offload_parameters"]
        self.can_perturb = not self._is_offloaded
        self._at_true_point = False
        self._max_norm = 0.0
        self._scaled_norm = torch.zeros(())

    def prepare(self, make_model: Callable[[], nn.Module]) -> nn.Module:
        if self.stage < 3 or self.world.size == 1:
            return super().prepare(make_model)
        shell, self._source = shell_and_source(make_model, self.world)
        if shell is None:
            assert self._source is not None
            return self._source.to(self.device)
        self._is_empty = True
        return with_placeholders(shell, self.device)

    def fill(self, package: Any, config: dict[str, Any]) -> None:
        if self._is_empty:
            try:
                fill(self.model, self._source, package, config, self.device)
            except ValueError as error:
                raise ConfigError([Problem("engine.deepspeed", str(error))]) from error
        self._source = None

    def clip(self, max_norm: float | None) -> Tensor:
        self._max_norm = max_norm or 0.0
        if self._is_offloaded:
            self._scaled_norm = self.shards.offloaded_norm()
        else:
            self._scaled_norm = self.norm(list(chain.from_iterable(self.shards.gradient_parts())))
        return self._scaled_norm / self.scale

    def step(self) -> None:
        self.zero.clip_grad = self._max_norm
        with self._loss_scale_told(), self.shards.norm_told(self._scaled_norm):
            self.parallel.step()
        self.after_step()

    @contextmanager
    def _loss_scale_told(self) -> Iterator[None]:
        """Inside, DeepSpeed divides gradients by the loss scale; in backward passes it would multiply."""
        self.zero.custom_loss_scaler, self.zero.external_loss_scale = True, self.scale
        try:
            yield
        finally:
            self.zero.custom_loss_scaler, self.zero.external_loss_scale = False, None

    @contextmanager
    def perturbed(self, rho: float, *, adaptive: bool = False, add_gradient: bool = False) -> Iterator[None]:
        weights, gradients = [flat.detach() for flat in self.shards.flats], self.shards.gradients()
        with self.shards.changing():
            before = perturb(weights, gradients, rho, self.norm, adaptive=adaptive)
        if not add_gradient:
            gradients = []
        self.zero_grad()
        try:
            yield
        finally:
            with self.shards.changing():
                torch._foreach_copy_(weights, before)
        self.shards.add_to_gradients(gradients)

    def norm(self, tensors: list[Tensor]) -> Tensor:
        return self.all_sum(super().norm(tensors).double().square()).sqrt().float()

    def update_average(self, average: Ema) -> None:
        self._swap_ahead()
        average.update()
        self._swap_ahead()

    def zero_grad(self) -> None:
        self.shards.forget_gradients()

    @contextmanager
    def true_point(self) -> Iterator[None]:
        if self._at_true_point or not isinstance(self.optimizer, Optimistic):
            yield
            return
        with self.shards.changing():
            self._swap_ahead()
        self._at_true_point = True
        try:
            yield
        finally:
            self._at_true_point = False
            with self.shards.changing():
                self._swap_ahead()

    @contextmanager
    def averaged(self, average: Ema) -> Iterator[None]:
        with ExitStack() as swapped:
            with self.shards.changing():
                swapped.enter_context(average.swap())
            try:
                yield
            finally:
                with self.shards.changing():
                    swapped.close()

    def _swap_ahead(self) -> None:
        """Exchange the shards and the points ahead of them, where an optimizer keeps such."""
        with torch.no_grad():
            for flat in self.shards.flats:
                ahead = self.optimizer.state.get(flat, {}).get(LOOKAHEAD)
                if ahead is not None:
                    kept = flat.detach().clone()
                    flat.copy_(ahead)
                    ahead.copy_(kept)

    def named_weights(self) -> Iterator[tuple[str, Tensor]]:
        """Under stage 3 each parameter is whole only for its turn: every rank goes through all of them."""
        if not isinstance(self.shards, ParameterShards):
            yield from self.model.state_dict().items()
            return
        weights = self.model.state_dict(keep_vars=True)
        times = Counter(id(weight) for weight in weights.values())
        tied: dict[int, Tensor] = {}
        for name, weight in weights.items():
            value = tied[id(weight)] if id(weight) in tied else whole_copy(weight)
            if times[id(weight)] > 1:
                tied[id(weight)] = value
            yield name, value

    def state_dict(self) -> dict[str, Any]:
        if isinstance(self.optimizer, Optimistic) and not self._at_true_point:
            raise RuntimeError("the state of an optimistic optimizer is taken inside true_point()")
        model = self._model_state()
        state: dict[str, Any] = {
            "model": model,
            "optimizer": by_name(self.optimizer, self.shards, self.groups),
        }
        if self.loss_scale is not None:
            state["scaler"] = self.loss_scale.state_dict()
        return state if self.ema is None else {**state, "ema": self._average_state(self.ema, model)}

    def _model_state(self) -> dict[str, Tensor | Piece]:
        flat_of = {
            name: flat
            for flat, members in zip(self.shards.flats, self.shards.members, strict=True)
            for name in members
        }
        state: dict[str, Tensor | Piece] = {}
        tied: dict[int, Tensor | Piece] = {}
        for name, weight in self.model.state_dict(keep_vars=True).items():
            if id(weight) not in tied:
                tied[id(weight)] = (
                    self.shards.piece(name, flat_of[name])
                    if name in flat_of
                    else unsharded(weight, self.world)
                )
            state[name] = tied[id(weight)]
        return state

    def _average_state(self, ema: Ema, model: dict[str, Tensor | Piece]) -> dict[str, Tensor | Piece]:
        averages: dict[str, Tensor | Piece] = {}
        for average, members in zip(ema.averages, self.shards.members, strict=True):
            averages |= {name: self.shards.piece(name, average) for name in members}
        # The average of a frozen parameter is the parameter.
        return {name: averages[name] if name in averages else model[name] for name in self.names.values()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.check_state(state)
        model_state.check(state["model"], self.model.state_dict(keep_vars=True), "model")
        with self.shards.changing(), torch.no_grad():
            self._load_unsharded(state["model"])
            self._load_flats(state["model"], self.shards.flats)
            scatter(self.optimizer, self.shards, self.groups, state["optimizer"])
            if self.ema is not None:
                model_state.check(state["ema"], dict(self.model.named_parameters()), "average")
                self._load_flats(state["ema"], self.ema.averages)
            if not self._at_true_point:
                self._swap_ahead()
        restore_loss_scale(self.loss_scale, state.get("scaler"))

    def _load_flats(self, values: dict[str, Any], flats: list[Tensor]) -> None:
        for flat, members in zip(flats, self.shards.members, strict=True):
            for name in members:
                self.shards.put(name, values[name], flat)

    def _load_unsharded(self, values: dict[str, Any]) -> None:
        """Buffers and frozen parameters, which no shard holds."""
        for name, weight in self.model.state_dict(keep_vars=True).items():
            if name not in self.shards.shapes and not weight.requires_grad:
                with gathered_for_writing(weight):
                    weight.copy_(whole(values[name]))
