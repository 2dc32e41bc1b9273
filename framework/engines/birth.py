"""Models of which only rank 0 ever holds the whole: shapes on every rank, values one by one from rank 0."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, distributed, nn

from framework.parallel.collectives import any_rank, on_main
from framework.parallel.world import World

logger = logging.getLogger("framework.engines")


def shell_and_source(
    make_model: Callable[[], nn.Module], world: World
) -> tuple[nn.Module | None, nn.Module | None]:
    """The model on the meta device, on every rank, and the real one in host memory, on rank 0 alone.

    Where a model cannot be built without memory, or says another thing there, the shell is None and every
    rank has the real one.

    Args:
        make_model: gives the same initial weights wherever it is called.
        world: the processes, at least two.
    """
    sources: list[nn.Module] = []
    # A model that cannot be built at all is an error that all ranks share.
    on_main(lambda: sources.append(make_model()), world)
    shell = without_memory(make_model)
    fits = shell is not None and all(_described(shell) == _described(source) for source in sources)
    if any_rank(not fits, world):
        logger.warning("the model cannot be built without memory: every process builds the whole of it first")
        return None, sources[0] if sources else make_model()
    return shell, sources[0] if sources else None


def tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers by name, each once."""
    yield from model.named_parameters()
    yield from model.named_buffers()


def from_rank_0(values: Tensor | None, like: Tensor, device: torch.device) -> Tensor:
    """`values` of rank 0 on `device` of every rank; the others give None. Collective.

    Args:
        values: on rank 0, of the shape and type of `like`.
        like: says shape and type; may be without memory.
        device: where the processes compute.
    """
    if values is not None:
        sent = values.detach().to(device).contiguous()
    else:
        sent = torch.empty(like.shape, dtype=like.dtype, device=device)
    distributed.broadcast(sent, src=0)
    return sent


def without_memory(make_model: Callable[[], nn.Module]) -> nn.Module | None:
    """The model on the meta device; None if that says less than the real one would."""
    try:
        with torch.device("meta"):
            model = make_model()
    except Exception:  # of any kind: code that looks at values; what is truly wrong, rank 0 has met before
        return None
    attributes = [value for module in model.modules() for value in vars(module).values()]
    if any(isinstance(value, Tensor) and value.is_meta for value in attributes):
        # A tensor that is no buffer: nobody could find it to fill it.
        return None
    return model if all(tensor.is_meta for _, tensor in tensors(model)) else None


def _described(model: nn.Module) -> list[tuple[str, torch.Size, torch.dtype]]:
    return [(name, tensor.shape, tensor.dtype) for name, tensor in tensors(model)]
