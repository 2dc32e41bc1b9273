"""Any classifier or encoder of `transformers`: from a local checkpoint folder, or with random weights."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from framework.data.batch import DataSpec, Inputs
from framework.models.pretrained import load_pretrained, read_config
from framework.models.transformers_extra import import_transformers, quiet
from framework.naming import nearest
from framework.registry import register

Head = Literal["auto", "image", "sequence", "pooled"]


AUTO_CLASSES = {
    "image": "AutoModelForImageClassification",
    "sequence": "AutoModelForSequenceClassification",
    "pooled": "AutoModel",
}


class Classifier(nn.Module):
    """A model of `transformers` that ends in logits, as a module from inputs to a plain tensor."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.input_name: str = model.main_input_name

    def forward(self, inputs: Inputs) -> Tensor:
        """The main input as a tensor, or all inputs by name, to logits (n, outputs)."""
        named = inputs if isinstance(inputs, dict) else {self.input_name: inputs}
        logits: Tensor = self.model(**named).logits
        return logits


class PooledClassifier(nn.Module):
    """An encoder of `transformers` and a linear layer on its pooled features.

    Pooled is what the encoder itself pools; else the mean of its last features over the tokens that the
    `attention_mask` keeps, or over the pixels.
    """

    def __init__(self, encoder: Any, width: int, num_outputs: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.input_name: str = encoder.main_input_name
        self.head = nn.Linear(width, num_outputs)

    def forward(self, inputs: Inputs) -> Tensor:
        """The main input as a tensor, or all inputs by name, to outputs (n, outputs)."""
        named = inputs if isinstance(inputs, dict) else {self.input_name: inputs}
        encoded = self.encoder(**named)
        pooled: Tensor | None = getattr(encoded, "pooler_output", None)
        if pooled is None:
            pooled = _mean(encoded.last_hidden_state, named.get("attention_mask"))
        logits: Tensor = self.head(pooled.flatten(1))
        return logits


@register.model("huggingface")
def huggingface(
    spec: DataSpec,
    *,
    path: str | None = None,
    model_type: str | None = None,
    config: dict[str, Any] = {},  # noqa: B006
    head: Head = "auto",
    new_head: bool = False,
) -> nn.Module:
    """Any model of `transformers` with a classification head. Nothing is downloaded, no remote code is run.

    Args:
        path: folder of a checkpoint, with config.json and safetensors weights; give this or `model_type`.
        model_type: architecture to build with random weights, e.g. `convnext` or `bert`.
        config: fields of the architecture's own configuration, over its defaults or the checkpoint's.
        head: `image` or `sequence` takes the library's classifier of that kind; `pooled` its bare encoder
            with a new linear layer; `auto` the first of these that exists for the data and the model.
        new_head: with `path`, start from a random head where the checkpoint has none or one for other
            classes; without it that is an error.
    """
    if spec.next_tokens:
        raise ValueError(f"needs images or texts with a label each; the data is {spec.kind}")
    if (path is None) == (model_type is None):
        raise ValueError("give either path (a checkpoint folder) or model_type (random weights)")
    transformers = import_transformers("huggingface")
    if path is not None:
        built = read_config(transformers, path, config)
    else:
        assert model_type is not None
        built = _random_config(transformers, model_type, _data_fields(spec) | config, asked=config)
    vocabulary = getattr(built, "vocab_size", None)
    if spec.num_tokens is not None and vocabulary is not None and spec.num_tokens > vocabulary:
        raise ValueError(
            f"the data has {spec.num_tokens:,} tokens in its vocabulary, the model {vocabulary:,};"
            " set the data's tokenizer to the checkpoint's folder"
        )
    kind = _choose_head(built.model_type, head, spec)
    if kind == "sequence" and built.pad_token_id is None:
        raise ValueError(f"{built.model_type} has no padding token; set config.pad_token_id to its id")
    factory = getattr(transformers, AUTO_CLASSES[kind])
    if path is not None:
        num_labels = None if kind == "pooled" else spec.num_outputs
        model = load_pretrained(factory, path, built, num_labels=num_labels, new_head=new_head)
    else:
        built.num_labels = spec.num_outputs
        with quiet():
            model = factory.from_config(built, trust_remote_code=False)
    wrapped = (
        PooledClassifier(model, _feature_width(built), spec.num_outputs)
        if kind == "pooled"
        else Classifier(model)
    )
    _check_inputs(wrapped, built.model_type, spec)
    return wrapped.train()


def _random_config(
    transformers: Any, model_type: str, fields: dict[str, Any], *, asked: dict[str, Any]
) -> Any:
    known = transformers.CONFIG_MAPPING
    if model_type not in known:
        raise ValueError(f"unknown model_type '{model_type}'{nearest(model_type, known.keys())}")
    with quiet():
        default = transformers.AutoConfig.for_model(model_type)
    unknown = [name for name in asked if not hasattr(default, name)]
    if unknown:
        raise ValueError(
            f"{model_type} has no config field '{unknown[0]}'{nearest(unknown[0], default.to_dict())}"
        )
    usable = {name: value for name, value in fields.items() if hasattr(default, name)}
    try:
        with quiet():
            return transformers.AutoConfig.for_model(model_type, **usable)
    # The configuration classes check their fields each in its own way, with errors of their own.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"the config of {model_type} is refused: {reason}") from error


def _data_fields(spec: DataSpec) -> dict[str, Any]:
    """What the data says about images or the vocabulary, in the words most architectures share."""
    if spec.num_tokens is not None:
        return {"vocab_size": spec.num_tokens}
    if len(spec.input_shape) != 3:
        return {}
    channels, height, width = spec.input_shape
    return {"num_channels": channels, "image_size": height if height == width else (height, width)}


def _check_inputs(model: Classifier | PooledClassifier, model_type: str, spec: DataSpec) -> None:
    """Refuse data of another kind, and try one black image: each architecture has its own rules of size."""
    images = len(spec.input_shape) == 3
    if images != (model.input_name == "pixel_values"):
        wanted = "sequences of token ids" if images else "images of shape (channels, height, width)"
        raise ValueError(f"{model_type} needs {wanted}; the data has shape {spec.input_shape}")
    if not images:
        return
    model.eval()
    try:
        with torch.no_grad():
            shape = tuple(model(torch.zeros(1, *spec.input_shape)).shape)
    except (ValueError, RuntimeError, AttributeError) as error:
        raise ValueError(f"{model_type} cannot take images of shape {spec.input_shape}: {error}") from error
    if shape != (1, spec.num_outputs):
        raise ValueError(f"{model_type} gives {shape[1:]} per image, the data needs ({spec.num_outputs},)")


def _choose_head(model_type: str, head: Head, spec: DataSpec) -> str:
    import transformers.models.auto.modeling_auto as auto

    available = {
        "image": model_type in auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
        "sequence": model_type in auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
        "pooled": model_type in auto.MODEL_MAPPING_NAMES,
    }
    wanted = [head] if head != "auto" else ["image", "sequence", "pooled"]
    usable = [kind for kind in wanted if available[kind]]
    if not usable:
        offered = [kind for kind, there in available.items() if there]
        raise ValueError(f"{model_type} has no head '{head}' (it has: {', '.join(offered) or 'none'})")
    return usable[0]


def _feature_width(built: Any) -> int:
    for name in ("hidden_size", "hidden_sizes", "d_model", "embed_dim"):
        width = getattr(built, name, None)
        if width is not None:
            return int(width[-1] if isinstance(width, (list, tuple)) else width)
    raise ValueError(f"{built.model_type} does not say how wide its features are; choose another head")


def _mean(features: Tensor, mask: Tensor | None) -> Tensor:
    """(n, tokens, width) or (n, width, h, w) to (n, width)."""
    if features.dim() == 4:
        return features.mean(dim=(2, 3))
    if mask is None:
        return features.mean(dim=1)
    kept = mask[:, :, None].to(features.dtype)
    return (features * kept).sum(dim=1) / kept.sum(dim=1).clamp(min=1)
