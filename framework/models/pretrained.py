"""Reads a local checkpoint folder of `transformers`: safetensors only, offline, no remote code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from framework.models.transformers_extra import quiet
from framework.naming import nearest
from framework.paths import expanded, is_folder


def read_config(transformers: Any, path: str, fields: dict[str, Any]) -> Any:
    """The configuration of the checkpoint in folder `path`, with `fields` changed.

    Raises:
        ValueError: the folder, its configuration or its weights are not there or not usable.
    """
    folder = _checked_folder(path)
    try:
        config = transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read {folder / 'config.json'}: {_first_line(error)}") from error
    for name, value in fields.items():
        if not hasattr(config, name):
            raise ValueError(
                f"{config.model_type} has no config field '{name}'{nearest(name, config.to_dict())}"
            )
        setattr(config, name, value)
    return config


def load_pretrained(factory: Any, path: str, config: Any, *, num_labels: int | None, new_head: bool) -> Any:
    """The model of the checkpoint in folder `path`, in float32.

    Args:
        factory: an Auto class of `transformers`.
        path: a folder that `read_config` accepted.
        config: what `read_config` gave.
        num_labels: outputs of the classifier; None for a model without a head.
        new_head: whether weights of the head may start at random.

    Raises:
        ValueError: the weights do not make up the model.
    """
    has_head = num_labels is not None
    if num_labels is not None:
        if config.num_labels != num_labels and not new_head:
            raise ValueError(
                f"the head of {path} has {config.num_labels} outputs, the data needs {num_labels};"
                " set new_head: true to start from a random head"
            )
        with quiet():
            config.num_labels = num_labels
    if torch.get_default_device().type == "meta":
        # An engine that shards asks for shapes alone: one process reads the weights and sends them.
        with quiet():
            return factory.from_config(config, dtype=torch.float32, trust_remote_code=False)
    try:
        with quiet():
            model, report = factory.from_pretrained(
                path,
                config=config,
                # Half-precision checkpoints too are trained in float32; the engine casts where it computes.
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"cannot load the weights in {path}: {_first_line(error)}") from error
    random = sorted(set(report["missing_keys"]) | {name for name, *_ in report["mismatched_keys"]})
    body = f"{model.base_model_prefix}."
    # Poolers are left out of checkpoints that were trained without one, so they count as a head.
    broken = [name for name in random if "pooler" not in name and (name.startswith(body) or not has_head)]
    if broken:
        raise ValueError(
            f"the weights in {path} do not fit its config: {len(broken)} tensors are missing or of another"
            f" shape, the first is {broken[0]}"
        )
    if random and has_head and not new_head:
        raise ValueError(
            f"{path} has no weights for the head ({', '.join(random)});"
            " set new_head: true to start from a random one"
        )
    return model


def _checked_folder(path: str) -> Path:
    folder = expanded(path)
    if not is_folder(folder):
        hub = re.fullmatch(r"[\w.-]+/[\w.-]+", path)
        hint = (
            "; if this is a name on the Hugging Face hub, download it first"
            f" (`hf download {path} --local-dir FOLDER`) and give the folder: training runs fetch nothing"
            if hub
            else ""
        )
        raise ValueError(f"no checkpoint folder {folder}{hint}")
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} holds no config.json, so it is no checkpoint of transformers")
    if not list(folder.glob("*.safetensors")):
        pickled = sorted(file.name for suffix in ("*.bin", "*.pt", "*.ckpt") for file in folder.glob(suffix))
        found = f"; {pickled[0]} is a pickle, which can run code when loaded: convert it" if pickled else ""
        raise ValueError(f"{folder} holds no *.safetensors weights{found}")
    return folder


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
