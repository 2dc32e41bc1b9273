"""`manifest.json`: what a folder of shards holds, so that nothing need be read to know it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from framework.data.batch import DataSpec
from framework.errors import DataError
from framework.files import replace_file, to_json

FILE = "manifest.json"
VERSION = 1


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class InputField(_Part):
    """One input tensor of a sample and the member it is stored in.

    Attributes:
        member: extension of the member, e.g. `npy`.
        kind: how its bytes become numbers: `array` (NumPy), `image` (PNG, JPEG), `text` (UTF-8 bytes),
            `tensor` (safetensors) or `json` (a list of numbers).
        dtype: NumPy name of the stored numbers.
        shape: of one sample as a model gets it, images as (channels, height, width).
        scale: what stored numbers are divided by, 255 for pixels; 1 keeps them.
    """

    member: str
    kind: Literal["array", "image", "text", "tensor", "json"]
    dtype: str
    shape: tuple[int, ...]
    scale: int = 1


class Shard(_Part):
    """One tar file.

    Attributes:
        file: relative to the folder of the manifest, absolute, or a URL.
        bytes: size of the file.
        sha256: of the file, in hex.
        samples: how many it holds.
        groups: samples per group, in the order of the manifest's groups.
    """

    file: str
    bytes: int
    sha256: str
    samples: int
    groups: tuple[int, ...] = ()


class Split(_Part):
    """The shards of one split, in order; position p counts through all of them."""

    samples: int
    shards: tuple[Shard, ...]


class Groups(_Part):
    """The groups that metadata columns form, with the samples of each in every split."""

    columns: tuple[str, ...]
    names: tuple[str, ...]
    counts: dict[str, tuple[int, ...]]


class IndexFile(_Part):
    """The binary index beside the manifest."""

    file: str
    bytes: int
    sha256: str


class Manifest(_Part):
    """A folder of shards.

    Attributes:
        made_from: what the samples and the options of the writer hash to; empty for shards made elsewhere.
        inputs: by name; the one input of a sample that is a single tensor has the empty name.
        input_shape: of one sample, as models are built for it.
        classes: names by class id, None where targets are real numbers.
        num_targets: width of a real-valued target.
        num_tokens: size of the vocabulary, None where inputs are not tokens.
        next_tokens: whether targets are the tokens that follow.
        target: the member with targets of several numbers; None where the index has them.
        columns: names of the values of each metadata column, by id.
        origins: where a column comes from if not from the key of its name in the .json member: `cls`, `txt`,
            or another key.
        extra: names of the per-sample numbers.
        groups: counts for reading; training forms its own groups from the columns.
        splits: by name.
        index: the offsets and columns of all samples; None only while it is being made.
    """

    format: Literal["framework-shards"] = "framework-shards"
    version: Literal[1] = 1
    made_from: str = ""
    inputs: dict[str, InputField]
    input_shape: tuple[int, ...]
    classes: tuple[str, ...] | None
    num_targets: int = 1
    num_tokens: int | None = None
    next_tokens: bool = False
    target: InputField | None = None
    columns: dict[str, tuple[str, ...]]
    origins: dict[str, str] = {}
    extra: tuple[str, ...] = ()
    groups: Groups
    splits: dict[str, Split]
    index: IndexFile | None = None

    @property
    def spec(self) -> DataSpec:
        """Shapes of inputs and targets."""
        num_classes = None if self.classes is None else len(self.classes)
        return DataSpec(
            self.input_shape, num_classes, self.classes or (), self.num_targets,
            self.num_tokens, self.next_tokens,
        )  # fmt: skip

    @property
    def fields(self) -> tuple[InputField, ...]:
        """What is read from members: the inputs, and the target if it is one."""
        return (*self.inputs.values(), *([self.target] if self.target else ()))

    def content(self) -> dict[str, Any]:
        """As it stands in the file."""
        return self.model_dump(mode="json")

    def write(self, folder: Path) -> None:
        """Give `folder` this manifest; a reader finds the old or the new one.

        Raises:
            OSError: as the system says.
        """
        replace_file(folder / FILE, [to_json(self.content())])


def read_manifest(folder: Path) -> Manifest:
    """The manifest of `folder`.

    Raises:
        DataError: there is none, or it cannot be understood.
    """
    path = folder / FILE
    try:
        text = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: {error.strerror or error}; for shards made elsewhere write one with:"
            f" python -m framework shards index PATTERN --out {folder}"
        ) from error
    return parse_manifest(text, str(path))


def parse_manifest(text: bytes | str, where: str) -> Manifest:
    """The manifest that `text` from `where` is.

    Raises:
        DataError: it cannot be understood.
    """
    try:
        content = json.loads(text)
        version = content.get("version") if isinstance(content, dict) else None
        if isinstance(version, int) and version > VERSION:
            raise DataError(f"{where} has version {version}, newer than this framework ({VERSION})")
        return Manifest.model_validate(content)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5])
        raise DataError(f"{where} is not a manifest of shards: {faults}") from error
    except ValueError as error:
        raise DataError(f"{where} is not a manifest of shards: {error}") from error
