"""Every process holds a share of each parameter, gradient and optimizer state: torch's FSDP2."""

from __future__ import annotations

from framework.engines.base import Engine, EngineSettings
from framework.engines.precision import DEFAULT_LOSS_SCALE, LossScaleOptions, Precision
from framework.registry import register


@register.engine("fsdp")
def fsdp(
    settings: EngineSettings,
    *,
    precision: Precision = "fp32",
    loss_scale: LossScaleOptions = DEFAULT_LOSS_SCALE,
    reshard_after_forward: bool = True,
    activation_checkpointing: bool = False,
    cpu_offload: bool = False,
    reduce_each_micro: bool = False,
    compile: bool = False,
) -> Engine:
    """Parameters, gradients and optimizer states are cut into one share per process (FSDP2).

    The model is built without memory and filled share by share, and whole only one block at a time: the
    members of its module lists and sequences. It runs on one process too.

    Args:
        precision: `fp32`, or `bf16` or `fp16`: parameters are sent and used as such; shares, the sum of
            gradients and what the optimizer does stay fp32.
        loss_scale: the scale that gradients of `fp16` are computed at: `initial`, doubled after
            `growth_interval` steps, halved by an overflow down to `smallest`.
        reshard_after_forward: free a block after its forward pass and fetch it again for its backward
            pass; false holds all blocks in between, as ZeRO-2 does, and sends a third less.
        activation_checkpointing: keep only the inputs of each block and compute the block again in the
            backward pass, with the same random numbers.
        cpu_offload: shares, gradients and the optimizer live in host memory.
        reduce_each_micro: send gradients after every micro-batch, not once a step: needed where the
            gradients of the whole model do not fit on one device.
        compile: translate each block by torch.compile; pays off after about a minute of training.
    """
    # Imported here: distributed tensors take as long to import as torch itself.
    from framework.engines.sharded.engine import FsdpEngine, Sharding

    sharding = Sharding(
        precision=precision,
        reshard_after_forward=reshard_after_forward,
        activation_checkpointing=activation_checkpointing,
        cpu_offload=cpu_offload,
        reduce_each_micro=reduce_each_micro,
        compile=compile,
    )
    return FsdpEngine(settings, sharding, loss_scale)
