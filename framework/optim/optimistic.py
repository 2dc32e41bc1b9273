"""Optimistic gradient: every forward pass is made half a step ahead of the parameters.

One call of `step` per iteration does the whole of it. The previous gradient of iteration k + 1 is the
gradient of iteration k, so the half step towards the next forward pass is made at the end of iteration k,
while that gradient is still in place, and no copy of a gradient is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, Literal

import torch
from torch import Tensor

#: Key in a parameter's state of the one extra copy. It holds the true point while the live parameter is
#: ahead, and the point ahead inside `true_point()`, which is what a checkpoint sees.
LOOKAHEAD = "lookahead"

#: Bytes of optimizer state or gradients that exist twice at any moment.
CHUNK_BYTES = 64 * 2**20


class Optimistic(torch.optim.Optimizer):
    """Wraps an optimizer that acts on each parameter separately and keeps its state per parameter.

    Between steps the live parameters are the point of the next forward pass; `true_point()` gives the
    iterate itself, for evaluation, export and checkpoints. `param_groups` are those of the base
    optimizer, so any schedule works; a group's `next_lr`, if it is not None, is the learning rate of the
    half step (the rate of the next iteration), else it is `lr`.

    Memory beside the base optimizer: one copy of the parameters that have gradients, and for the length
    of a step at most `CHUNK_BYTES`, or one parameter's state if that is more.

    `load_state_dict` takes a state that was made inside `true_point()`: load the model's parameters
    first, or load both inside `true_point()`.

    Args:
        base: makes the real steps and the half steps.
        alpha: factor on the gradient in the half step. At 0 a half step still follows the momentum and
            weight decay of the base optimizer.
        state: restored puts the base optimizer's state back after the half step; shared leaves it
            advanced, so that moments move twice per iteration, as in the authors' code of ALSO.
    """

    def __init__(
        self,
        base: torch.optim.Optimizer,
        alpha: float = 1.0,
        state: Literal["restored", "shared"] = "restored",
    ) -> None:
        if alpha < 0:
            raise ValueError(f"alpha must not be negative, got {alpha}")
        if state not in ("restored", "shared"):
            raise ValueError(f"state must be restored or shared, got {state!r}")
        super().__init__(base.param_groups, base.defaults)
        self.base = base
        self.alpha = alpha
        self.restores_state = state == "restored"
        self._at_true_point = False
        for group in base.param_groups:
            group.setdefault("next_lr", None)
        self._share_with_base()

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Step from the true point with the current gradients, then move ahead for the next forward pass.

        Raises:
            ValueError: a closure is given: it would be evaluated at points that no one asked for.
            RuntimeError: called inside `true_point()`.
        """
        if closure is not None:
            raise ValueError("an optimistic step takes no closure")
        if self._at_true_point:
            raise RuntimeError("step() inside true_point(): gradients belong to the point ahead")
        # Engines that shard the optimizer replace these two attributes of the optimizer they were given.
        self.base.param_groups, self.base.state = self.param_groups, self.state
        with torch.no_grad():
            copies = self._return_to_true_point()
            self.base.step()
            ahead = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
            true_points = [copies[p] if p in copies else torch.empty_like(p) for p in ahead]
            _copy(true_points, ahead)
            with self._next_learning_rates():
                self._move_ahead(ahead)
            for parameter, true_point in zip(ahead, true_points, strict=True):
                self.state[parameter][LOOKAHEAD] = true_point

    @contextmanager
    def true_point(self) -> Iterator[None]:
        """Inside, the live parameters are the iterate; afterwards they are ahead again, bit for bit."""
        if self._at_true_point:
            yield
            return
        self._swap()
        self._at_true_point = True
        try:
            yield
        finally:
            self._at_true_point = False
            self._swap()

    def state_dict(self) -> dict[str, Any]:
        """The base optimizer's state, with the point ahead as `lookahead` in each parameter's.

        Raises:
            RuntimeError: the live parameters are ahead, so a model saved now would not be the iterate.
        """
        if not self._at_true_point and any(LOOKAHEAD in state for state in self.state.values()):
            raise RuntimeError("the state of an optimistic optimizer is taken inside true_point()")
        self.base.param_groups, self.base.state = self.param_groups, self.state
        return self.base.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state; outside `true_point()` the live parameters must be the iterate."""
        self.base.load_state_dict(state_dict)
        self._share_with_base()
        for state in self.state.values():
            if LOOKAHEAD in state:
                # torch keeps the tensors it is given, and this one is overwritten by every swap.
                state[LOOKAHEAD] = state[LOOKAHEAD].clone()
        if not self._at_true_point:
            self._swap()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group to the base optimizer."""
        if hasattr(self, "base"):
            param_group.setdefault("next_lr", None)
            self.base.add_param_group(param_group)
            self._share_with_base()
        else:  # called by the constructor of torch.optim.Optimizer
            super().add_param_group(param_group)

    def _share_with_base(self) -> None:
        self.param_groups, self.state = self.base.param_groups, self.base.state

    def _return_to_true_point(self) -> dict[Tensor, Tensor]:
        """Undo the last half step, also where no gradient came since; the copies, out of the state.

        Optimizers recognise the first step of a parameter by its empty state, so the base optimizer must
        not find the copy there.
        """
        copies = {}
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state.get(parameter)
                if state is not None and LOOKAHEAD in state:
                    copies[parameter] = state.pop(LOOKAHEAD)
        _copy(list(copies), list(copies.values()))
        return copies

    @contextmanager
    def _next_learning_rates(self) -> Iterator[None]:
        rates = [group["lr"] for group in self.param_groups if "lr" in group]
        groups = [group for group in self.param_groups if "lr" in group]
        try:
            for group in groups:
                if group.get("next_lr") is not None:
                    group["lr"] = group["next_lr"]
            yield
        finally:
            for group, rate in zip(groups, rates, strict=True):
                group["lr"] = rate

    def _move_ahead(self, parameters: list[Tensor]) -> None:
        """Step the base optimizer with alpha times the gradients, which end up as they were."""
        if not self.restores_state and self.alpha == 1.0:
            self.base.step()
            return
        gradients = [parameter.grad for parameter in parameters]
        options = [{k: v for k, v in group.items() if k != "params"} for group in self.param_groups]
        try:
            for parameter in parameters:
                parameter.grad = None
            for chunk in _chunks([self._duplicated_bytes(p) for p in parameters]):
                # Some optimizers count steps in their groups: all chunks are one step to them.
                self._set_options(options)
                self._move_chunk_ahead(parameters[chunk], gradients[chunk])
        finally:
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
        if self.restores_state:
            self._set_options(options)

    def _move_chunk_ahead(self, parameters: list[Tensor], gradients: list[Tensor | None]) -> None:
        """One half step of `parameters`, while no other parameter has a gradient."""
        for parameter, gradient in zip(parameters, gradients, strict=True):
            assert gradient is not None
            parameter.grad = gradient if self.alpha == 1.0 else gradient * self.alpha
        if not self.restores_state:
            self.base.step()
        else:
            # The base optimizer moves clones, so putting the originals back costs nothing.
            originals = [self.state.pop(parameter, None) for parameter in parameters]
            stateful = [p for p, original in zip(parameters, originals, strict=True) if original is not None]
            clones = _clone_states([original for original in originals if original is not None])
            self.state.update(zip(stateful, clones, strict=True))
            self.base.step()
            for parameter, original in zip(parameters, originals, strict=True):
                self.state.pop(parameter, None)
                if original is not None:
                    self.state[parameter] = original
        for parameter in parameters:
            parameter.grad = None

    def _set_options(self, options: list[dict[str, Any]]) -> None:
        for group, values in zip(self.param_groups, options, strict=True):
            group.update(values)

    def _duplicated_bytes(self, parameter: Tensor) -> int:
        """What a half step holds twice of this parameter's state and gradient."""
        tensors = [parameter] if self.alpha != 1.0 else []
        if self.restores_state:
            tensors += [v for v in self.state.get(parameter, {}).values() if isinstance(v, Tensor)]
        return sum(tensor.nbytes for tensor in tensors)

    def _swap(self) -> None:
        """Exchange live parameters and copies, through a chunk of scratch memory."""
        pairs = [
            (parameter, self.state[parameter][LOOKAHEAD])
            for group in self.param_groups
            for parameter in group["params"]
            if LOOKAHEAD in self.state.get(parameter, {})
        ]
        with torch.no_grad():
            for chunk in _chunks([parameter.nbytes for parameter, _ in pairs]):
                live, copies = [pair[0] for pair in pairs[chunk]], [pair[1] for pair in pairs[chunk]]
                scratch = [torch.empty_like(tensor) for tensor in live]
                _copy(scratch, live)
                _copy(live, copies)
                _copy(copies, scratch)


