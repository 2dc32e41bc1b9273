"""The distribution over groups that a policy has come to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from framework.artifacts.base import Artifact, Which
from framework.config.schema import RunConfig
from framework.data.group_weights import write_weights
from framework.errors import TrainingError
from framework.naming import nearest
from framework.registry import register, registry

if TYPE_CHECKING:
    from framework.checkpoint.checkpoint import Checkpoint
    from framework.training.assemble import Run

#: what is taken where no name is given, the first that the policy has
_USUAL = ("alpha_average", "alpha", "q", "pi")


@register.artifact("policy_state")
class PolicyState(Artifact):
    """A policy's distribution over groups, as `data.sampling.name=weighted` reads it.

    DoReMi (arXiv 2305.10429) samples the data of its final model by the mean of alpha over the steps of
    the proxy run. A JSON file: `{"groups": [names], "weights": [numbers]}`.

    Args:
        state: which of the policy's numbers; null takes `alpha_average`, `alpha`, `q` or `pi`.
        checkpoint: the last one, or the selected one.
    """

    suffix = ".json"
    per_sample = False

    def __init__(self, *, state: str | None = None, checkpoint: Which = "latest") -> None:
        self.state = state
        self.checkpoint = checkpoint

    def objection(self, config: RunConfig) -> str:
        target = registry.get("policy", config.policy.name).target
        nested = any(field in type(config.policy).model_fields for field in ("base", "policy"))
        if getattr(target, "state_names", ()) or nested:
            return ""
        return f"policy {config.policy.name} keeps no distribution over groups"

    def write(self, run: Run, checkpoint: Checkpoint, path: Path) -> str:
        names = run.data.policy_groups.names
        numbers = {
            name: value for name, value in run.policy.numbers().items() if value.shape == (len(names),)
        }
        usual = next((name for name in _USUAL if name in numbers), None)
        chosen = self.state if self.state is not None else usual
        if chosen is None or chosen not in numbers:
            offer = nearest(self.state, numbers) if self.state is not None else ""
            wanted = f"'{self.state}'" if self.state is not None else "distribution over groups"
            listed = ", ".join(numbers) or "none"
            raise TrainingError(
                f"policy {run.config.policy.name} has no {wanted}{offer} (per group there is: {listed})"
            )
        values = numbers[chosen].double().cpu()
        shares = dict(zip(names, (values / values.sum()).tolist(), strict=True))
        if run.world.is_main:
            write_weights(path, shares)
        listed = ", ".join(f"{name} {share:.3f}" for name, share in list(shares.items())[:8])
        return f"{chosen} at step {checkpoint.step}: {listed}{', …' if len(shares) > 8 else ''}"
