from framework.run_folder.decision import CHECKPOINTS, Finding, examine, is_run_folder
from framework.run_folder.environment import environment, read_environments, record_cost, record_environment
from framework.run_folder.folder import RunFolder
from framework.run_folder.metrics import read_metrics, truncate_metrics
from framework.run_folder.status import Status, read_status, require_complete

__all__ = [
    "CHECKPOINTS",
    "Finding",
    "RunFolder",
    "Status",
    "environment",
    "examine",
    "is_run_folder",
    "read_environments",
    "read_metrics",
    "read_status",
    "record_cost",
    "record_environment",
    "require_complete",
    "truncate_metrics",
]
