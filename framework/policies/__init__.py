"""Loss-weighting policies, usable in any training loop."""

from framework.policies.absgd import ABSGD
from framework.policies.also import ALSO
from framework.policies.base import Policy, SampleLosses
from framework.policies.chi_square import ChiSquare
from framework.policies.class_balanced import ClassBalanced
from framework.policies.cvar import CVaR
from framework.policies.deferred import Deferred
from framework.policies.doremi import DoReMi
from framework.policies.erm import ERM
from framework.policies.focal import Focal
from framework.policies.group_cvar import GroupCVaR
from framework.policies.group_dro import GroupDRO
from framework.policies.importance import Importance
from framework.policies.rgd import RGD
from framework.policies.spectral import Spectral
from framework.policies.tilted import Tilted
from framework.policies.trimmed import Trimmed
from framework.policies.vrex import VREx

__all__ = [
    "ABSGD",
    "ALSO",
    "ERM",
    "RGD",
    "CVaR",
    "ChiSquare",
    "ClassBalanced",
    "Deferred",
    "DoReMi",
    "Focal",
    "GroupCVaR",
    "GroupDRO",
    "Importance",
    "Policy",
    "SampleLosses",
    "Spectral",
    "Tilted",
    "Trimmed",
    "VREx",
]
