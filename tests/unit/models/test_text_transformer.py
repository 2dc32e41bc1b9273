from typing import Any

import pytest
import torch
from torch import Tensor, nn

from framework.data.batch import DataSpec
from framework.errors import ConfigError
from framework.registry import registry

TEXT = DataSpec((6,), 3, num_tokens=20)


def build(name: str = "text_transformer", spec: DataSpec = TEXT, **options: Any) -> nn.Module:
    component = registry.get("model", name)
    model: nn.Module = component.build(component.model(name=name, **options), spec=spec)
    return model.eval()


def batch(tokens: list[list[int]], mask: list[list[int]]) -> dict[str, Tensor]:
    return {"input_ids": torch.tensor(tokens), "attention_mask": torch.tensor(mask)}


@pytest.mark.parametrize("layers", [0, 2])
def test_padding_changes_nothing(layers: int) -> None:
    model = build(layers=layers)
    text = [3, 7, 1, 9]
    alone = model(batch([text], [[1] * 4]))
    filled = model(batch([[*text, 5, 5]], [[1, 1, 1, 1, 0, 0]]))
    torch.testing.assert_close(alone, filled)
    assert alone.shape == (1, 3)


def test_only_blocks_see_the_order_of_the_words() -> None:
    texts = batch([[3, 7, 1, 9, 2, 4], [4, 2, 9, 1, 7, 3]], [[1] * 6] * 2)
    bag, ordered = build(layers=0)(texts), build(layers=1)(texts)
    torch.testing.assert_close(bag[0], bag[1])
    assert (ordered[0] - ordered[1]).abs().max() > 1e-3


def test_a_model_of_transformers_takes_the_vocabulary_of_the_data() -> None:
    pytest.importorskip("transformers")
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = build("huggingface", model_type="bert", config=small)
    assert model(batch([[3, 7, 19]], [[1, 1, 0]])).shape == (1, 3)
    with pytest.raises(ConfigError, match="the data has 20 tokens in its vocabulary, the model 10"):
        build("huggingface", model_type="bert", config=small | {"vocab_size": 10})


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("text_transformer", DataSpec((6,), None, num_tokens=20, next_tokens=True)),
        ("text_transformer", DataSpec((1, 8, 8), 10)),
        ("huggingface", DataSpec((6,), None, num_tokens=20, next_tokens=True)),
    ],
)
def test_data_of_another_kind_is_refused(name: str, spec: DataSpec) -> None:
    with pytest.raises(ConfigError, match="with a label each; the data is"):
        build(name, spec)
