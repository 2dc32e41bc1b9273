"""The loss scale: as torch's own moves, its floor, and what the log says when it comes or goes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from framework.engines.precision import LossScale, LossScaleOptions, restore_loss_scale
from framework.errors import TrainingError
from framework.training.loop import advance
from framework.training.stop_signal import StopSignal
from tests.tiny import assembled

FP16 = ["engine.precision=fp16", "evaluate.every_epochs=null", "checkpoint.every_epochs=null"]


def test_it_moves_as_torchs_gradient_scaler() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.0)
    theirs = torch.amp.GradScaler("cpu", growth_interval=3)
    theirs.scale(torch.zeros(1))
    ours = LossScale(LossScaleOptions(growth_interval=3))
    assert LossScaleOptions().growth_interval == torch.amp.GradScaler("cpu").get_growth_interval()
    for overflow in [False, False, True, False, False, False, False, True, True, *[False] * 7]:
        assert ours.scale == theirs.get_scale()
        parameter.grad = torch.full((1,), torch.inf if overflow else 1.0)
        theirs.step(optimizer)
        theirs.update()
        if overflow:
            assert ours.shrink()
        else:
            ours.grow()
    assert ours.scale == theirs.get_scale()


def test_it_stops_at_the_floor() -> None:
    scale = LossScale(LossScaleOptions(initial=3.0, smallest=1.0))
    assert [scale.shrink(), scale.scale, scale.shrink(), scale.scale] == [True, 1.5, True, 1.0]
    assert not scale.shrink()
    assert scale.scale == 1.0


def test_overflows_count_once_the_scale_cannot_fall(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    options = ["engine.loss_scale={initial: 4, smallest: 1}", "train.max_skipped=1"]
    run = assembled(tmp_path, [*FP16, *options])
    forward = run.engine.forward

    def spoiled(inputs: torch.Tensor) -> torch.Tensor:
        outputs = forward(inputs)
        outputs.register_hook(lambda gradient: gradient * torch.nan)
        return outputs

    run.engine.forward = spoiled  # type: ignore[method-assign,assignment]
    with StopSignal() as signals:
        for _ in range(3):
            advance(run, signals)
        assert (run.progress.step, run.progress.skipped) == (3, 1)
        with pytest.raises(TrainingError, match="step 4: the losses are finite but the gradient is not"):
            advance(run, signals)
    told = [record.message for record in caplog.records if record.name == "framework.guards"]
    assert told[:2] == [
        f"step {step} skipped: the gradient overflows in fp16; the loss scale falls to {scale}"
        for step, scale in ((1, 2), (2, 1))
    ]


def test_fp16_computes_in_fp16_and_clips_the_true_norm(tmp_path: Path) -> None:
    norms = []
    for precision in ("fp32", "fp16"):
        run = assembled(tmp_path, [*FP16, f"engine.precision={precision}", "train.clip_norm=0.01"])
        seen: list[torch.dtype] = []
        run.engine.model[-1].register_forward_hook(lambda *args, seen=seen: seen.append(args[2].dtype))  # type: ignore[index,operator]
        with StopSignal() as signals:
            advance(run, signals)
        assert run.last is not None
        norms.append(float(run.last.gradient_norm))
        assert seen == [torch.float16 if precision == "fp16" else torch.float32]
        assert {weight.dtype for _, weight in run.engine.named_weights()} == {torch.float32}
        gradients = [p.grad for p in run.engine.model.parameters() if p.grad is not None]
        torch.testing.assert_close(
            torch.nn.utils.get_total_norm(gradients), torch.tensor(0.01), rtol=1e-3, atol=0
        )
    assert norms[0] == pytest.approx(norms[1], rel=1e-2)
    assert norms[0] != norms[1]


def test_what_another_precision_drops_or_begins_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    half = assembled(tmp_path, [*FP16, "engine.loss_scale.initial=64"])
    full = assembled(tmp_path, ["engine.precision=fp32"])
    full.engine.load_state_dict(half.engine.state_dict())
    assert "loss scale (64) is left behind" in caplog.text
    other = assembled(tmp_path, FP16)
    other.engine.load_state_dict(full.engine.state_dict())
    assert "no loss scale (it is not of fp16): it begins at 65536" in caplog.text
    caplog.clear()
    other.engine.load_state_dict(half.engine.state_dict())
    assert other.engine.loss_scale is not None
    assert other.engine.loss_scale.scale == 64
    restore_loss_scale(None, None)
    assert caplog.text == ""
