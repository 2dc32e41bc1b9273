"""What FSDP keeps between passes does not leak into the next step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from framework.engines.base import EngineSettings
from framework.engines.fsdp import fsdp
from framework.engines.sharded.engine import FsdpEngine
from framework.parallel.world import World


def make_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1))


def make_optimizer(named: list[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
    return torch.optim.SGD([parameter for _, parameter in named], lr=0.5)


def engine(*, bf16: bool = False, ema_decay: float | None = None) -> FsdpEngine:
    settings = EngineSettings(make_model, make_optimizer, World(), torch.device("cpu"), ema_decay)
    built = fsdp(settings, precision="bf16" if bf16 else "fp32")
    assert isinstance(built, FsdpEngine)
    return built


def one_pass(engine: FsdpEngine, *, last: bool) -> None:
    engine.announce(last=last)
    losses = engine.forward(torch.ones(3, 4)).squeeze(1)
    engine.backward(losses, torch.full((3,), 1 / 3))


def weights(engine: FsdpEngine) -> Tensor:
    return torch.cat([tensor.flatten() for _, tensor in engine.named_weights()])


def test_gradients_of_an_abandoned_step_are_forgotten() -> None:
    for bf16 in (False, True):
        plain, disturbed = engine(bf16=bf16), engine(bf16=bf16)
        one_pass(disturbed, last=False)
        disturbed.zero_grad()
        for one in (plain, disturbed):
            one_pass(one, last=False)
            one_pass(one, last=True)
            one.clip(None)
            one.step()
        assert torch.equal(weights(plain), weights(disturbed))


def test_a_forward_pass_without_a_backward_pass_is_forgotten() -> None:
    """A step that is skipped for its losses; then the weights are exchanged for their average."""
    engine_ = engine(ema_decay=0.5)
    one_pass(engine_, last=True)
    engine_.step()
    engine_.zero_grad()
    engine_.announce(last=True)
    outputs = engine_.forward(torch.ones(3, 4)).detach()
    engine_.zero_grad()
    with engine_.evaluation_weights(), torch.no_grad():
        averaged = engine_.forward(torch.ones(3, 4))
    assert not torch.equal(outputs, averaged)


def test_an_evaluation_leaves_no_stale_weights() -> None:
    engine_ = engine(ema_decay=0.5)
    one_pass(engine_, last=True)
    engine_.step()
    engine_.zero_grad()
    with torch.no_grad():
        before = engine_.forward(torch.ones(3, 4))
        with engine_.evaluation_weights():
            averaged = engine_.forward(torch.ones(3, 4))
        after = engine_.forward(torch.ones(3, 4))
    assert not torch.equal(before, averaged)
    assert torch.equal(before, after)


def test_bf16_keeps_outputs_and_weights_in_fp32() -> None:
    engine_ = engine(bf16=True)
    seen: list[torch.dtype] = []
    engine_.model[0].register_forward_hook(  # type: ignore[operator]
        lambda module, inputs, outputs: seen.append(outputs.dtype)
    )
    assert engine_.forward(torch.ones(3, 4)).dtype == torch.float32
    assert all(tensor.dtype == torch.float32 for _, tensor in engine_.named_weights())
    assert seen == [torch.bfloat16]


def test_the_norm_is_that_of_the_whole_gradient_and_clipping_reaches_it() -> None:
    engine_ = engine()
    one_pass(engine_, last=True)
    norm = engine_.clip(0.1)
    expected = make_model()
    expected(torch.ones(3, 4)).mean().backward()
    whole = torch.nn.utils.get_total_norm([p.grad for p in expected.parameters() if p.grad is not None])
    torch.testing.assert_close(norm, whole)
    torch.testing.assert_close(engine_.clip(None), torch.tensor(0.1), rtol=1e-4, atol=0)
