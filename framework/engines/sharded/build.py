"""Which modules are sharded as one, and models that are born sharded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import torch
from torch import nn

from framework.engines.birth import from_rank_0, shell_and_source, tensors
from framework.engines.sharded.tensors import fill
from framework.parallel.world import World


def blocks(model: nn.Module) -> list[nn.Module]:
    """The repeated parts of a model: outermost members of its module lists and sequences.

    Members without a matrix (norms, activations) are too small to be sent alone, and one that shares a
    parameter with another part must be there when that part is: both stay with the model.
    """
    uses = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    found = {id(member): member for member in _members(model)}
    return [member for member in found.values() if _stands_alone(member, uses)]


def _members(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if isinstance(child, nn.ModuleList | nn.Sequential):
            yield from _members(child)
        elif isinstance(module, nn.ModuleList | nn.Sequential):
            yield child
        else:
            yield from _members(child)


def _stands_alone(member: nn.Module, uses: Counter[int]) -> bool:
    own = Counter(id(p) for _, p in member.named_parameters(remove_duplicate=False))
    has_matrix = any(p.dim() >= 2 for p in member.parameters())
    return has_matrix and all(uses[key] == count for key, count in own.items())


def born_sharded(
    make_model: Callable[[], nn.Module],
    shard: Callable[[nn.Module], None],
    world: World,
    device: torch.device,
    home: torch.device,
) -> nn.Module:
    """The model of `make_model`, of which only rank 0 ever holds the whole, in host memory.

    The others build it on the meta device; rank 0 sends one parameter or buffer at a time, and each rank
    keeps its rows. A model that cannot be built so is built by every rank in host memory and then cut.

    Args:
        make_model: gives the same initial weights wherever it is called.
        shard: cuts a model in place; called once.
        world: the processes.
        device: where they compute.
        home: where the shards live.
    """
    if world.size == 1:
        model = make_model()
        shard(model)
        return model
    shell, source = shell_and_source(make_model, world)
    if shell is None:
        assert source is not None
        shard(source)
        return source
    shard(shell)
    shell.to_empty(device=home)
    for module in shell.modules():
        # Buffers are not sharded, and are where the computation is, also when the shards are not.
        module._buffers = {key: b if b is None else b.to(device) for key, b in module._buffers.items()}
    values = dict(tensors(source)) if source is not None else {}
    for name, target in tensors(shell):
        fill(target, from_rank_0(values.get(name), target, device))
    return shell
