"""Each engine driven by hand, as its own documentation does: what the framework is compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

#: one training step on this rank's share of a batch; gives the loss and the gradient norm
BareStep = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def bare_step(name: str, model: nn.Module) -> BareStep:
    """The step of engine `name`, with a mean loss, fused AdamW and the gradient norm."""
    if name.startswith("zero"):
        return _deepspeed(name, model)
    return _fsdp(model) if name == "fsdp" else _ddp(model)


def adamw(parameters: Iterable[nn.Parameter]) -> torch.optim.AdamW:
    return torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.05, fused=True)


def _ddp(model: nn.Module) -> BareStep:
    parallel = DistributedDataParallel(model)
    optimizer, parameters = adamw(model.parameters()), list(model.parameters())

    def step(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(parallel(inputs), targets)
        torch.autograd.backward(loss)
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if norm.isfinite():
            optimizer.step()
        return loss.detach(), norm

    return step


def _fsdp(model: nn.Module) -> BareStep:
    from torch.distributed.fsdp import fully_shard

    for module in list(model.modules()):
        if isinstance(module, nn.ModuleList):
            for block in module:
                fully_shard(block)
    fully_shard(model, reshard_after_forward=False)
    optimizer, parameters = adamw(model.parameters()), list(model.parameters())

    def step(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model(inputs), targets)
        torch.autograd.backward(loss)
        gradients: list[Any] = [p.grad for p in parameters if p.grad is not None]
        local = [gradient.to_local() for gradient in gradients]
        squares = torch.nn.utils.get_total_norm(local).square()
        distributed.all_reduce(squares)
        if squares.isfinite():
            optimizer.step()
        return loss.detach(), squares.sqrt()

    return step


def _deepspeed(name: str, model: nn.Module) -> BareStep:
    import deepspeed

    stage = int(name[4])
    zero: dict[str, Any] = {"stage": stage, "reduce_bucket_size": sum(p.numel() for p in model.parameters())}
    if stage == 3:
        # It would replace torch's linear layer for the other loops of this process too.
        zero["memory_efficient_linear"] = False
    if name.endswith("_offload"):
        zero["offload_optimizer"] = {"device": "cpu"}
        zero |= {"offload_param": {"device": "cpu"}} if stage == 3 else {}
    config = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": 0.0,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": None,
        "zero_optimization": zero,
    }
    parameters = list(model.parameters())
    engine, *_ = deepspeed.initialize(
        model=model, optimizer=adamw(parameters), config=config, dist_init_required=False
    )
    engine.train()

    def step(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        loss = F.cross_entropy(engine(inputs), targets)
        engine.backward(loss)
        if stage == 0:
            norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
            if not norm.isfinite():
                return loss.detach(), norm
        engine.step()
        if stage > 0:
            norm = torch.as_tensor(engine.get_global_grad_norm())
        return loss.detach(), norm

    return step
