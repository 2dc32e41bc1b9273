"""What FSDP keeps between passes does not leak into the next step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from framework.engines.base import EngineSettings
from framework.engines.fsdp import fsdp
from framework.engines.sharded.engine import FsdpEngine
from framework.parallel.process_group import process_group
from framework.parallel.world import World
from tests.distributed import run_ranks

ALONE = World()


class Model(nn.Module):
    """Blocks, and a head that is in none of them: FSDP leaves it whole after a forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(nn.Linear(4, 6), nn.Tanh())
        self.head = nn.Linear(6, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.blocks(inputs))
        return outputs


def make_model() -> nn.Module:
    torch.manual_seed(0)
    return Model()


def make_optimizer(named: list[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
    return torch.optim.SGD([parameter for _, parameter in named], lr=0.5)


def engine(*, bf16: bool = False, ema_decay: float | None = None, world: World = ALONE) -> FsdpEngine:
    settings = EngineSettings(make_model, make_optimizer, world, torch.device("cpu"), ema_decay)
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


def errors_around_an_exchange() -> list[float]:
    """How far outputs are from those of a plain model, by the average of the weights, and after it."""
    world = World.detect()
    errors = []
    with process_group(world, 60):
        for skipped_step in (False, True):
            built = engine(ema_decay=0.5, world=world)
            one_pass(built, last=True)
            built.step()
            built.zero_grad()
            with torch.set_grad_enabled(skipped_step):
                built.forward(torch.ones(3, 4))
            built.zero_grad()
            with torch.no_grad():
                with built.evaluation_weights():
                    errors.append(error(built))
                errors.append(error(built))
    return errors


def error(engine: FsdpEngine) -> float:
    outputs = engine.forward(torch.ones(3, 4))
    plain = make_model()
    plain.load_state_dict(dict(engine.named_weights()))
    expected: Tensor = plain(torch.ones(3, 4))
    return float((outputs - expected).abs().max())


def test_no_pass_leaves_stale_weights_behind() -> None:
    # On one rank what is gathered shares the memory of the shards, so that nothing can be stale.
    for errors in run_ranks(errors_around_an_exchange, 2):
        assert max(errors) <= 1e-6


def test_bf16_keeps_outputs_and_weights_in_fp32() -> None:
    engine_ = engine(bf16=True)
    seen: list[torch.dtype] = []
    engine_.model.head.register_forward_hook(  # type: ignore[operator,union-attr]
        lambda module, inputs, outputs: seen.append(outputs.dtype)
    )
    assert engine_.forward(torch.ones(3, 4)).dtype == torch.float32
    assert all(tensor.dtype == torch.float32 for _, tensor in engine_.named_weights())
    assert seen == [torch.bfloat16]


def test_bf16_takes_batch_norms() -> None:
    def normed() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))

    settings = EngineSettings(normed, make_optimizer, World(), torch.device("cpu"))
    engine_ = fsdp(settings, precision="bf16", activation_checkpointing=True)
    assert isinstance(engine_, FsdpEngine)
    before = weights(engine_)
    one_pass(engine_, last=True)
    assert engine_.clip(1.0) > 0
    engine_.step()
    assert not torch.equal(before, weights(engine_))


def test_the_norm_is_that_of_the_whole_gradient_and_clipping_reaches_it() -> None:
    engine_ = engine()
    one_pass(engine_, last=True)
    norm = engine_.clip(0.1)
    expected = make_model()
    expected(torch.ones(3, 4)).mean().backward()
    whole = torch.nn.utils.get_total_norm([p.grad for p in expected.parameters() if p.grad is not None])
    torch.testing.assert_close(norm, whole)
    torch.testing.assert_close(engine_.clip(None), torch.tensor(0.1), rtol=1e-4, atol=0)
