from typing import Any

import pytest
import torch
from torch import Tensor, nn

from framework.data.batch import DataSpec
from framework.engines.sharded.build import blocks
from framework.errors import ConfigError
from framework.models.transformer_blocks import rotary
from framework.models.transformer_lm import PRESETS
from framework.registry import registry

TEXT = DataSpec((16,), None, num_tokens=50, next_tokens=True)
SMALL = {"width": 32, "layers": 2, "heads": 4}


def build(spec: DataSpec = TEXT, name: str = "transformer_lm", **options: Any) -> nn.Module:
    component = registry.get("model", name)
    model: nn.Module = component.build(component.model(name=name, **options), spec=spec)
    return model


def size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_have_the_parameters_of_their_formula(preset: str) -> None:
    vocabulary, shape = 32_000, PRESETS[preset]
    with torch.device("meta"):
        model = build(DataSpec((2048,), None, num_tokens=vocabulary, next_tokens=True), preset=preset)
    d = shape.width
    block = 4 * d * d + 3 * d * shape.mlp_width + 2 * d
    ends = vocabulary * d * (1 if shape.tied else 2) + d
    assert size(model) == shape.layers * block + ends
    assert blocks(model) == list(model.blocks)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("preset", "vocabulary", "published"),
    [
        # LLaMA-7B (arXiv 2302.13971); OLMo-1B has norms without weights (arXiv 2402.00838, section 2.1)
        ("7b", 32_000, 6_738_415_616),
        ("1b", 50_304, 1_176_764_416 + 33 * 2048),
    ],
)
def test_presets_have_the_published_size(preset: str, vocabulary: int, published: int) -> None:
    with torch.device("meta"):
        model = build(DataSpec((2048,), None, num_tokens=vocabulary, next_tokens=True), preset=preset)
    assert size(model) == published


@pytest.mark.parametrize(
    ("preset", "vocabulary", "low", "high"),
    [
        ("1m", 256, 0.9e6, 1.5e6),
        ("10m", 256, 9e6, 12e6),
        ("50m", 256, 45e6, 55e6),
        ("125m", 50_257, 120e6, 130e6),
        ("350m", 50_257, 345e6, 360e6),
        ("3b", 50_257, 2.6e9, 3e9),
    ],
)
def test_presets_are_about_as_large_as_their_names_say(
    preset: str, vocabulary: int, low: float, high: float
) -> None:
    with torch.device("meta"):
        model = build(DataSpec((2048,), None, num_tokens=vocabulary, next_tokens=True), preset=preset)
    assert low < size(model) < high


def test_every_field_of_a_preset_can_be_overridden() -> None:
    model = build(**SMALL, mlp_ratio=2.0, activation="gelu", norm="layer", tied_embeddings=False)
    # attention, perceptron without gate, two norms with bias; embedding, last norm, head
    assert size(model) == 2 * (4 * 32 * 32 + 2 * 32 * 64 + 4 * 32) + 50 * 32 + 2 * 32 + 32 * 50
    assert size(build(**SMALL, activation="gelu")) == 2 * (12 * 32 * 32 + 2 * 32) + 50 * 32 + 32


def test_a_token_sees_itself_and_those_before_it_only() -> None:
    torch.manual_seed(0)
    model = build(**SMALL, init_std=0.2).double()
    tokens = torch.randint(0, 50, (2, 16))
    changed = tokens.clone()
    changed[:, 9] = (tokens[:, 9] + 1) % 50
    before, after = model(tokens), model(changed)
    assert before.shape == (2, 16, 50)
    moved = (before - after).abs().amax(dim=(0, 2)) > 1e-9
    assert moved.tolist() == [False] * 9 + [True] * 7


def test_attention_is_that_of_its_equations() -> None:
    """Attention with rotary positions by complex numbers, one query at a time (arXiv 2104.09864, eq. 12)."""
    torch.manual_seed(1)
    attention = build(**SMALL, rotary_base=100.0).double().blocks[0].attention  # type: ignore[index, union-attr]
    features = torch.randn(1, 6, 32, dtype=torch.float64)
    found = attention(features, rotary(6, attention.shape, torch.device("cpu")).double())
    query, key, value = (features[0] @ attention.query_key_value.weight.T).split(32, dim=1)
    expected = torch.zeros(6, 32, dtype=torch.float64)
    frequencies = 100.0 ** -(torch.arange(4, dtype=torch.float64) / 4)
    for head in range(4):
        own = slice(8 * head, 8 * head + 8)

        def turned(vectors: Tensor, own: slice = own) -> Tensor:
            pairs = torch.complex(vectors[:, own][:, :4], vectors[:, own][:, 4:])
            positions = torch.arange(6, dtype=torch.float64)
            return pairs * torch.exp(1j * positions[:, None] * frequencies)

        scores = (turned(query) @ turned(key).conj().T).real / 8**0.5
        for place in range(6):
            expected[place, own] = scores[place, : place + 1].softmax(0) @ value[: place + 1, own]
    torch.testing.assert_close(found[0], expected @ attention.output.weight.T, rtol=1e-6, atol=1e-7)


def test_initial_weights_follow_from_torchs_seed_and_init_std() -> None:
    def weights() -> dict[str, Tensor]:
        torch.manual_seed(3)
        return build(width=64, layers=8, heads=4, init_std=0.1).state_dict()

    first, again = weights(), weights()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert first["blocks.1.perceptron.hidden.weight"].std().item() == pytest.approx(0.1, rel=0.05)
    assert first["blocks.1.perceptron.output.weight"].std().item() == pytest.approx(0.1 / 4, rel=0.05)


def test_dropout_acts_in_training_only() -> None:
    tokens = torch.randint(0, 50, (2, 16))
    model = build(**SMALL, dropout=0.5)
    assert not torch.equal(model.train()(tokens), model(tokens))
    assert torch.equal(model.eval()(tokens), model(tokens))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 30, "heads": 4}, r"width 30 is not divisible by heads 4 \(30 = 4 x 7 \+ 2\)"),
        ({"width": 12, "heads": 4}, r"= 3 must be even"),
    ],
)
def test_wrong_shapes_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(**options)


@pytest.mark.parametrize(
    ("name", "options", "spec", "message"),
    [
        ("transformer_lm", {}, DataSpec((1, 8, 8), 10), "the data is images of shape 1 x 8 x 8"),
        (
            "transformer_lm",
            {},
            DataSpec((16,), 2, num_tokens=50),
            "text of 16 tokens with a label",
        ),
        ("mlp", {}, TEXT, "needs numbers; the data is text of 16 tokens for language modelling"),
        ("linear", {}, TEXT, "needs numbers; the data is text of 16 tokens for language modelling"),
        ("vit", {}, TEXT, "needs images"),
        ("resnet", {}, TEXT, "needs images"),
    ],
)
def test_data_of_another_kind_is_refused(
    name: str, options: dict[str, Any], spec: DataSpec, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        build(spec, name, **options)
