"""A profile of a few steps."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import torch
from torch.profiler import ProfilerActivity

from framework.options import Count
from framework.registry import register
from framework.training.hooks import Callback

if TYPE_CHECKING:
    from framework.training.assemble import Run

logger = logging.getLogger("framework.callbacks")
_ROWS = 15


@register.callback("profile")
class Profile(Callback):
    """Writes a chrome trace of some steps to profile/ in the run folder, and their costs to log.txt.

    Args:
        first: first step that is profiled; the steps before it warm up.
        steps: number of steps that are profiled.
        shapes: record the shapes of the operations' inputs.
        memory: record allocations.
        stacks: record the Python lines that operations come from; slow.
    """

    def __init__(
        self,
        *,
        first: Count = 11,
        steps: Count = 5,
        shapes: bool = False,
        memory: bool = False,
        stacks: bool = False,
    ) -> None:
        self._first = first
        self._last = first + steps - 1
        self._options: dict[str, Any] = {
            "record_shapes": shapes,
            "profile_memory": memory,
            "with_stack": stacks,
        }
        self._profiler: torch.profiler.profile | None = None

    def on_start(self, run: Run) -> None:
        """Begin here if the next step is the first of them."""
        self._begin_if_next(run)

    def on_step(self, run: Run) -> None:
        """Begin before the first step and end after the last one."""
        if self._profiler is not None and run.progress.step >= self._last:
            self._end(run)
        self._begin_if_next(run)

    def on_end(self, run: Run) -> None:
        """Write what there is if the run ended in between."""
        if self._profiler is not None:
            self._end(run)

    def _begin_if_next(self, run: Run) -> None:
        if run.progress.step + 1 != self._first:
            return
        activities = [ProfilerActivity.CPU]
        if run.engine.device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
        self._profiler = torch.profiler.profile(activities=activities, **self._options)
        self._profiler.start()

    def _end(self, run: Run) -> None:
        assert self._profiler is not None
        assert run.dir is not None
        profiler, self._profiler = self._profiler, None
        # The device still works on the last step: what it does belongs to the trace.
        on_cuda = run.engine.device.type == "cuda"
        if on_cuda:
            torch.cuda.synchronize(run.engine.device)
        profiler.stop()
        folder = run.dir / "profile"
        folder.mkdir(exist_ok=True)
        rank = run.engine.world.rank
        path = folder / f"steps-{self._first}-{run.progress.step}-rank-{rank}.json"
        profiler.export_chrome_trace(str(path))
        by = "self_device_time_total" if on_cuda else "self_cpu_time_total"
        table = profiler.key_averages().table(sort_by=by, row_limit=_ROWS, max_name_column_width=40)
        logger.info("profile of steps %d to %d: %s\n%s", self._first, run.progress.step, path, table)
