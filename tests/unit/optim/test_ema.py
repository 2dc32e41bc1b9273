import contextlib

import pytest
import torch
from torch import nn

from framework.optim.ema import Ema


def model_and_ema(decay: float = 0.9) -> tuple[nn.Module, Ema]:
    torch.manual_seed(0)
    model = nn.Linear(3, 2, dtype=torch.float64)
    return model, Ema(list(model.named_parameters()), decay)


def test_average_is_the_weighted_sum_of_all_points() -> None:
    model, ema = model_and_ema()
    points = [model.weight.detach().clone()]
    for _ in range(6):
        with torch.no_grad():
            model.weight.add_(torch.randn_like(model.weight))
        points.append(model.weight.detach().clone())
        ema.update()
    expected = 0.9**6 * points[0] + sum(0.1 * 0.9 ** (6 - k) * points[k] for k in range(1, 7))
    torch.testing.assert_close(ema.state_dict()["weight"], expected, rtol=1e-13, atol=1e-13)


def test_swap_puts_the_average_in_and_out_of_the_same_memory() -> None:
    model, ema = model_and_ema()
    with torch.no_grad():
        model.weight.add_(1)
    ema.update()
    own, average = model.weight.detach().clone(), ema.state_dict()["weight"].clone()
    place = model.weight.data_ptr()
    with contextlib.suppress(KeyboardInterrupt), ema.swap():
        assert torch.equal(model.weight, average)
        assert not torch.equal(model.weight, own)
        assert model.weight.data_ptr() == place
        raise KeyboardInterrupt
    assert torch.equal(model.weight, own)
    assert torch.equal(ema.state_dict()["weight"], average)
    assert model.weight.data_ptr() == place


def test_no_update_and_no_second_swap_inside_a_swap() -> None:
    _, ema = model_and_ema()
    with ema.swap():
        with pytest.raises(AssertionError, match="leave `swap`"):
            ema.update()
        with pytest.raises(AssertionError, match="already"), ema.swap():
            pass
