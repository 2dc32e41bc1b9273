import pytest
import torch
from torch import nn

from framework.data.batch import DataSpec
from framework.errors import ConfigError
from framework.registry import registry

IMAGES = DataSpec((1, 8, 8), 10)
TABLE = DataSpec((7,), None, num_targets=2)


def build(spec: DataSpec, name: str, **options: object) -> nn.Module:
    component = registry.get("model", name)
    model: nn.Module = component.build(component.model(name=name, **options), spec=spec)
    return model


def num_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("spec", [IMAGES, TABLE])
@pytest.mark.parametrize("name", ["linear", "mlp"])
def test_flat_models_take_any_shape(name: str, spec: DataSpec) -> None:
    outputs = build(spec, name)(torch.randn(5, *spec.input_shape))
    assert outputs.shape == (5, spec.num_outputs)


def test_linear_is_an_affine_map() -> None:
    model = build(IMAGES, "linear")
    weight, bias = model.parameters()
    inputs = torch.randn(4, 1, 8, 8)
    torch.testing.assert_close(model(inputs), inputs.reshape(4, 64) @ weight.T + bias)
    assert num_parameters(build(IMAGES, "linear", bias=False)) == 640


def test_mlp_has_the_asked_layers() -> None:
    model = build(IMAGES, "mlp", hidden=[32, 16], norm="layer", dropout=0.5, activation="tanh")
    assert num_parameters(model) == 64 * 32 + 32 + 2 * 32 + 32 * 16 + 16 + 2 * 16 + 16 * 10 + 10
    kinds = [type(layer).__name__ for layer in model]  # type: ignore[arg-type]
    hidden = ["Linear", "LayerNorm", "Tanh", "Dropout"]
    assert kinds == ["Flatten", *hidden, *hidden, "Linear"]
    assert num_parameters(build(IMAGES, "mlp", hidden=[])) == 650


@pytest.mark.parametrize(
    ("depth", "count"),
    [(20, 269_722), (32, 464_154), (56, 853_018), (110, 1_727_962)],
)
def test_small_image_resnets_have_the_published_size(depth: int, count: int) -> None:
    """0.27, 0.46, 0.85 and 1.7 million (He et al., Table 6)."""
    with torch.device("meta"):
        assert num_parameters(build(DataSpec((3, 32, 32), 10), "resnet", depth=depth)) == count


@pytest.mark.parametrize(
    ("depth", "millions"), [(18, 11.69), (34, 21.80), (50, 25.56), (101, 44.55), (152, 60.19)]
)
def test_large_image_resnets_have_the_published_size(depth: int, millions: float) -> None:
    with torch.device("meta"):
        count = num_parameters(build(DataSpec((3, 224, 224), 1000), "resnet", depth=depth))
    assert count / 1e6 == pytest.approx(millions, abs=0.006)


@pytest.mark.parametrize("depth", [20, 18, 50])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 33, 20), (5, 9, 9)])
def test_resnets_take_any_image(depth: int, shape: tuple[int, ...]) -> None:
    model = build(DataSpec(shape, 4), "resnet", depth=depth, width=16)
    assert model(torch.randn(2, *shape)).shape == (2, 4)


def test_large_resnet_halves_five_times_and_small_twice() -> None:
    def last_map(depth: int, stem: str) -> torch.Size:
        model = build(DataSpec((3, 64, 64), 4), "resnet", depth=depth, width=16, stem=stem)
        features: torch.Tensor = model[:-3](torch.randn(1, 3, 64, 64))  # type: ignore[index]
        return features.shape[2:]

    assert last_map(18, "auto") == (2, 2)
    assert last_map(18, "small") == (8, 8)
    assert last_map(20, "auto") == (16, 16)


def test_group_norm_keeps_samples_apart_and_batch_norm_does_not() -> None:
    inputs = torch.randn(6, 1, 8, 8)
    for norm, apart in (("group", True), ("batch", False)):
        model = build(IMAGES, "resnet", norm=norm).train()
        halves = torch.cat([model(inputs[:3]), model(inputs[3:])])
        assert torch.allclose(model(inputs), halves, atol=1e-5) == apart


def test_padded_shortcut_keeps_every_other_pixel_between_zero_channels() -> None:
    from framework.models.resnet import PaddedShortcut

    images = torch.arange(16.0).reshape(1, 1, 4, 4)
    out = PaddedShortcut(3, stride=2)(images)
    assert out.shape == (1, 4, 2, 2)
    assert out[0, 1].tolist() == [[0, 2], [8, 10]]
    assert out[0, [0, 2, 3]].abs().sum() == 0


@pytest.mark.parametrize("name", ["linear", "mlp", "resnet"])
def test_initial_weights_follow_from_torchs_seed(name: str) -> None:
    torch.manual_seed(3)
    first = build(IMAGES, name).state_dict()
    torch.manual_seed(3)
    again = build(IMAGES, name).state_dict()
    torch.manual_seed(4)
    other = build(IMAGES, name).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_resnet_on_a_table_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"model resnet: needs images .* the data has shape \(7,\)"):
        build(TABLE, "resnet")


@pytest.mark.parametrize("name", ["mlp", "resnet"])
def test_a_cosine_head_gives_cosines(name):
    spec = DataSpec((3, 8, 8), 5)
    component = registry.get("model", name)
    model = component.build(component.model(name=name, head="cosine"), spec=spec)
    logits = model(torch.randn(6, 3, 8, 8))
    assert logits.shape == (6, 5)
    assert logits.abs().max() <= 1 + 1e-6
    *body, head = model
    features = torch.nn.Sequential(*body)(torch.randn(6, 3, 8, 8))
    expected = torch.nn.functional.cosine_similarity(features[:, None], head.weight[None], dim=2)
    torch.testing.assert_close(head(features), expected)
