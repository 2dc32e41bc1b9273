"""What a user can get wrong about a model ends in one clear message."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from framework.__main__ import main
from framework.data.batch import DataSpec
from framework.errors import ConfigError, UserError
from framework.registry import register, registry
from tests.registrations import rolled_back
from tests.tiny import write

IMAGES = DataSpec((1, 8, 8), 10)
TABLE = DataSpec((64,), 10)
VIT = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "patch_size": 2,
}


def build(spec: DataSpec, name: str, **options: Any) -> Any:
    component = registry.get("model", name)
    return component.build(component.model(name=name, **options), spec=spec)


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        (
            TABLE,
            {"name": "vit"},
            r"model vit: needs images .* has shape \(64,\) \(for a table choose mlp or linear\)",
        ),
        (
            IMAGES,
            {"name": "vit", "patch_size": 3},
            r"patch_size 3 does not divide the image height 8 \(8 = 3 x 2 \+ 2\)",
        ),
        (DataSpec((1, 8, 10), 2), {"name": "vit", "patch_size": 4}, "does not divide the image width 10"),
        (
            IMAGES,
            {"name": "vit", "patch_size": 2, "hidden_size": 50},
            r"hidden_size 50 is not divisible by heads 3",
        ),
        (TABLE, {"name": "resnet"}, "model resnet: needs images"),
    ],
)
def test_shapes_that_do_not_fit(spec: DataSpec, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(spec, **options)


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        (IMAGES, {}, "give either path .* or model_type"),
        (IMAGES, {"path": "x", "model_type": "vit"}, "give either path .* or model_type"),
        (IMAGES, {"model_type": "vitt"}, "unknown model_type 'vitt'; did you mean vit"),
        (
            IMAGES,
            {"model_type": "vit", "config": {"hiden_size": 1}},
            "no config field 'hiden_size'; did you mean hidden_size",
        ),
        (
            IMAGES,
            {"model_type": "vit", "config": {"hidden_size": "wide"}},
            "the config of vit is refused: .*'wide'",
        ),
        (IMAGES, {"model_type": "vit", "config": VIT, "head": "sequence"}, "has no head 'sequence'"),
        (
            IMAGES,
            {"model_type": "vit", "config": VIT | {"num_channels": 3}},
            r"cannot take images .*Expected 3 but got 1",
        ),
        (
            IMAGES,
            {"model_type": "vit", "config": VIT | {"image_size": 16}},
            r"cannot take images .*\(16\*16\)",
        ),
        (TABLE, {"model_type": "vit", "config": VIT}, r"vit needs images .* has shape \(64,\)"),
        (
            IMAGES,
            {"model_type": "bert", "config": {"num_hidden_layers": 1}},
            "bert needs sequences of token ids",
        ),
        (
            TABLE,
            {"model_type": "gpt2", "config": {"n_layer": 1}},
            "no padding token; set config.pad_token_id",
        ),
        (IMAGES, {"path": "nowhere"}, "no checkpoint folder nowhere$"),
        (IMAGES, {"path": "google/vit-base"}, "hub, download it first .* training runs fetch nothing"),
    ],
)
def test_huggingface_options(spec: DataSpec, options: dict[str, Any], message: str) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(ConfigError, match=message):
        build(spec, "huggingface", **options)


def checkpoint(folder: Path) -> Path:
    pytest.importorskip("transformers")
    build(IMAGES, "huggingface", model_type="vit", config=VIT).model.save_pretrained(folder)
    return folder


def test_folder_without_config(tmp_path: Path) -> None:
    (checkpoint(tmp_path) / "config.json").unlink()
    with pytest.raises(ConfigError, match=r"holds no config\.json"):
        build(IMAGES, "huggingface", path=str(tmp_path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "config.json: .*not a valid JSON"),
        ("{}", "config.json: .*model_type"),
        ('{"model_type": "new", "auto_map": {"AutoConfig": "code.C"}}', "config.json: .*custom code"),
    ],
)
def test_broken_config(tmp_path: Path, text: str, message: str) -> None:
    (checkpoint(tmp_path) / "config.json").write_text(text)
    with pytest.raises(ConfigError, match=message):
        build(IMAGES, "huggingface", path=str(tmp_path))


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    (checkpoint(tmp_path) / "model.safetensors").unlink()
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"no \*\.safetensors weights; pytorch_model\.bin is a pickle"):
        build(IMAGES, "huggingface", path=str(tmp_path))


def test_truncated_weights(tmp_path: Path) -> None:
    weights = checkpoint(tmp_path) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ConfigError, match="cannot load the weights"):
        build(IMAGES, "huggingface", path=str(tmp_path))


def test_head_for_other_classes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has 10 outputs, the data needs 4; set new_head: true"):
        build(DataSpec((1, 8, 8), 4), "huggingface", path=str(checkpoint(tmp_path)))


def test_checkpoint_without_a_head(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    build(IMAGES, "huggingface", model_type="vit", config=VIT).model.vit.save_pretrained(tmp_path)
    with pytest.raises(
        ConfigError, match=r"no weights for the head \(classifier\.bias, classifier\.weight\)"
    ):
        build(IMAGES, "huggingface", path=str(tmp_path), config={"num_labels": 10})


def test_weights_of_another_size(tmp_path: Path) -> None:
    path = str(checkpoint(tmp_path))
    with pytest.raises(ConfigError, match="do not fit its config"):
        build(IMAGES, "huggingface", path=path, config={"intermediate_size": 32}, new_head=True)


@pytest.mark.parametrize(
    "options", [{"name": "vit", "patch_size": 2}, {"name": "huggingface", "model_type": "vit"}]
)
def test_without_transformers(monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"pip install framework\[huggingface\]"):
        build(IMAGES, **options)


def test_a_model_without_anything_to_train(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with rolled_back():

        @register.model("frozen")
        def frozen(spec: DataSpec) -> nn.Module:
            """All of it is fixed."""
            return nn.Linear(64, 10).requires_grad_(False)

        assert main(["check", f"conf={write(tmp_path)}", "model={name: frozen}"]) == 2
    assert "model frozen has nothing to train" in capsys.readouterr().err
