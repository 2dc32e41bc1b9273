"""The losses of a global batch as a policy sees them, gathered from micro-batches and ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from framework.config.batch_plan import BatchPlan, Cut
from framework.data.batch import Batch
from framework.engines.base import Engine
from framework.policies.base import SampleLosses
from framework.training.stop_signal import StopSignal

#: the column that carries the stop signal; no column of a dataset or a task is called so
_STOP = "\0stop"


@dataclass
class Gather:
    """Brings the samples of every rank together, in canonical order, the same on all.

    Attributes:
        signals: told after each exchange between ranks whether one of them had received a signal.
    """

    engine: Engine
    plan: BatchPlan
    signals: StopSignal | None = None

    def __call__(
        self, micros: Sequence[Batch], losses: Sequence[Tensor], cut: Cut, first: int = 0
    ) -> SampleLosses:
        """The samples micro-batch by micro-batch, rank by rank.

        Args:
            micros: this rank's micro-batches of `cut`, from number `first` on.
            losses: of each (micro,), or (micro, columns) with the loss first.
            cut: how the global batch was cut.
            first: number of the first micro-batch.
        """
        rows = [
            {
                "loss": (loss if loss.dim() == 1 else loss[:, 0]).detach(),
                "groups": micro.groups,
                "index": micro.index,
                **micro.extra,
            }
            for micro, loss in zip(micros, losses, strict=True)
        ]
        numbers = range(first, first + len(micros))
        num_samples = cut.row(numbers[-1])[1] - cut.row(first)[0]
        if self.engine.world.size == 1:
            columns = _one_rank(micros, rows)
        else:
            columns = self._all_ranks(rows, cut, numbers, num_samples)
        loss, groups, index = columns.pop("loss"), columns.pop("groups"), columns.pop("index")
        assert len(loss) == num_samples, f"{num_samples} samples were announced, {len(loss)} came"
        return SampleLosses(loss, groups, index, num_samples, columns)

    def _all_ranks(
        self, rows: list[dict[str, Tensor]], cut: Cut, numbers: range, num_samples: int
    ) -> dict[str, Tensor]:
        world, micro_size = self.engine.world.size, self.plan.micro
        padded = {name: _concatenated([_padded(row[name], micro_size) for row in rows]) for name in rows[0]}
        # Rank after rank as gathered; where a batch is short, what follows its samples is filler.
        columns = {
            name: values.view(world, len(rows), micro_size).transpose(0, 1).reshape(-1)
            for name, values in self._exchanged(padded).items()
        }
        filled: slice | Tensor = slice(num_samples)
        if cut.left_out:
            filled = torch.from_numpy(cut.rows(numbers)).to(self.engine.device)
        return {name: values[filled] for name, values in columns.items()}

    def _exchanged(self, columns: dict[str, Tensor]) -> dict[str, Tensor]:
        """The columns of all ranks; with them travels whether one of these received a signal."""
        if self.signals is None:
            return self.engine.gather(columns)
        received = torch.full_like(columns["loss"], float(self.signals.received is not None))
        gathered = self.engine.gather({**columns, _STOP: received})
        self.signals.carried = bool(gathered.pop(_STOP).any())
        return gathered


def own_samples(micro: Batch, losses: Tensor, num_samples: int) -> SampleLosses:
    """This rank's part of a global batch of `num_samples`, as a policy that needs no batch sees it."""
    return SampleLosses(
        micro.keep_valid(losses.detach()),
        micro.keep_valid(micro.groups),
        micro.keep_valid(micro.index),
        num_samples,
        {name: micro.keep_valid(values) for name, values in micro.extra.items()},
    )


def no_samples(device: torch.device) -> SampleLosses:
    """A global batch of which no sample could be read."""
    ids = torch.zeros(0, dtype=torch.int64, device=device)
    return SampleLosses(torch.zeros(0, device=device), ids, ids, 0)


def joined(parts: Sequence[SampleLosses]) -> SampleLosses:
    """The samples of several micro-batches, one after the other."""
    return SampleLosses(
        _concatenated([part.loss for part in parts]),
        _concatenated([part.groups for part in parts]),
        _concatenated([part.index for part in parts]),
        sum(part.num_samples for part in parts),
        {name: _concatenated([part.extra[name] for part in parts]) for name in parts[0].extra},
    )


def _one_rank(micros: Sequence[Batch], rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    kept = [
        {name: micro.keep_valid(column) for name, column in row.items()}
        for micro, row in zip(micros, rows, strict=True)
    ]
    return {name: _concatenated([row[name] for row in kept]) for name in rows[0]}


def _concatenated(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def _padded(rows: Tensor, length: int) -> Tensor:
    return rows if len(rows) == length else torch.nn.functional.pad(rows, (0, length - len(rows)))
