"""A policy around other policies: their state, numbers and needs are its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from framework.errors import CheckpointError
from framework.policies.base import Policy


class Nested(Policy):
    """Base of the policies that hold others, by name; the state of `base` is kept as `base.q` and so on."""

    def __init__(self, **inner: Policy) -> None:
        self.inner = inner
        policies = list(inner.values())
        self.needs_groups = any(policy.needs_groups for policy in policies)
        self.needs_log_probability = any(policy.needs_log_probability for policy in policies)
        self.may_be_negative = any(policy.may_be_negative for policy in policies)
        self.required_extra = tuple(
            dict.fromkeys(name for policy in policies for name in policy.required_extra)
        )

    def numbers(self) -> dict[str, Tensor]:
        """The numbers of the inner policies, under their own names where these do not meet."""
        all_numbers = [(name, policy.numbers()) for name, policy in self.inner.items()]
        names = [key for _, numbers in all_numbers for key in numbers]
        return {
            key if names.count(key) == 1 else f"{name}.{key}": value
            for name, numbers in all_numbers
            for key, value in numbers.items()
        }

    def to(self, device: torch.device) -> Policy:
        """Move the state of the inner policies to `device`, in place."""
        for policy in self.inner.values():
            policy.to(device)
        return self

    def state_dict(self) -> dict[str, Any]:
        """The state of every inner policy, each name after the inner policy's own."""
        return {
            f"{name}.{key}": value
            for name, policy in self.inner.items()
            for key, value in policy.state_dict().items()
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Hand every inner policy its part of `state`.

        Raises:
            CheckpointError: a part belongs to no inner policy, or does not fit it.
        """
        parts: dict[str, dict[str, Any]] = {name: {} for name in self.inner}
        for key, value in state.items():
            name, _, rest = key.partition(".")
            if name not in parts:
                raise CheckpointError(
                    f"policy {type(self).__name__} keeps no '{key}'; it holds {sorted(parts)}"
                )
            parts[name][rest] = value
        for name, policy in self.inner.items():
            policy.load_state_dict(parts[name])
