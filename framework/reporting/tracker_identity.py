"""What a tracker calls this run, kept in the run folder so that a resume goes on under the same name."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from framework.files import replace_file, to_json

logger = logging.getLogger("framework.reporting")


class Identity:
    """A small file `NAME.json` in the run folder; a damaged one counts as none, with a warning."""

    def __init__(self, run_dir: Path, tracker: str) -> None:
        self.path = run_dir / f"{tracker}.json"

    def read(self) -> dict[str, Any]:
        """What was kept; empty for a run that this tracker has not met."""
        try:
            content = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            logger.warning("%s cannot be read, the tracker begins a new run: %s", self.path, error)
            return {}
        return content if isinstance(content, dict) else {}

    def write(self, content: dict[str, Any]) -> None:
        """Replace the file.

        Raises:
            OSError: the folder is not writable.
        """
        replace_file(self.path, [to_json(content)])
