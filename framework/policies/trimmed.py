"""Trimming: drop the largest losses of a batch, then let any policy weigh the rest."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor

from framework.options import BelowOne
from framework.policies.base import Policy, SampleLosses
from framework.policies.groups import distribution, training_counts
from framework.policies.nested import Nested
from framework.registry import Of, register

logger = logging.getLogger("framework.policies")


@register.policy("trimmed")
class Trimmed(Nested):
    """Drops the floor(fraction * n) largest losses of the batch; `base` sees and weighs only the others.

    With `cvar` or `chi_square` this is DORO (Zhai, Dan, Kolter, Ravikumar; ICML 2021; arXiv 2106.06142;
    RuntianZ/doro), with `rgd` the outlier filter that the authors of RGD ask for on noisy data. The base
    policy's batch is the n - floor(fraction * n) kept samples. Never use it on imbalanced data: the
    samples of a rare class are the ones with the largest losses.

    Args:
        fraction: share of the batch that is dropped; 0 is the base policy.
        base: the policy for the kept samples.
        rare_groups: what to do if a group or class is no larger a share of the batches than is dropped and
            so may vanish: refuse the configuration, or warn.

    Raises:
        ValueError: the fraction is not in [0, 1), or a group or class may vanish.
    """

    def __init__(
        self,
        group_counts: Sequence[int] | None = None,
        group_shares: Sequence[float] | None = None,
        group_names: Sequence[str] | None = None,
        class_shares: Sequence[float] | None = None,
        class_names: Sequence[str] | None = None,
        *,
        fraction: BelowOne = 0.1,
        base: Annotated[Policy, Of("policy")],
        rare_groups: Literal["refuse", "warn"] = "refuse",
    ) -> None:
        if not 0 <= fraction < 1:
            raise ValueError(f"fraction must be at least 0 and below 1; got {fraction}")
        super().__init__(base=base)
        self.base = base
        self.fraction = fraction
        self.extrapolation = base.extrapolation
        if group_shares is None and group_counts is not None:
            counts = training_counts(group_counts)
            group_shares = distribution("group_shares", counts, counts).tolist()
        rare = [*_rare(fraction, group_shares, group_names), *_rare(fraction, class_shares, class_names)]
        # Groups by the label alone are the classes.
        vanishing = _shortened([*dict.fromkeys(rare)])
        if vanishing:
            message = (
                f"dropping {fraction:g} of every batch can remove all of {', '.join(vanishing)}: a rare"
                " one has the largest losses; drop less, balance the sampling, or leave trimming out"
            )
            if rare_groups == "refuse":
                raise ValueError(f"{message} (rare_groups: warn goes on)")
            logger.warning("policy trimmed: %s", message)

    def step(self, samples: SampleLosses) -> Tensor:
        """The base policy's step on the kept samples; 0 for the others, (n,)."""
        kept, part = self._keep(samples)
        return _put_back(self.base.step(part), kept, samples)

    def update(self, samples: SampleLosses) -> None:
        """Let the base policy see the kept samples."""
        self.base.update(self._keep(samples)[1])

    def weights(self, samples: SampleLosses) -> Tensor:
        """The base policy's weights of the kept samples; 0 for the others, (n,)."""
        kept, part = self._keep(samples)
        return _put_back(self.base.weights(part), kept, samples)

    def _keep(self, samples: SampleLosses) -> tuple[Tensor, SampleLosses]:
        """Positions of the kept samples, in the order of the batch, and their losses."""
        num_samples = len(samples.loss)
        # 0.3 * 10 is 3, though not in binary
        num_kept = num_samples - int(self.fraction * num_samples + 1e-9)
        kept = samples.loss.argsort(stable=True)[:num_kept].sort().values
        part = SampleLosses(
            samples.loss.index_select(0, kept),
            samples.groups.index_select(0, kept),
            samples.index.index_select(0, kept),
            num_kept,
            {name: column.index_select(0, kept) for name, column in samples.extra.items()},
        )
        return kept, part


def _put_back(weights: Tensor, kept: Tensor, samples: SampleLosses) -> Tensor:
    return torch.zeros_like(samples.loss).index_copy(0, kept, weights)


def _rare(fraction: float, shares: Sequence[float] | None, names: Sequence[str] | None) -> list[str]:
    """Those whose share of the batches is at most `fraction`; none where there is one of them."""
    if not fraction or shares is None or len(shares) < 2:
        return []
    names = names if names is not None else [f"group {number}" for number in range(len(shares))]
    return [name for name, share in zip(names, shares, strict=True) if 0 < share <= fraction]


def _shortened(names: list[str]) -> list[str]:
    return names if len(names) <= 5 else [*names[:5], f"{len(names) - 5} more"]
