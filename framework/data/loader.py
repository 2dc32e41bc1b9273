"""Global batches for training, for ever, from any position; the same whatever the layout."""

from __future__ import annotations

import contextlib
import signal
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from framework.config.batch_plan import BatchPlan
from framework.data.batch import GlobalBatch
from framework.data.batch_maker import BatchMaker, Place, StepMaker
from framework.data.dataset import Dataset
from framework.data.order import Order
from framework.data.quarantine import Quarantine
from framework.errors import CheckpointError, DataError, UserError

#: batches between two announcements of what comes next
_ANNOUNCED_EVERY = 16
#: what a loader of global batches reads
SPLIT = "train"


class TrainLoader(Iterator[GlobalBatch]):
    """Runs over epochs for ever; its position counts batches that were handed out, not prefetched ones.

    Args:
        dataset: the training split.
        groups: (samples,) int64 group ids for the policy.
        order: the positions of every epoch.
        plan: how the global batch is cut.
        world: which part of it is this process's.
        workers: background processes; 0 loads in this one.
        quarantine: what is left out; None ends with an error at the first sample that cannot be read.
    """

    def __init__(
        self,
        dataset: Dataset,
        groups: np.ndarray,
        order: Order,
        plan: BatchPlan,
        world: Place,
        workers: int = 0,
        quarantine: Quarantine | None = None,
    ) -> None:
        assert world.size == plan.world_size, "the batch plan was solved for another world"
        self.epoch = 0
        self.step = 0
        self.workers = workers
        self.quarantine = quarantine
        self._calls = 0
        self._groups = groups
        self._steps = StepMaker(self._maker(dataset), order, plan, world.rank)
        self._prefetched: Iterator[GlobalBatch | UserError] | None = None
        self._ending: weakref.finalize[..., TrainLoader] | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one pass over the data."""
        return self._steps.steps_per_epoch

    def __next__(self) -> GlobalBatch:
        """The next global batch.

        Raises:
            DataError: a sample cannot be read, more than may be left out, or a background process died.
        """
        if self.workers and self._prefetched is None:
            self._start_workers()
        if self._calls % _ANNOUNCED_EVERY == 0:
            self._steps.announce(self.epoch, self.step)
        self._calls += 1
        batch = self._from_workers() if self.workers else self._steps[self.epoch, self.step]
        if self.quarantine is not None:
            quarantine = self.quarantine
            quarantine.agree(SPLIT, batch.faults)
            if quarantine.count(SPLIT):
                batch = self._steps.without_bad(batch, lambda positions: quarantine.holds(SPLIT, positions))
        self.step += 1
        if self.step == self.steps_per_epoch:
            self.epoch, self.step = self.epoch + 1, 0
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Finished epochs, batches handed out in the current one, and what is left out."""
        state: dict[str, Any] = {"epoch": self.epoch, "step": self.step}
        if self.quarantine is not None:
            state["quarantine"] = self.quarantine.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to the position of `state`; what was prefetched is dropped.

        Raises:
            CheckpointError: an epoch of this data does not have so many batches.
        """
        if not 0 <= state["step"] < self.steps_per_epoch:
            raise CheckpointError(
                f"the data position is batch {state['step']} of an epoch, but an epoch has"
                f" {self.steps_per_epoch} batches now; resume with the data and batch.size of that run"
            )
        self.close()
        self.epoch, self.step = state["epoch"], state["step"]
        if self.quarantine is not None:
            self.quarantine.load_state_dict(state.get("quarantine", {}))
            self._steps.maker = self._maker(self._steps.maker.dataset)

    def close(self) -> None:
        """End the background processes; a later batch starts them again."""
        self._prefetched = None
        if self._ending is not None:
            self._ending()

    def _maker(self, dataset: Dataset) -> BatchMaker:
        known = self.quarantine.faults[SPLIT] if self.quarantine is not None else None
        return BatchMaker(dataset, self._groups, known)

    def _start_workers(self) -> None:
        self._prefetched = iter(self._background())
        # also when this loader is dropped and when the interpreter ends: multiprocessing would ask its
        # children by SIGTERM, which they ignore, and wait for ever
        self._ending = weakref.finalize(self, _end_workers, self._prefetched)

    def _from_workers(self) -> GlobalBatch:
        assert self._prefetched is not None
        try:
            result = next(self._prefetched)
        except (RuntimeError, OSError, EOFError) as error:
            self.close()
            if str(error).startswith("Caught "):
                # raised by the dataset and handed on, with the background process alive
                raise
            raise DataError(
                f"a background process that loads data died: {error};"
                " set data.workers=0 to see its own error, or fewer workers to save memory"
            ) from error
        if isinstance(result, UserError):
            self.close()
            raise result
        return result

    def _background(self) -> DataLoader[Any]:
        return DataLoader(
            _Reported(self._steps),
            batch_size=None,
            sampler=_Steps(self.epoch, self.step, self.steps_per_epoch),
            num_workers=self.workers,
            worker_init_fn=_ignore_signals,
            # a generator of its own, or starting the processes would move the run's random state
            generator=torch.Generator(),
        )


class _Steps:
    """All (epoch, step) from a position on."""

    def __init__(self, epoch: int, step: int, steps_per_epoch: int) -> None:
        self.start = (epoch, step)
        self.steps_per_epoch = steps_per_epoch

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch, step = self.start
        while True:
            yield epoch, step
            epoch, step = (epoch, step + 1) if step + 1 < self.steps_per_epoch else (epoch + 1, 0)


class _Reported(TorchDataset[GlobalBatch | UserError]):
    """Hands a user's error over as a value: raised, it would arrive wrapped in a traceback."""

    def __init__(self, steps: StepMaker) -> None:
        self.steps = steps

    def __getitem__(self, key: tuple[int, int]) -> GlobalBatch | UserError:
        try:
            return self.steps[key]
        except UserError as error:
            return error


def _end_workers(iterator: Any) -> None:
    """Stop the processes behind a DataLoader's iterator, for which torch has no public call."""
    # one that died is reported from a signal handler, so perhaps only now, and was reported before
    with contextlib.suppress(RuntimeError):
        iterator._shutdown_workers()
    for process in iterator._workers:
        if process.is_alive():
            process.kill()


def _ignore_signals(worker: int) -> None:
    """The main process decides when to stop; a signal to the whole group must not end its workers."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