def _chunks(sizes: Sequence[int]) -> Iterator[slice]:
    """Consecutive slices of at most `CHUNK_BYTES` each; an item that is larger makes one alone."""
    start, total = 0, 0
    for position, size in enumerate(sizes):
        if total + size > CHUNK_BYTES and position > start:
            yield slice(start, position)
            start, total = position, 0
        total += size
    if sizes:
        yield slice(start, len(sizes))


def _copy(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Copy each source into its target, in one kernel per device and dtype where there is one."""
    kinds: dict[tuple[torch.device, torch.dtype], tuple[list[Tensor], list[Tensor]]] = {}
    for target, source in zip(targets, sources, strict=True):
        same_kind = kinds.setdefault((target.device, target.dtype), ([], []))
        same_kind[0].append(target)
        same_kind[1].append(source)
    for same_targets, same_sources in kinds.values():
        torch._foreach_copy_(same_targets, same_sources)


def _clone_states(states: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Independent copies of per-parameter states."""
    clones = [
        {k: torch.empty_like(v) if isinstance(v, Tensor) else deepcopy(v) for k, v in state.items()}
        for state in states
    ]
    pairs = [
        (clone[key], value)
        for clone, state in zip(clones, states, strict=True)
        for key, value in state.items()
        if isinstance(value, Tensor)
    ]
    _copy([target for target, _ in pairs], [source for _, source in pairs])
    return clones
