import pytest
import torch
from torch import nn

from framework.data.batch import DataSpec
from framework.registry import registry

pytest.importorskip("transformers")

DIGITS = DataSpec((1, 8, 8), 10)
SMALL = {"patch_size": 2, "hidden_size": 32, "layers": 2, "heads": 4}


def build(spec: DataSpec, **options: object) -> nn.Module:
    component = registry.get("model", "vit")
    model: nn.Module = component.build(component.model(name="vit", **options), spec=spec)
    return model


@pytest.mark.parametrize(
    ("preset", "count"), [("tiny", 5_717_416), ("small", 22_050_664), ("base", 86_567_656)]
)
def test_presets_have_the_published_size(preset: str, count: int) -> None:
    """5, 22 and 86 million (Touvron et al., Table 1), with the head for 1000 classes."""
    with torch.device("meta"):
        model = build(DataSpec((3, 224, 224), 1000), preset=preset)
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_every_field_of_a_preset_can_be_overridden() -> None:
    model = build(DIGITS, preset="base", **SMALL, mlp_ratio=1.5)
    config = model.model.config  # type: ignore[union-attr]
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (32, 2, 4)
    assert config.intermediate_size == 48


def test_takes_oblong_images_with_any_channels() -> None:
    spec = DataSpec((5, 8, 12), 3)
    assert build(spec, **(SMALL | {"patch_size": 4}))(torch.randn(2, *spec.input_shape)).shape == (2, 3)


def test_attention_implementations_agree() -> None:
    inputs = torch.randn(3, 1, 8, 8)
    outputs = []
    for attention in ("sdpa", "eager"):
        torch.manual_seed(0)
        model = build(DIGITS, **SMALL, attention=attention)
        assert model.model.config._attn_implementation == attention  # type: ignore[union-attr]
        outputs.append(model(inputs))
    torch.testing.assert_close(*outputs)


def test_initial_weights_follow_from_torchs_seed_and_init_std() -> None:
    torch.manual_seed(3)
    first = build(DIGITS, **SMALL, init_std=0.1).state_dict()
    torch.manual_seed(3)
    again = build(DIGITS, **SMALL, init_std=0.1).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    weights = torch.cat(
        [value.flatten() for key, value in first.items() if key.endswith("fc1.weight")]
        or [value.flatten() for key, value in first.items() if "intermediate" in key and value.dim() == 2]
    )
    assert weights.std().item() == pytest.approx(0.1, rel=0.05)


def test_dropout_acts_in_training_only() -> None:
    inputs = torch.randn(3, 1, 8, 8)
    model = build(DIGITS, **SMALL, dropout=0.5)
    assert not torch.equal(model.train()(inputs), model(inputs))
    assert torch.equal(model.eval()(inputs), model(inputs))
