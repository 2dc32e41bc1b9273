from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from framework.data.batch import DataSpec
from framework.registry import registry

transformers = pytest.importorskip("transformers")

DIGITS = DataSpec((1, 8, 8), 10)
TEXT = DataSpec((12,), 3)
VIT = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "patch_size": 2,
}
BERT = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "vocab_size": 30,
}


def build(spec: DataSpec, **options: Any) -> nn.Module:
    component = registry.get("model", "huggingface")
    model: nn.Module = component.build(component.model(name="huggingface", **options), spec=spec)
    return model


@pytest.mark.parametrize(
    ("model_type", "config", "head"),
    [
        ("vit", VIT, "auto"),
        ("vit", VIT, "pooled"),
        ("convnext", {"hidden_sizes": [4, 8], "depths": [1, 1], "num_stages": 2, "patch_size": 1}, "image"),
        ("resnet", {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1]}, "pooled"),
    ],
)
def test_random_image_models_train(model_type: str, config: dict[str, Any], head: str) -> None:
    model = build(DIGITS, model_type=model_type, config=config, head=head)
    assert model.training
    outputs = model(torch.randn(3, 1, 8, 8))
    assert outputs.shape == (3, 10)
    outputs.sum().backward()
    assert any(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("head", ["auto", "sequence", "pooled"])
def test_sequence_models_take_tensors_and_dictionaries(head: str) -> None:
    model = build(TEXT, model_type="bert", config=BERT, head=head).eval()
    tokens = torch.randint(0, 30, (4, 12))
    assert model(tokens).shape == (4, 3)
    torch.testing.assert_close(model(tokens), model({"input_ids": tokens}))


def test_pooled_mean_ignores_what_the_mask_hides() -> None:
    config = {"n_embd": 16, "n_layer": 1, "n_head": 2, "vocab_size": 30}
    model = build(TEXT, model_type="gpt2", config=config, head="pooled").eval()
    tokens = torch.randint(0, 30, (2, 12))
    mask = torch.ones(2, 12, dtype=torch.long)
    mask[:, 8:] = 0
    torch.testing.assert_close(model({"input_ids": tokens, "attention_mask": mask}), model(tokens[:, :8]))


def test_checkpoint_folder_gives_its_weights(tmp_path: Path) -> None:
    source = build(DIGITS, model_type="vit", config=VIT).eval()
    source.model.save_pretrained(tmp_path)  # type: ignore[union-attr,operator]
    loaded = build(DIGITS, path=str(tmp_path)).eval()
    inputs = torch.randn(3, 1, 8, 8)
    torch.testing.assert_close(loaded(inputs), source(inputs))


def test_half_precision_checkpoint_is_trained_in_float32(tmp_path: Path) -> None:
    source = build(DIGITS, model_type="vit", config=VIT)
    source.model.to(torch.bfloat16).save_pretrained(tmp_path)  # type: ignore[union-attr,operator]
    assert {p.dtype for p in build(DIGITS, path=str(tmp_path)).parameters()} == {torch.float32}


@pytest.mark.parametrize("saved", ["classifier", "encoder"])
def test_new_head_keeps_the_body(tmp_path: Path, saved: str) -> None:
    source = build(DIGITS, model_type="vit", config=VIT)
    whole: Any = source.model
    (whole if saved == "classifier" else whole.vit).save_pretrained(tmp_path)
    torch.manual_seed(1)
    first = build(DataSpec((1, 8, 8), 4), path=str(tmp_path), new_head=True)
    torch.manual_seed(1)
    again = build(DataSpec((1, 8, 8), 4), path=str(tmp_path), new_head=True)
    assert first(torch.randn(2, 1, 8, 8)).shape == (2, 4)
    body: Any = first.model
    for name, value in whole.vit.state_dict().items():
        assert torch.equal(body.vit.state_dict()[name], value)
    for mine, other in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    build(DIGITS, model_type="vit", config=VIT).model.save_pretrained(tmp_path)  # type: ignore[union-attr,operator]
    capfd.readouterr()
    build(DataSpec((1, 8, 8), 4), path=str(tmp_path), new_head=True)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("head", ["auto", "pooled"])
def test_a_checkpoint_folder_gives_shapes_on_the_meta_device(head: str, tmp_path: Path) -> None:
    build(DIGITS, model_type="vit", config=VIT).model.save_pretrained(tmp_path)  # type: ignore[operator,union-attr]
    whole = build(DIGITS, path=str(tmp_path), head=head)
    with torch.device("meta"):
        shapes = build(DIGITS, path=str(tmp_path), head=head)
    assert all(parameter.is_meta for parameter in shapes.parameters())
    assert {name: p.shape for name, p in shapes.named_parameters()} == {
        name: p.shape for name, p in whole.named_parameters()
    }
