"""The arithmetic of the bench tools: what is divided by what."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

TOOLS = Path(__file__).parents[3] / "tools"


@pytest.fixture(autouse=True)
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))


def test_flops_of_a_step_are_those_of_its_matrix_products() -> None:
    from bench_gpu import step_flops

    # One block by hand: four attention products of width x width and a perceptron of twice 4 width,
    # each weight twice a position forward and four times backward; scores and sums of values likewise.
    width, length, samples, layers = 8, 5, 3, 2
    weights = layers * (4 * width * width + 8 * width * width)
    positions = samples * length
    products = 2 * positions * weights
    scores_and_sums = 2 * 2 * layers * samples * length * length * width
    assert step_flops(weights, positions, length, layers, width) == 3 * (products + scores_and_sums)


def test_utilization_is_a_share_of_the_peak() -> None:
    from bench_gpu import peak_of, utilization

    assert utilization(flops=4e12, seconds=0.02, peak=1e15) == pytest.approx(0.2)
    assert peak_of("NVIDIA H100 80GB HBM3") == 989e12
    assert peak_of("something else") is None


@pytest.mark.parametrize(
    ("engine", "paper", "with_copy"),
    [
        ("ddp", 16, 16),
        ("zero0", 16, 16),
        ("zero1", 4 + 4 + 8 / 4, 4 + 4 + 12 / 4),
        ("zero2", 4 + 4 / 4 + 8 / 4, 4 + 4 / 4 + 12 / 4),
        ("zero3", 16 / 4, 20 / 4),
        ("fsdp", 16 / 4, 16 / 4),
    ],
)
def test_model_states_of_the_zero_paper(engine: str, paper: float, with_copy: float) -> None:
    from engine_memory import expected

    assert expected(engine, 4) == (paper, with_copy)


def test_states_count_a_storage_once() -> None:
    from engine_memory import states

    class Engine:
        model = torch.nn.Linear(10, 10)
        optimizer = torch.optim.Adam(model.parameters())

    model = Engine.model
    torch.autograd.backward(model(torch.ones(1, 10)).sum())
    Engine.optimizer.step()
    found = states(Engine())  # type: ignore[arg-type]
    assert found == {"parameters": 4 * 110, "gradients": 4 * 110, "optimizer": 2 * 4 * 110 + 2 * 4}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu_is_one_message() -> None:
    command = [sys.executable, str(TOOLS / "bench_engines.py"), "--device", "cuda"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("--device cuda needs a CUDA device")
