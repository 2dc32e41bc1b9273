"""This rank's share of the fp32 parameters under ZeRO: flat tensors, and where each parameter lies in them.

DeepSpeed's private layout is read and changed here and in `deepspeed_weights`; tests pin every call. Whatever
has the length of a flat tensor (optimizer moments, averages, points ahead) is laid out like it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from framework.parallel.world import World
from framework.pieces import Piece, Stored, elements


@dataclass(frozen=True)
class Place:
    """Elements [start, start + length) of a flattened parameter, at `offset` of this rank's flat tensor."""

    offset: int
    start: int
    length: int


class Shards(ABC):
    """The fp32 parameters that training moves, as this rank holds them.

    Attributes:
        flats: one tensor per parameter group (stages 1, 2) or per part of a group (stage 3).
        group_of: the parameter group of each flat tensor.
        members: the names of the parameters in each flat tensor, on whatever rank.
        shapes: name -> the whole parameter's shape.
        places: name -> where this rank holds some of it, None where it holds nothing.
    """

    flats: list[Tensor]
    group_of: list[int]
    members: list[list[str]]
    shapes: dict[str, torch.Size]
    places: dict[str, Place | None]

    def __init__(self, zero: Any, named: Sequence[tuple[str, nn.Parameter]], world: World) -> None:
        self.zero = zero
        self.world = world
        self.names = {id(parameter): name for name, parameter in named}
        self.arrange(named)

    @abstractmethod
    def arrange(self, named: Sequence[tuple[str, nn.Parameter]]) -> None:
        """Set the attributes."""

    @abstractmethod
    def forget_gradients(self) -> None:
        """Drop everything that backward passes have accumulated, also in the middle of a step."""

    @abstractmethod
    def offloaded_norm(self) -> Tensor:
        """Global norm of accumulated gradients in host memory, a scalar; inf where not finite. Collective."""

    @abstractmethod
    def norm_told(self, norm: Tensor) -> AbstractContextManager[None]:
        """Inside, DeepSpeed takes `norm` for that of the accumulated gradient, times the loss scale."""

    def gradient_parts(self) -> list[list[Tensor]]:
        """The accumulated gradient of each flat tensor in parts, times the loss scale; not if offloaded."""
        return [self.zero.averaged_gradients[number] for number in range(len(self.flats))]

    def gradients(self) -> list[Tensor]:
        """A copy of the accumulated gradient as flat tensors, times the loss scale; not if offloaded."""
        return [torch.cat([p.detach().reshape(-1) for p in parts]) for parts in self.gradient_parts()]

    def add_to_gradients(self, gradients: Sequence[Tensor]) -> None:
        """Add flat tensors like those of `gradients` to what has been accumulated, if anything was."""
        for number, gradient in enumerate(gradients):
            offset = 0
            for part in self.zero.averaged_gradients.get(number) or []:
                part.add_(gradient.narrow(0, offset, part.numel()).view_as(part))
                offset += part.numel()

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Inside, the flat tensors may be changed; on exit the model follows them. Collective."""
        self.before_change()
        try:
            yield
        finally:
            with torch.no_grad():
                self.push()

    def before_change(self) -> None:
        """What must be done before the flat tensors change."""

    @abstractmethod
    def push(self) -> None:
        """Bring the values of the flat tensors to the model."""

    def piece(self, name: str, flat: Tensor) -> Piece:
        """What this rank has of the parameter `name` in `flat`, laid out as its flat tensor; no copy."""
        shape, place = self.shapes[name], self.places[name]
        if place is None:
            return Piece(flat.narrow(0, 0, 0), 0, shape)
        return Piece(flat.narrow(0, place.offset, place.length), place.start, shape)

    def put(self, name: str, value: Tensor | Stored, flat: Tensor) -> None:
        """Write this rank's part of `value`, a whole parameter, to its place in `flat`."""
        place = self.places[name]
        if place is not None:
            part = elements(value, place.start, place.length)
            flat.narrow(0, place.offset, place.length).copy_(part)


