"""What the equivalence matrix compares: one run per case, on this process or on the ranks of a group."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from framework.config.load import load
from framework.evaluation.evaluate import evaluate
from framework.parallel.process_group import process_group
from framework.parallel.world import World
from framework.training.assemble import Run, assemble
from framework.training.loop import advance
from framework.training.stop_signal import StopSignal
from tests.tiny import TEXT, write
from tests.whole import whole_state

POLICIES = {
    "erm": ["policy=erm"],
    "rgd": ["policy=rgd"],
    "rgd_sum_one": ["policy=rgd", "policy.normalization=sum_one"],
    "group_dro": ["policy=group_dro", "policy.step_size=0.5", "train.clip_norm=0.7"],
    "also_optimistic": ["policy=also", "policy.pi_lr=0.5"],
    "also_descent_ascent": ["policy=also", "policy.mode=descent_ascent", "policy.pi_lr=0.5"],
    "absgd": ["policy=absgd"],
    "sharp_dro": [
        "policy=group_dro",
        "policy.step_size=0.5",
        "train.sam={rho: 0.2, ascent: mean, add_ascent: true}",
    ],
    "asam_also": ["policy=also", "policy.pi_lr=0.5", "train.sam={rho: 0.5, adaptive: true}"],
    "irm": [
        "policy={name: vrex, penalty: 0, anneal_steps: 0}",
        "regularizers=[{name: irm, penalty: 5, anneal_steps: 4}]",
        "train.reset_optimizer_after=4",
    ],
    "frr": ["policy=rgd", "regularizers=[{name: frr, penalty: 0.1}]"],
    "cvar_later": ["policy={name: deferred, step: 8, base: {name: cvar, alpha: 0.5, regularization: 0.1}}"],
    "trimmed_tilted": [
        "policy={name: trimmed, rare_groups: warn, base: {name: tilted, t: 2, tau: 1, level: hierarchical}}"
    ],
}
#: 423 samples: the last batch of 40 has 23 (on two ranks 20 and 3), that of 32 has 7 (the last rank has none)
UNEVEN, EMPTY_RANK = 40, 32
#: SGD with momentum and a clip that binds in some steps only, so that a wrong scale of the gradient shows
COMMON = [
    "optimizer={name: sgd, lr: 0.1, momentum: 0.9}",
    "train.clip_norm=1.0",
    "train.steps=20",
    "evaluate.every_epochs=null",
    "checkpoint.every_epochs=null",
    "evaluate.batch_size=60",
]
COUNTED = ("accuracy", "error")


@dataclass(frozen=True)
class Case:
    """One run of the matrix.

    Attributes:
        micros: micro-batches per rank and step.
        engine: overrides that choose the engine.
        mutation: a way to be wrong, of `mutations`.
        text: the run file.
    """

    policy: str
    micros: int = 1
    batch: int = UNEVEN
    engine: tuple[str, ...] = ("engine=single",)
    mutation: Callable[[Run], None] | None = None
    text: str = TEXT

    def overrides(self, world_size: int) -> list[str]:
        micro = self.batch // self.micros // world_size
        return [
            *COMMON,
            *POLICIES[self.policy],
            *self.engine,
            f"batch.size={self.batch}",
            f"batch.micro={micro}",
        ]


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Attributes:
        samples: of every step, the ids in the order in which the policy saw them.
        norms: of every step, the gradient norm before clipping.
        weights: parameters and buffers by name.
        policy: its state by name.
        record: an evaluation of the validation split at the end.
    """

    samples: list[list[int]]
    norms: list[float]
    weights: dict[str, np.ndarray]
    policy: dict[str, np.ndarray]
    record: dict[str, Any]


def outcome(case: Case, world: World) -> Outcome:
    """Train `case`; every rank of `world` calls it."""
    with tempfile.TemporaryDirectory() as folder:
        loaded = load(str(write(Path(folder), case.text)), case.overrides(world.size), world_size=world.size)
    run = assemble(loaded.config, world=world)
    if case.mutation is not None:
        case.mutation(run)
    samples, norms = [], []
    with StopSignal(world) as signals:
        while not run.progress.done:
            advance(run, signals)
            assert run.last is not None
            samples.append(run.last.samples.index.tolist())
            norms.append(float(run.last.gradient_norm))
    loader = run.data.evaluation_loader("validation", run.config.evaluate.batch_size, world)
    with run.engine.evaluation_weights():
        record = evaluate(run.engine, run.task, loader, run.data.groups, "validation")
    with run.engine.true_point():
        # Copied inside: some engines give the live tensors, which are elsewhere afterwards.
        weights = _arrays(whole_state(run.engine)["model"])
    return Outcome(samples, norms, weights, _arrays(run.policy.state_dict()), record)


def outcomes(cases: list[Case]) -> list[Outcome]:
    """Every case, one after the other in one process group; rank 0's are whole."""
    world = World.detect()
    with process_group(world, 60):
        return [outcome(case, world) for case in cases]


def differences(here: Outcome, there: Outcome) -> list[str]:
    """What differs between two outcomes by more than rounding; nothing when they are the same run."""
    found = []
    if here.samples != there.samples:
        found.append("samples")
    found += [f"weights of {name}" for name in _apart(here.weights, there.weights, 2e-6)]
    # ALSO's half step exponentiates the losses of one batch at a point further ahead: 8e-7 apart by rounding
    # alone, on one process with the batch in one piece or in eight.
    ahead = {"pi_half"} & here.policy.keys()
    for names, tolerance in ((here.policy.keys() - ahead, 1e-6), (ahead, 2e-6)):
        own = ({name: state.policy[name] for name in names} for state in (here, there))
        found += [f"policy state {name}" for name in _apart(*own, tolerance)]
    a, b = dict(_flat(here.record)), dict(_flat(there.record))
    if a.keys() != b.keys():
        found.append(f"metrics {sorted(a.keys() ^ b.keys())}")
    for name in a.keys() & b.keys():
        counted = any(word in name for word in COUNTED) or name.endswith("samples")
        if not np.isclose(
            a[name], b[name], rtol=1e-9 if counted else 2e-6, atol=0 if counted else 1e-6, equal_nan=True
        ):
            found.append(f"metric {name}: {a[name]!r} and {b[name]!r}")
    return found


def _apart(here: dict[str, np.ndarray], there: dict[str, np.ndarray], tolerance: float) -> list[str]:
    assert here.keys() == there.keys()
    return [
        f"{name} by {np.abs(here[name] - there[name]).max():.1e}"
        for name in here
        if not np.allclose(here[name], there[name], rtol=0, atol=tolerance)
    ]


def _flat(value: Any, path: str = "") -> list[tuple[str, float]]:
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in _flat(item, f"{path}.{key}")]
    if isinstance(value, list):
        return [leaf for i, item in enumerate(value) for leaf in _flat(item, f"{path}.{i}")]
    return [] if isinstance(value, str) or path == ".seconds" or value is None else [(path, float(value))]


def _arrays(state: dict[str, Any]) -> dict[str, np.ndarray]:
    return {name: torch.as_tensor(value).detach().cpu().numpy().copy() for name, value in state.items()}
