"""Loss-weighting policies, usable in any training loop."""

from framework.policies.also import ALSO
from framework.policies.base import Policy, SampleLosses
from framework.policies.erm import ERM
from framework.policies.group_dro import GroupDRO
from framework.policies.rgd import RGD

__all__ = ["ALSO", "ERM", "RGD", "GroupDRO", "Policy", "SampleLosses"]
