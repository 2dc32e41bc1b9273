"""A checkpoint of `transformers` is read by rank 0 alone where the engine cuts the model."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

pytest.importorskip("transformers", reason="transformers is not installed")

import transformers

from framework.data.batch import DataSpec
from framework.engines.base import Engine, EngineSettings
from framework.engines.deepspeed import deepspeed
from framework.engines.fsdp import fsdp
from framework.models.huggingface import huggingface
from framework.parallel.process_group import process_group
from framework.parallel.world import World
from tests.distributed import run_ranks

SPEC = DataSpec((3, 8, 8), num_classes=4)
ENGINES = ["fsdp", *(["zero3"] if importlib.util.find_spec("deepspeed") is not None else [])]


def checkpoint(folder: Path) -> Path:
    config = transformers.ViTConfig(
        image_size=8, patch_size=4, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=16, num_labels=4,
    )  # fmt: skip
    torch.manual_seed(1)
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    return folder


def sgd(named: list[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
    return torch.optim.SGD([parameter for _, parameter in named], lr=0.1)


def born(path: Path, engines: list[str]) -> dict[str, Any]:
    world = World.detect()
    auto = transformers.AutoModelForImageClassification
    read = auto.from_pretrained
    reads: list[str] = []

    def counted(*args: Any, **kwargs: Any) -> Any:
        reads.append("whole")
        return read(*args, **kwargs)

    auto.from_pretrained = counted
    weights: dict[str, Any] = {}
    with process_group(world, 60):
        settings = EngineSettings(lambda: huggingface(SPEC, path=str(path)), sgd, world, torch.device("cpu"))
        for name in engines:
            engine: Engine = fsdp(settings) if name == "fsdp" else deepspeed(settings, stage=3)
            weights[name] = {key: tensor.numpy().copy() for key, tensor in engine.named_weights()}
    return {"reads": len(reads), "weights": weights}


def test_only_rank_0_reads_the_weights_and_all_have_their_share(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "vit")
    first, second = run_ranks(born, 2, path, ENGINES)
    assert (first["reads"], second["reads"]) == (len(ENGINES), 0)
    expected = huggingface(SPEC, path=str(path)).state_dict()
    for seen in (first, second):
        for weights in seen["weights"].values():
            assert weights.keys() == expected.keys()
            assert all(torch.equal(torch.from_numpy(weights[key]), expected[key]) for key in expected)
