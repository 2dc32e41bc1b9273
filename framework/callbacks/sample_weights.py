"""What the policy does to the samples of a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from framework.options import Count, Natural
from framework.registry import register
from framework.training.hooks import Callback

if TYPE_CHECKING:
    from framework.training.assemble import Run

_QUANTILES = {"min": 0.0, "p10": 0.1, "median": 0.5, "p90": 0.9, "max": 1.0}


@register.callback("sample_weights")
class SampleWeights(Callback):
    """Records how the weights of a batch are spread, per group too, and which samples count most.

    Weights are multiplied by the number of samples of the batch, so ERM gives 1 to each.

    Args:
        every_steps: steps between two records.
        top: samples with the largest weights that are named by their index in the training split.
    """

    def __init__(self, *, every_steps: Count = 50, top: Natural = 10) -> None:
        self._every_steps = every_steps
        self._top = top

    def on_step(self, run: Run) -> None:
        """Report a `sample_weights` record when one is due."""
        last = run.last
        if run.progress.step % self._every_steps or last is None or last.weights is None:
            return
        samples = last.samples
        weights = last.weights.double() * len(last.weights)
        # One wait for the device, on the steps that record only.
        columns = torch.stack(
            [weights, samples.loss.double(), samples.groups.double(), samples.index.double()]
        )
        weights, losses, groups, index = columns.cpu()
        names = run.data.policy_groups.names
        per_sample = run.data.policy_groups.each_sample
        present = [] if per_sample else groups.unique().long().tolist()
        largest = weights.topk(min(self._top, len(weights))).indices
        run.report(
            {
                "event": "sample_weights",
                "step": run.progress.step,
                "epoch": run.progress.epoch,
                "weights": _spread(weights),
                "groups": [
                    {"name": names[group], "count": int((groups == group).sum())}
                    | _spread(weights[groups == group])
                    for group in present
                ],
                "top": [
                    {
                        "index": int(index[place]),
                        "group": str(int(groups[place])) if per_sample else names[int(groups[place])],
                        "weight": float(weights[place]),
                        "sample_loss": float(losses[place]),
                    }
                    for place in largest.tolist()
                ],
            }
        )


def _spread(weights: torch.Tensor) -> dict[str, float]:
    """Quantiles by name of (samples,) weights."""
    levels = torch.tensor(list(_QUANTILES.values()), dtype=weights.dtype)
    return dict(zip(_QUANTILES, weights.quantile(levels).tolist(), strict=True))
