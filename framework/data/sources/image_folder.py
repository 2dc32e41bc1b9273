"""Images in folders named by class, decoded when they are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from framework.data.batch import DataSpec, Inputs
from framework.data.dataset import Column, Dataset, Splits
from framework.data.files.images import Color, decode_image, image_tensor
from framework.data.files.paths import existing_folder
from framework.data.in_memory import ArrayDataset
from framework.errors import DataError
from framework.naming import nearest
from framework.options import Count
from framework.paths import as_text
from framework.registry import register

_EXTENSIONS = {".jpg", ".jpeg", ".png"}
#: names a split's folder may have
_SPLIT_FOLDERS = {"train": ("train",), "validation": ("validation", "val", "valid"), "test": ("test",)}


@register.dataset("image_folder")
def image_folder(
    *,
    path: str,
    size: Count,
    color: Color = "rgb",
    in_memory: bool = False,
) -> Splits:
    """JPEG and PNG files in PATH/CLASS/ or PATH/{train,validation,test}/CLASS/.

    Args:
        path: the folder; one that contains `train` is taken as split.
        size: height and width that every image is scaled to, in pixels.
        color: `rgb` gives three channels, `grayscale` one.
        in_memory: decode everything once at the start; 4 bytes per pixel and channel.
    """
    root = existing_folder(path)
    folders = {"train": root}
    if (root / "train").is_dir():
        found = {s: [root / n for n in names if (root / n).is_dir()] for s, names in _SPLIT_FOLDERS.items()}
        folders = {split: paths[0] for split, paths in found.items() if paths}
    classes = _folders(folders["train"])
    if not classes:
        raise DataError(f"{folders['train']} has no folders; images are expected in CLASS/FILE.jpg or .png")
    splits: Splits = {}
    for split, folder in folders.items():
        files, labels = _list(folder, classes)
        empty = np.setdiff1d(np.arange(len(classes)), labels)
        if split == "train" and len(empty):
            raise DataError(f"{folder / classes[empty[0]]} holds no image; remove the folder or fill it")
        dataset = ImageFiles(files, labels, tuple(map(as_text, classes)), size, color)
        splits[split] = dataset.decoded() if in_memory else dataset
    return splits


def _folders(folder: Path) -> list[str]:
    """The names of the folders in `folder`, sorted, without hidden ones."""
    return sorted(e.name for e in folder.iterdir() if e.is_dir() and not e.name.startswith("."))


def _list(folder: Path, classes: list[str]) -> tuple[list[Path], np.ndarray]:
    """All image files under `folder`, sorted, and the class id of each."""
    unknown = [name for name in _folders(folder) if name not in classes]
    if unknown:
        raise DataError(
            f"{folder}: class {unknown[0]} is not in the training folder{nearest(unknown[0], classes)}"
        )
    files, labels = [], []
    for number, name in enumerate(classes):
        if (folder / name).is_dir():
            found = sorted(f for f in (folder / name).iterdir() if f.suffix.lower() in _EXTENSIONS)
            files += found
            labels += [number] * len(found)
    if not files:
        raise DataError(f"{folder} holds no {', '.join(sorted(_EXTENSIONS))} file in its class folders")
    return files, np.array(labels, dtype=np.int64)


class ImageFiles(Dataset):
    """One split of image files; a file is opened when its sample is fetched.

    Args:
        files: one per sample.
        labels: (samples,) int64 class ids.
        classes: names of the classes.
        size: height and width of the samples.
        color: `rgb` or `grayscale`.
    """

    def __init__(
        self, files: list[Path], labels: np.ndarray, classes: tuple[str, ...], size: int, color: Color
    ) -> None:
        self.files = files
        self.labels = torch.from_numpy(labels)
        self.size = size
        self.color = color
        self.spec = DataSpec((3 if color == "rgb" else 1, size, size), len(classes), classes)
        self.columns = {"label": Column(labels, classes)}
        self.extra = {}

    def __len__(self) -> int:
        return len(self.files)

    def fetch(self, positions: np.ndarray, epoch: int | None) -> tuple[Inputs, Tensor]:
        """Decoded images (k, channels, size, size) in [0, 1] and their class ids (k,).

        Raises:
            BadSampleError: a file cannot be decoded.
        """
        images = [
            decode_image(self.files[position], self.size, self.color, str(self.files[position]), position)
            for position in positions.tolist()
        ]
        return image_tensor(images), self.labels.index_select(0, torch.from_numpy(positions))

    def select(self, positions: np.ndarray) -> ImageFiles:
        """The files at `positions`."""
        files = [self.files[position] for position in positions]
        return ImageFiles(files, self.labels.numpy()[positions], self.spec.class_names, self.size, self.color)

    def decoded(self) -> ArrayDataset:
        """The same samples in memory."""
        inputs, targets = self.fetch(np.arange(len(self)), None)
        return ArrayDataset(inputs, targets, self.spec, self.columns)
