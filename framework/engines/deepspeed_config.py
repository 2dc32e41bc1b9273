"""DeepSpeed's configuration, generated from the run's; what a user adds is checked first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from framework.errors import ConfigError, Problem
from framework.naming import nearest

#: Top-level keys a user may add. DeepSpeed itself takes any key and ignores those it does not know.
ALLOWED = frozenset(
    {
        "activation_checkpointing",
        "aio",
        "comms_logger",
        "communication_data_type",
        "csv_monitor",
        "disable_python_gc",
        "dump_state",
        "flops_profiler",
        "log_level",
        "memory_breakdown",
        "steps_per_print",
        "tensorboard",
        "wall_clock_breakdown",
        "wandb",
        "zero_optimization",
    }
)

_BATCH = "follows from batch.size, batch.micro and the number of processes"
_PRECISION = "follows from engine.precision"
_SUMS = "would change the gradient, which is the sum over ranks"
_SCHEDULE = "is chosen by the section schedule"
#: keys that would contradict the run's own settings -> where those stand
CONTRADICTING = {
    "train_batch_size": _BATCH,
    "train_micro_batch_size_per_gpu": _BATCH,
    "gradient_accumulation_steps": _BATCH,
    "managed_gradient_accumulation": _BATCH,
    "gradient_clipping": "is train.clip_norm",
    "fp16": _PRECISION,
    "bf16": _PRECISION,
    "bfloat16": _PRECISION,
    "amp": _PRECISION,
    "torch_autocast": _PRECISION,
    "data_types": _PRECISION,
    "optimizer": "is chosen by the section optimizer",
    "scheduler": _SCHEDULE,
    "data_efficiency": _SCHEDULE,
    "curriculum_learning": _SCHEDULE,
    "prescale_gradients": _SUMS,
    "gradient_predivide_factor": _SUMS,
    "gradient_allreduce_op": _SUMS,
    "zero_allow_untested_optimizer": "is always on: the optimizer is the run's own",
    "zero_force_ds_cpu_optimizer": "is always off: the optimizer is the run's own",
    "checkpoint": "is the section checkpoint",
}
CONTRADICTING_ZERO = {
    "stage": "is engine.stage",
    "offload_optimizer": "is engine.offload_optimizer",
    "offload_param": "is engine.offload_parameters",
    "cpu_offload": "is engine.offload_optimizer",
    "cpu_offload_param": "is engine.offload_parameters",
    "compute_grad_norm": "must stay on: clipping and the guard against non-finite gradients need the norm",
    "zenflow": "delays updates, which would be another algorithm",
    "zero_quantized_gradients": "would change the gradient",
    "zero_quantized_weights": "would change the weights",
}
#: DeepSpeed's own default for the elements that travel in one message
LARGEST_BUCKET = 500_000_000


def check_added(added: Mapping[str, Any]) -> None:
    """Refuse keys of `engine.deepspeed` that are unknown or contradict the run's own settings.

    Raises:
        ConfigError: all of them, each with where it is set instead, or the nearest valid name.
    """
    problems = []
    for key in added:
        path = f"engine.deepspeed.{key}"
        if key in CONTRADICTING:
            problems.append(Problem(path, f"{CONTRADICTING[key]}; remove it here"))
        elif key not in ALLOWED:
            hint = nearest(key, [*ALLOWED, *CONTRADICTING])
            problems.append(Problem(path, f"DeepSpeed would ignore this key{hint}"))
    zero = added.get("zero_optimization", {})
    if not isinstance(zero, Mapping):
        problems.append(Problem("engine.deepspeed.zero_optimization", "is a section of keys"))
        zero = {}
    problems += [
        Problem(f"engine.deepspeed.zero_optimization.{key}", f"{CONTRADICTING_ZERO[key]}; remove it here")
        for key in zero
        if key in CONTRADICTING_ZERO
    ]
    if problems:
        raise ConfigError(problems)


def generate(
    *,
    stage: int,
    offload_optimizer: bool,
    offload_parameters: bool,
    autocast: bool,
    world_size: int,
    num_parameters: int,
    added: Mapping[str, Any],
) -> dict[str, Any]:
    """The dictionary for `deepspeed.initialize`.

    Args:
        stage: what is sharded: 0 nothing, 1 optimizer state, 2 and gradients, 3 and parameters.
        offload_optimizer: keep optimizer state and step on the host.
        offload_parameters: keep the shards of the parameters on the host.
        autocast: whether the forward pass runs under autocast.
        world_size: number of ranks.
        num_parameters: elements of the model, which bound the buffers.
        added: the user's keys.

    Raises:
        ConfigError: `added` does not pass `check_added`.
    """
    check_added(added)
    zero: dict[str, Any] = {
        "stage": stage,
        "reduce_bucket_size": max(1, min(LARGEST_BUCKET, num_parameters)),
    }
    if offload_optimizer:
        zero["offload_optimizer"] = {"device": "cpu"}
    if stage == 3:
        # It replaces torch.nn.functional.linear for the whole process. Under autocast it is needed all the
        # same: without it every layer's converted weight would be kept, whole, until the backward pass.
        zero["memory_efficient_linear"] = autocast
        if offload_parameters:
            zero["offload_param"] = {"device": "cpu"}
    own = {
        # The loop owns micro-batches and their number; the engine says which backward pass is the last.
        "train_batch_size": world_size,
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        # DeepSpeed clips at 1.0 where nothing is said.
        "gradient_clipping": 0.0,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": None,
    }
    return {**own, **added, "zero_optimization": {**zero, **added.get("zero_optimization", {})}}
