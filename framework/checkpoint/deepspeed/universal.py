"""DeepSpeed's universal checkpoints: a folder per parameter, with a file for each kind of tensor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from framework.checkpoint.deepspeed.content import Content
from framework.checkpoint.deepspeed.model_states import read_model_states, untrained
from framework.checkpoint.deepspeed.pickles import read_pickle
from framework.checkpoint.deepspeed.zero import FP32

#: the folder of the parameters, and the file of the optimizer as a whole, in a universal checkpoint
PARAMETERS = "zero"
OPTIMIZER = "optimizer_state.pt"


def read_universal(folder: Path) -> Content:
    """What `ds_to_universal` made, or this package's export.

    Raises:
        CheckpointError: a file is missing, damaged or refused.
    """
    names = sorted(path.parent.name for path in (folder / PARAMETERS).glob(f"*/{FP32}.pt"))
    step = _common_step(read_pickle(folder / PARAMETERS / OPTIMIZER))
    tensors: dict[str, Tensor] = {}
    moments: dict[str, dict[str, Any]] = {}
    for name in names:
        values = {
            path.stem: _value(read_pickle(path)) for path in sorted((folder / PARAMETERS / name).glob("*.pt"))
        }
        tensors[name] = values.pop(FP32)
        if not isinstance(tensors[name], Tensor):
            raise TypeError(f"{name}/{FP32}.pt holds no tensor")
        if values:
            moments[name] = values if step is None else {"step": step, **values}
    models = read_model_states(folder)
    return Content(
        kind="universal",
        step=int(models[0].get("global_steps", 0)),
        tensors={**untrained(models, tensors), **tensors},
        moments=moments,
    )


def _value(content: Any) -> Any:
    return content["param"] if isinstance(content, dict) else content


def _common_step(optimizer: dict[str, Any]) -> Any:
    """The step of all parameters, where it is not kept with each: stage 3, and steps counted per group."""
    state = optimizer.get("optimizer_state_dict", {}).get("state", {})
    groups = optimizer.get("param_groups", [])
    places = [*state.values(), *groups]
    return next((place["step"] for place in places if "step" in place), None)
