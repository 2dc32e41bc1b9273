"""Optimistic gradient: every forward pass is made half a step ahead of the parameters.

One call of `step` per iteration does the whole of it. The previous gradient of iteration k + 1 is the
gradient of iteration k, so the half step towards the next forward pass is made at the end of iteration k,
while that gradient is still in place, and no copy of a gradient is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor

from framework.optim.chunks import chunks, clone_states, copy_all

#: Key in a parameter's state of the one extra copy. It holds the true point while the live parameter is
#: ahead, and the point ahead inside `true_point()`, which is what a checkpoint sees.
LOOKAHEAD = "lookahead"


class Optimistic(torch.optim.Optimizer):
    """Wraps an optimizer that acts on each parameter separately and keeps its state per parameter.

    Between steps the live parameters are the point of the next forward pass; `true_point()` gives the
    iterate itself, for evaluation, export and checkpoints. `param_groups` are those of the base
    optimizer, so any schedule works; a group's `next_lr`, if it is not None, is the learning rate of the
    half step (the rate of the next iteration), else it is `lr`.

    Memory beside the base optimizer: one copy of the parameters that have gradients, and for the length
    of a step at most `chunks.CHUNK_BYTES`, or one parameter's state if that is more.

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
            copy_all(true_points, ahead)
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
        copy_all(list(copies), list(copies.values()))
        return copies

    def _move_ahead(self, parameters: list[Tensor]) -> None:
        """Step the base optimizer with alpha times the gradients, which end up as they were.

        It is shown a few parameters at a time, in groups made for the purpose, so that whatever it
        counts in a group is counted once, and not at all if the state is to be restored.
        """
        owner = {p: number for number, group in enumerate(self.param_groups) for p in group["params"]}
        groups = self.param_groups
        try:
            for chunk in chunks(parameters, [self._duplicated_bytes(p) for p in parameters]):
                groups = [_half_step_group(group) for group in self.param_groups]
                for parameter in chunk:
                    groups[owner[parameter]]["params"].append(parameter)
                self.base.param_groups = groups
                self._move_chunk_ahead(chunk)
        finally:
            self.base.param_groups = self.param_groups
        if not self.restores_state:
            for group, after in zip(self.param_groups, groups, strict=True):
                group.update({key: value for key, value in after.items() if key not in ("params", "lr")})

    def _move_chunk_ahead(self, parameters: list[Tensor]) -> None:
        gradients = [parameter.grad for parameter in parameters]
        if self.alpha != 1.0:
            for parameter, gradient in zip(parameters, gradients, strict=True):
                assert gradient is not None
                parameter.grad = gradient * self.alpha
        if not self.restores_state:
            self.base.step()
        else:
            # The base optimizer moves clones, so putting the originals back costs nothing.
            originals = [self.state.get(parameter, {}) for parameter in parameters]
            self.state.update(zip(parameters, clone_states(originals), strict=True))
            self.base.step()
            self.state.update(zip(parameters, originals, strict=True))
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient

    def _duplicated_bytes(self, parameter: Tensor) -> int:
        """What a half step holds twice of this parameter's state and gradient."""
        tensors = [parameter] if self.alpha != 1.0 else []
        if self.restores_state:
            tensors += [v for v in self.state.get(parameter, {}).values() if isinstance(v, Tensor)]
        return sum(tensor.nbytes for tensor in tensors)

    def _swap(self) -> None:
        """Exchange live parameters and copies, through a chunk of scratch memory."""
        parameters = [
            parameter
            for group in self.param_groups
            for parameter in group["params"]
            if LOOKAHEAD in self.state.get(parameter, {})
        ]
        with torch.no_grad():
            for live in chunks(parameters, [parameter.nbytes for parameter in parameters]):
                copies = [self.state[parameter][LOOKAHEAD] for parameter in live]
                scratch = [torch.empty_like(tensor) for tensor in live]
                copy_all(scratch, live)
                copy_all(live, copies)
                copy_all(copies, scratch)


def _half_step_group(group: dict[str, Any]) -> dict[str, Any]:
    """The group's options with the learning rate of the half step, and no parameters yet."""
    rate = group.get("next_lr")
    return {**group, "params": []} if rate is None else {**group, "params": [], "lr": rate}
