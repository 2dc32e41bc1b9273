"""A run from a loaded configuration to an exit code: folder, log, resume, training, outcome."""

from __future__ import annotations

import logging
from pathlib import Path

from framework.checkpoint.restore import restore
from framework.checkpoint.store import CheckpointStore
from framework.config.load import LoadedConfig, save
from framework.errors import EXIT_OK, EXIT_REQUEUE
from framework.registry import registry
from framework.reporting.fanout import Reporters
from framework.reporting.jsonl import JsonLines
from framework.run_folder import RunFolder
from framework.training.assemble import Run, assemble
from framework.training.check import rehearse
from framework.training.guards import StopSignal
from framework.training.hooks import RunHeader
from framework.training.loop import fit

logger = logging.getLogger("framework")
