"""ABSGD: attentional-biased SGD (Qi, Xu, Jin, Yin, Yang; TMLR 2023; arXiv 2012.06951)."""

from __future__ import annotations

from typing import Literal

from pydantic import validate_call
from torch import Tensor

from framework.options import Positive, PositiveFraction
from framework.policies.base import Policy, SampleLosses
from framework.policies.moving import MovingLogMean
from framework.registry import register


@register.policy("absgd")
class ABSGD(Policy):
    """Exponential weights with a moving normaliser: KL-regularised DRO by stochastic compositional steps.

    Sample i weighs exp(l_i / temperature) / (n u), where u, a running mean of exp(l / temperature), moves
    before it is used: u <- (1 - gamma) u + gamma mean exp(l / temperature). It is kept as a logarithm. The
    authors' u (qiqi-helloworld/ABSGD, `mylosses.py`) starts at 0, which makes the first weights 1 / gamma
    times too large; here it starts at the first batch's mean. They train with cross-entropy first,
    which is `deferred` here.

    Args:
        temperature: lambda, in units of the loss; the larger, the closer to ERM.
        direction: hard leans to the largest losses (imbalance); easy divides by -temperature and leans
            away from them (noisy labels: the authors' negative lambda).
        gamma: weight of the newest batch in u; 1 normalises by the batch.
    """

    state_names = ("log_u", "started")

    @validate_call
    def __init__(
        self,
        *,
        temperature: Positive = 1.0,
        direction: Literal["hard", "easy"] = "hard",
        gamma: PositiveFraction = 0.9,
    ) -> None:
        self.scale = 1.0 / temperature if direction == "hard" else -1.0 / temperature
        self.normalizer = MovingLogMean(gamma)
        self.log_u, self.started = self.normalizer.start()

    def update(self, samples: SampleLosses) -> None:
        """Move u by the losses of the batch."""
        logits = self.scale * samples.loss.double()
        self.log_u, self.started = self.normalizer.move(self.log_u, self.started, logits)

    def weights(self, samples: SampleLosses) -> Tensor:
        """exp(l / temperature) / (n u), (n,)."""
        logits = self.scale * samples.loss.double()
        ratios = self.normalizer.ratios(self.log_u, self.started, logits)
        return (ratios / samples.num_samples).to(samples.loss.dtype)

    def numbers(self) -> dict[str, Tensor]:
        """`log_u`, a scalar."""
        return {"log_u": self.log_u}