class OptimizerShards(Shards):
    """Stages 1 and 2: the model is whole on every rank, the fp32 partitions are not."""

    def arrange(self, named: Sequence[tuple[str, nn.Parameter]]) -> None:
        self.flats = list(self.zero.single_partition_of_fp32_groups)
        self.group_of = list(range(len(self.flats)))
        self.members = [[self.names[id(p)] for p in group] for group in self.zero.bit16_groups]
        trained = dict.fromkeys(name for members in self.members for name in members)
        self.shapes = {name: parameter.shape for name, parameter in named if name in trained}
        self.places = {name: _fragment(parameter) for name, parameter in named if name in trained}

    def forget_gradients(self) -> None:
        zero = self.zero
        zero.zero_grad()
        zero.micro_step_id = -1
        for kept in (zero.averaged_gradients, zero.all_grad_tensors):
            for group in kept:
                kept[group] = None
        if zero.cpu_offload:
            zero.reset_cpu_buffers()
            _zero_gradients(self.flats)

    def offloaded_norm(self) -> Tensor:
        norm: Tensor = self.zero.scaled_global_norm()
        return _valid(norm)

    @contextmanager
    def norm_told(self, norm: Tensor) -> Iterator[None]:
        self.zero.scaled_global_norm = lambda: norm
        try:
            yield
        finally:
            del self.zero.scaled_global_norm

    def push(self) -> None:
        self.zero.update_lp_params()


class ParameterShards(Shards):
    """Stage 3: every rank holds a share of everything; parameters become whole only while they are used."""

    def arrange(self, named: Sequence[tuple[str, nn.Parameter]]) -> None:
        self.flats = list(self.zero.fp32_partitioned_groups_flat)
        self.group_of = [self.zero.sub_group_to_group_id[i] for i in range(len(self.flats))]
        self.members = [[self.names[id(p)] for p in group] for group in self.zero.fp16_groups]
        parameters: dict[str, Any] = dict(named)
        trained = [name for members in self.members for name in members]
        self.shapes = {name: torch.Size(parameters[name].ds_shape) for name in trained}
        self.places = {name: self._part(parameters[name]) for name in trained}

    def _part(self, parameter: Any) -> Place | None:
        _, offset, length = self.zero.grad_position[self.zero.get_param_id(parameter)]
        start = self.world.rank * length
        # The last rank's part is padded.
        length = min(length, parameter.ds_numel - start)
        return Place(offset, start, length) if length > 0 else None

    def forget_gradients(self) -> None:
        zero = self.zero
        zero.zero_grad()
        # A parameter that takes no part in the next pass would keep the gradient of this one.
        zero.grad_partitions_flat_buffer.zero_()
        if zero.offload_optimizer:
            zero.reset_cpu_buffers()
            _zero_gradients(self.flats)
        else:
            zero.averaged_gradients = {}

    def offloaded_norm(self) -> Tensor:
        parts = [_valid(torch.as_tensor(norm)) for norm in self.zero._get_norm_groups()]
        norm: Tensor = torch.linalg.vector_norm(torch.stack(parts))
        return norm

    @contextmanager
    def norm_told(self, norm: Tensor) -> Iterator[None]:
        self.zero._get_norm_groups = lambda: [norm]
        try:
            yield
        finally:
            del self.zero._get_norm_groups

    def before_change(self) -> None:
        # Small parameters stay whole between steps; they would keep the values they have.
        self.zero._partition_all_parameters()

    def push(self) -> None:
        for number in range(len(self.flats)):
            self.zero._reassign_or_swap_out_partitioned_parameters(number)
        persistent = self.zero.persistent_parameters
        if persistent:
            persistent[0].all_gather(persistent)


def _fragment(parameter: Any) -> Place | None:
    """Where DeepSpeed put this rank's fragment of a parameter under stages 1 and 2."""
    mapping = parameter._hp_mapping
    if mapping is None:
        return None
    own, whole = mapping.hp_fragment_address, mapping.lp_fragment_address
    return Place(own.start, whole.start, own.numel)


def _zero_gradients(flats: Sequence[Tensor]) -> None:
    """Offloaded gradients lie in buffers that are written, never cleared."""
    for flat in flats:
        if flat.grad is not None:
            flat.grad.zero_()


def _valid(norm: Tensor) -> Tensor:
    """DeepSpeed writes -1 for a norm that is not finite."""
    return torch.where(norm < 0, torch.inf, norm)
