"""From a checkpoint of DeepSpeed to one that a run starts from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from framework.checkpoint.deepspeed.content import Content
from framework.checkpoint.deepspeed.fitting import fit_moments, fit_weights, renamed
from framework.checkpoint.deepspeed.read import read_deepspeed
from framework.checkpoint.store import CheckpointStore
from framework.config.load import LoadedConfig
from framework.config.schema import RunConfig
from framework.errors import CheckpointError, UserError
from framework.registry import registry
from framework.training.assemble import Run, assemble


def import_deepspeed(
    loaded: LoadedConfig,
    source: Path,
    out: Path,
    *,
    tag: str | None = None,
    step: int = 0,
    rename: Mapping[str, str] | None = None,
    partial: bool = False,
    moments: bool = True,
) -> str:
    """Write a checkpoint of the run that `loaded` describes, with DeepSpeed's weights and moments.

    Everything else in it (policy, generators, selection) is as at the start of that run. It takes one
    process, which holds the model, the moments and the data.

    Args:
        loaded: the configuration; the checkpoint is for its engine as for any other.
        source: DeepSpeed's folder.
        out: a folder for the checkpoint.
        tag: which checkpoint in `source`; None takes the newest.
        step: where in its schedule and its data the run begins.
        rename: beginnings of names there, and what they are here.
        partial: take the parameters that both have, instead of demanding all.
        moments: whether the optimizer's state is taken.

    Returns:
        What was written, for a reader.

    Raises:
        CheckpointError: the folder cannot be read or does not fit the run, or `out` cannot be written.
        UserError: the run cannot be built.
    """
    if CheckpointStore(out).steps():
        raise CheckpointError(f"{out} holds checkpoints already; choose another folder")
    content = renamed(read_deepspeed(source, tag), rename or {})
    config = loaded.config.model_copy(
        update={"engine": registry.get("engine", "single").model(name="single")}
    )
    run = assemble(config)
    if step > run.progress.num_steps:
        raise UserError(f"--step {step} is beyond the run's end: it has {run.progress.num_steps} steps")
    with run.engine.true_point():
        parts = {name: part.state_dict() for name, part in run.stateful().items()}
    try:
        engine = parts["engine"]
        weights = fit_weights(content, engine["model"], partial=partial)
        state = _moments(content, engine, config, partial=partial) if moments else {}
    except CheckpointError as error:
        raise CheckpointError(f"{source}: {error}") from error
    engine["model"] = weights
    engine["optimizer"]["state"] = state
    if "ema" in engine:
        engine["ema"] = {name: weights[name] for name in engine["ema"]}
    _set_position(parts, step, run)
    meta = {"config": loaded.data, "data": run.data.fingerprint()}
    path = CheckpointStore(out).save(step, parts, meta, keep_last=1)
    taken = sum(name in content.tensors for name in weights)
    return (
        f"{path}: {taken} of {len(weights)} tensors and the moments of {len(state)} parameters from"
        f" {content.kind}, after {content.step} steps there"
    )


def _moments(
    content: Content, engine: Mapping[str, Any], config: RunConfig, *, partial: bool
) -> dict[str, Any]:
    trained = [name for group in engine["optimizer"]["groups"] for name in group["parameters"]]
    kept, optimizer = _kept_by(config), config.optimizer.name
    return fit_moments(content, engine["model"], trained, kept, optimizer, partial=partial)


def _kept_by(config: RunConfig) -> dict[str, Any]:
    """What the configured optimizer keeps of a parameter: seen from one step of a small one."""
    parameter = torch.zeros(2, 3, requires_grad=True)
    optimizer: torch.optim.Optimizer = registry.build(
        "optimizer", config.optimizer, parameters=[{"params": [parameter]}]
    )
    parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    return {key: value for key, value in optimizer.state[parameter].items() if value is not None}


def _set_position(parts: dict[str, Any], step: int, run: Run) -> None:
    """The run as it is between its steps `step` and `step` + 1."""
    epoch, batch = divmod(step, run.progress.steps_per_epoch)
    samples = epoch * len(run.data.order) + batch * run.plan.size
    parts["progress"] = {**parts["progress"], "step": step, "settled": step, "samples": samples}
    parts["data"] = {**parts["data"], "epoch": epoch, "step": batch}
