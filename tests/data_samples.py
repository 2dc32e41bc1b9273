"""Small datasets whose samples can be recognised: the input of sample i holds the number i."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from framework.config.schema import DataConfig
from framework.data.batch import DataSpec
from framework.data.dataset import Column
from framework.data.in_memory import ArrayDataset
from framework.registry import registry


def labelled(
    labels: Sequence[int] | np.ndarray,
    shape: tuple[int, ...] = (1,),
    columns: Mapping[str, tuple[Sequence[int], tuple[str, ...]]] | None = None,
    names: tuple[str, ...] | None = None,
) -> ArrayDataset:
    """One sample per label; every number of sample i's input is i."""
    ids = np.asarray(labels, dtype=np.int64)
    classes = names or tuple(map(str, range(int(ids.max()) + 1)))
    inputs = torch.arange(len(ids)).float().view(-1, *(1 for _ in shape)).expand(-1, *shape).contiguous()
    made = {name: Column(np.array(values), texts) for name, (values, texts) in (columns or {}).items()}
    spec = DataSpec(shape, len(classes), classes)
    extra = {"sample_weight": np.arange(len(ids), dtype=np.float32) / 2}
    return ArrayDataset(inputs, torch.from_numpy(ids), spec, made, extra)


def component(kind: str, name: str, /, seed: int = 0, on_error: str = "stop", **options: Any) -> Any:
    """A component built from options as a file would give them."""
    target = registry.get(kind, name)
    return target.build(target.model.model_validate({"name": name, **options}), seed=seed, on_error=on_error)


def data_config(**sections: Any) -> DataConfig:
    """A data section as a file would give it."""
    return DataConfig.model_validate(sections)
