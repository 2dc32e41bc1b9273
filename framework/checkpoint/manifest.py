"""The list of a checkpoint's files with their sizes and checksums; written last, read first."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framework.errors import CheckpointError
from framework.files import FileDigest, digest_file, to_json, write_file

MANIFEST = "manifest.json"
FORMAT = 2


@dataclass(frozen=True)
class Manifest:
    """What a complete checkpoint folder holds; files that it does not list are not looked at."""

    step: int
    files: Mapping[str, FileDigest]

    def write(self, folder: Path) -> None:
        """Write the list into `folder`.

        Raises:
            OSError: as the system says.
        """
        content = self._content()
        write_file(folder / MANIFEST, [to_json({**content, "sha256": _seal(content)})])

    def verify(self, folder: Path) -> None:
        """Compare every listed file with the disk.

        Raises:
            CheckpointError: a file is missing, cannot be read, or is not what was written.
        """
        for name, expected in self.files.items():
            path = folder / name
            try:
                size = path.stat().st_size
                if size != expected.size:
                    raise CheckpointError(f"{name} has {size} bytes instead of {expected.size}")
                if digest_file(path) != expected:
                    raise CheckpointError(f"the content of {name} has changed since it was written (SHA-256)")
            except FileNotFoundError:
                raise CheckpointError(f"{name} is missing") from None
            except OSError as error:
                raise CheckpointError(f"{name} cannot be read: {error.strerror}") from error

    def _content(self) -> dict[str, Any]:
        files = {name: {"size": file.size, "sha256": file.sha256} for name, file in self.files.items()}
        return {"format": FORMAT, "step": self.step, "files": files}


def read_manifest(folder: Path) -> Manifest:
    """The list in `folder`; the files themselves are not looked at.

    Raises:
        CheckpointError: it is missing, damaged, or of another format version.
    """
    try:
        content = json.loads((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise CheckpointError(f"{MANIFEST} is missing: the checkpoint was never completed") from None
    except OSError as error:
        raise CheckpointError(f"{MANIFEST} cannot be read: {error.strerror}") from error
    except ValueError:
        raise CheckpointError(f"{MANIFEST} is not JSON") from None
    if not isinstance(content, dict) or "format" not in content:
        raise CheckpointError(f"{MANIFEST} is not a list of checkpoint files")
    seal = content.pop("sha256", None)
    if seal != _seal(content):
        raise CheckpointError(f"{MANIFEST} is damaged: it does not match its own checksum")
    if content["format"] != FORMAT:
        raise CheckpointError(
            f"it has format {content['format']}, this version reads format {FORMAT}: "
            "read it with the version that wrote it"
        )
    files = {name: FileDigest(file["size"], file["sha256"]) for name, file in content["files"].items()}
    return Manifest(content["step"], files)


def _seal(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
