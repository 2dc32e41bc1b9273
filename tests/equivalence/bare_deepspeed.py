"""What a script with DeepSpeed alone does: a plain model, torch's AdamW, save_checkpoint, load_checkpoint."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from framework.engines.deepspeed_setup import load_deepspeed
from framework.optim.param_groups import split_decay
from framework.parallel.process_group import process_group
from framework.parallel.world import World
from tests.equivalence.zero_cases import built
from tests.equivalence.zero_models import Odd

RATE = 0.01
MOMENTS = ("exp_avg", "exp_avg_sq")
_OFFLOAD: dict[str, Any] = {"offload_optimizer": {"device": "cpu"}}
_OWN_STEPS = {"zero_force_ds_cpu_optimizer": False}
#: of what a checkpoint's files depend on, beside the stage and the number of ranks
LAYOUTS: dict[str, dict[str, Any]] = {
    "bf16 1": {"zero_optimization": {"stage": 1}, "bf16": {"enabled": True}},
    "bf16 1, sums in fp32": {
        "zero_optimization": {"stage": 1},
        "bf16": {"enabled": True},
        "data_types": {"grad_accum_dtype": "fp32"},
    },
    "bf16 3": {"zero_optimization": {"stage": 3}, "bf16": {"enabled": True}},
    "elastic 1": {"zero_optimization": {"stage": 1, "elastic_checkpoint": True}},
    "shuffled 2": {"zero_optimization": {"stage": 2, "round_robin_gradients": True}},
    "offloaded 2": {"zero_optimization": {"stage": 2, **_OFFLOAD}, **_OWN_STEPS},
    "offloaded 3": {
        "zero_optimization": {"stage": 3, **_OFFLOAD, "offload_param": {"device": "cpu"}},
        **_OWN_STEPS,
    },
    "small groups 3": {"zero_optimization": {"stage": 3, "sub_group_size": 30}},
}

#: the run whose model and data are used, the stage, where to load, up to where to train, where to save, end
Script = tuple[list[str], int, Path | None, int, Path | None, int]


def scripts(todo: Sequence[Script], odd: Path) -> list[dict[str, dict[str, np.ndarray]]]:
    """Parameters and moments at the end of each script; and, in the folder `odd`, those of an odd model."""
    world = World.detect()
    with process_group(world, 100):
        package = load_deepspeed(world, torch.device("cpu"))
        for stage in (1, 3):
            odd_model(package, stage, odd / str(stage), world)
        ends = [script(package, world, *each) for each in todo]
    return [{name: {key: v.numpy() for key, v in own.items()} for name, own in end.items()} for end in ends]


def script(
    package: Any,
    world: World,
    options: list[str],
    stage: int,
    load: Path | None,
    middle: int,
    save: Path | None,
    end: int,
) -> dict[str, dict[str, Tensor]]:
    run = built([*options, "engine=single"], World())
    engine = initialized(package, run.engine.model, options, stage, universal=load is not None)
    if load is not None:
        path, _ = engine.load_checkpoint(str(load))
        assert path is not None
    batches = [next(run.loader).micros[0] for _ in range(end)]
    for step in range(engine.global_steps, end):
        if step == middle and save is not None:
            engine.save_checkpoint(str(save))
        inputs, labels = (
            part.chunk(world.size)[world.rank] for part in (batches[step].inputs, batches[step].targets)
        )
        engine.backward(nn.functional.cross_entropy(engine(inputs), labels))
        engine.step()
    return state(engine)


def initialized(
    package: Any, model: nn.Module, options: list[str], stage: int, *, universal: bool = False, **more: Any
) -> Any:
    named = list(model.named_parameters())
    kind = "matrices" if "train.weight_decay_on=matrices" in options else "all"
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": 0.0,
        "zero_allow_untested_optimizer": True,
        "zero_optimization": {"stage": stage},
        "checkpoint": {"load_universal": universal},
        **more,
    }
    optimizer = torch.optim.AdamW(split_decay(named, kind), lr=RATE)  # type: ignore[arg-type]
    engine, *_ = package.initialize(model=model, optimizer=optimizer, config=config, dist_init_required=False)
    return engine


def state(engine: Any) -> dict[str, dict[str, Tensor]]:
    """Whole parameters and moments by name, as DeepSpeed's own functions put them together."""
    from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

    zero = engine.optimizer
    if hasattr(zero, "_lazy_init_hp_params_optimizer_state"):
        # It is done within the first step, when only the first group has a state, and never again.
        zero._hp_optimizer_states_linked = False
        zero._lazy_init_hp_params_optimizer_state()
    found = {}
    for name, parameter in engine.module.named_parameters():
        if parameter.requires_grad:
            own = {"fp32": safe_get_full_fp32_param(parameter).clone()}
            for key in MOMENTS:
                own[key] = safe_get_full_optimizer_state(parameter, key).clone()
            found[name] = own
    return found


def odd_model(package: Any, stage: int, folder: Path, world: World) -> None:
    """Checkpoints of what is no plain parameter, as it is and universal; `whole.pt` says what is right."""
    torch.manual_seed(3)
    model = Odd()
    plain = {name: value.clone() for name, value in model.state_dict().items()}
    engine = initialized(package, model, ["train.weight_decay_on=matrices"], stage)
    generator = torch.Generator().manual_seed(world.rank)
    for _ in range(2):
        engine.backward(engine(torch.randn(4, 7, generator=generator)).square().mean())
        engine.step()
    engine.save_checkpoint(str(folder), tag="two")
    found = state(engine)
    buffers = {name: value.clone() for name, value in engine.module.named_buffers()}
    if world.is_main:
        torch.save({"trained": found, "buffers": buffers, "plain": plain}, folder / "whole.pt")
        from deepspeed.checkpoint import ds_to_universal

        ds_to_universal.main(
            Namespace(
                input_folder=str(folder / "two"),
                output_folder=str(folder / "universal"),
                num_extract_workers=1,
                num_merge_workers=1,
                keep_temp_folder=False,
                strict=True,
                inject_missing_state=True,
            )
        )


def layouts(folder: Path) -> None:
    """A checkpoint of each of LAYOUTS after two steps, with what is right in `whole.pt`."""
    world = World.detect()
    with process_group(world, 100):
        package = load_deepspeed(world, torch.device("cpu"))
        for name, config in LAYOUTS.items():
            torch.manual_seed(3)
            model = Odd()
            model.norm = nn.LayerNorm(5)  # type: ignore[assignment]
            kind = torch.bfloat16 if "bf16" in config else torch.float32
            engine = initialized(package, model, ["train.weight_decay_on=matrices"], 0, **config)
            generator = torch.Generator().manual_seed(world.rank)
            for _ in range(2):
                outputs = engine(torch.randn(4, 7, generator=generator).to(kind))
                engine.backward(outputs.float().square().mean())
                engine.step()
            engine.save_checkpoint(str(folder / name))
            found = state(engine)
            if world.is_main:
                torch.save(found, folder / name / "whole.pt")
