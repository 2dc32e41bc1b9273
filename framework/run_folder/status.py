"""How a run stands, for whoever looks at its folder next."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from framework.errors import UserError
from framework.files import replace_file, to_json

STATUS = "status.json"
State = Literal["running", "finished", "stopped", "interrupted", "failed"]


@dataclass(frozen=True)
class Status:
    """The content of status.json.

    Attributes:
        state: `running` (also after a kill, which leaves no time to say otherwise), `finished`,
            `stopped` (ended early by its own rule), `interrupted` (a signal), `failed` (an error).
        step: optimizer steps taken when this was written.
        reason: why it ended, for a reader.
        pid: the process that wrote it.
    """

    state: State
    step: int = 0
    reason: str = ""
    pid: int = 0

    @property
    def complete(self) -> bool:
        """Whether there is nothing left to continue."""
        return self.state in ("finished", "stopped")

    def write(self, run_dir: Path) -> None:
        """Replace status.json.

        Raises:
            OSError: the folder is not writable.
        """
        replace_file(run_dir / STATUS, [to_json({**asdict(self), "pid": os.getpid()})])


def require_complete(run_dir: Path, purpose: str) -> None:
    """Refuse a run that has not come to its end.

    Args:
        run_dir: the run folder.
        purpose: what only a complete run allows, for the message.

    Raises:
        UserError: the run is not complete.
    """
    status = read_status(run_dir)
    if status is None or not status.complete:
        state = "has not begun" if status is None else f"is {status.state} at step {status.step}"
        raise UserError(f"the run in {run_dir} {state}; {purpose}")


def read_status(run_dir: Path) -> Status | None:
    """The status of a run; None when there is none, and `running` when it cannot be understood."""
    try:
        content = json.loads((run_dir / STATUS).read_bytes())
        return Status(content["state"], content["step"], content["reason"], content["pid"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return Status("running")
