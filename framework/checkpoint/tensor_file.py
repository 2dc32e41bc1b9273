"""Tensors in a safetensors file: written as a stream of buffers, so that hashing needs no second pass."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from torch import Tensor

from framework.checkpoint.tree import STORED_DTYPES, as_bytes

#: the header is padded so that every tensor starts at a multiple of its item size
_ALIGNMENT = 8


def tensor_chunks(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> Iterator[bytes | memoryview]:
    """The content of a safetensors file, without a copy of the tensors (contiguous, on the CPU)."""
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    offset = 0
    for name in order:
        tensor = tensors[name]
        end = offset + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": STORED_DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    yield len(text).to_bytes(8, "little")
    yield text
    for name in order:
        if tensors[name].numel():
            yield as_bytes(tensors[name]).numpy().data
