import functools
import json
import math
import random
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from framework.checkpoint.rng import Rng
from framework.checkpoint.stored_tensors import StoredTensors
from framework.checkpoint.tensor_file import tensor_chunks
from framework.checkpoint.tree import STORED_DTYPES, flatten, unflatten
from framework.errors import CheckpointError
from framework.files import to_json, write_file
from framework.pieces import whole

DTYPES = [*STORED_DTYPES, torch.complex64, torch.complex128, torch.float8_e4m3fnuz]


def through_files(state, folder: Path):
    """The state after a trip through the two files that a part is made of."""
    flat = flatten(state, copy=False)
    write_file(folder / "part.safetensors", tensor_chunks(flat.tensors))
    skeleton = json.loads(to_json(flat.skeleton))
    tensors = StoredTensors([folder / "part.safetensors"])
    read = functools.cache(lambda name: whole(tensors[name]))
    return unflatten(skeleton, read)


def same(a, b) -> bool:
    """Bit for bit, and of one kind; tuples count as lists."""
    if isinstance(a, Tensor):
        return (
            isinstance(b, Tensor) and a.dtype == b.dtype and a.shape == b.shape and as_bytes(a) == as_bytes(b)
        )
    if isinstance(a, np.ndarray):
        return (
            isinstance(b, np.ndarray)
            and a.dtype == b.dtype
            and a.shape == b.shape
            and a.tobytes() == b.tobytes()
        )
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return type(b) is float and struct.pack("d", a) == struct.pack("d", b)
    return type(a) is type(b) and a == b


def as_bytes(tensor: Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def random_bits(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
    if dtype == torch.bool:
        return torch.randint(2, shape, generator=torch.Generator().manual_seed(seed)).bool()
    count = math.prod(shape) * dtype.itemsize
    content = bytearray(random.Random(seed).randbytes(count))
    if not count:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(content, dtype=torch.uint8).view(dtype).reshape(shape)


shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)
tensors = st.builds(random_bits, shapes, st.sampled_from(DTYPES), st.integers(0, 2**32))
bits = st.binary(min_size=8, max_size=8).map(lambda b: struct.unpack("d", b)[0])
leaves = st.none() | st.booleans() | st.integers() | st.integers(2**60, 2**200) | bits | st.text() | tensors
keys = st.text(max_size=5) | st.sampled_from(
    ["__metadata__", "$tensor", "$dict", "a/b", "a~1b", "a", "0", ""]
)
trees = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(keys, inner, max_size=4)
    ),
    max_leaves=12,
)
states = st.dictionaries(keys, trees, max_size=5)


@given(state=states)
@settings(max_examples=150, deadline=None)
def test_any_state_comes_back_bit_for_bit(state, tmp_path_factory):
    assert same(state, through_files(state, tmp_path_factory.getbasetemp()))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (5,), (2, 3)], ids=str)
def test_every_dtype_and_shape(dtype, shape, tmp_path):
    state = {"x": random_bits(shape, dtype, seed=1)}
    assert same(state, through_files(state, tmp_path))


def test_views_are_kept_as_what_they_show(tmp_path):
    base = torch.arange(24.0)
    state = {
        "transposed": base.reshape(4, 6).t(),
        "strided": base[::5],
        "expanded": base[:1].expand(7),
        "overlapping": base[3:9],
        "conjugate": torch.tensor([1 + 2j]).conj(),
        "negative": torch.tensor([1 + 2j]).conj().imag,
        "parameter": torch.nn.Parameter(base.clone()),
    }
    back = through_files(state, tmp_path)
    for name, tensor in state.items():
        assert torch.equal(back[name], tensor), name
    assert back["strided"].untyped_storage().nbytes() == 5 * 4


def test_tied_tensors_are_written_once_and_come_back_tied(tmp_path):
    weight = torch.randn(3, 2)
    state = {"embedding": weight, "head": weight, "transposed": weight.t(), "equal": weight.clone()}
    assert len(flatten(state, copy=False).tensors) == 3
    back = through_files(state, tmp_path)
    assert back["embedding"] is back["head"]
    assert back["equal"] is not back["head"]
    assert same(state, back)


def test_numpy(tmp_path):
    state = {
        "big_endian": np.array([1.5, 2.5], dtype=">f8"),
        "reversed": np.arange(6, dtype=np.uint16)[::-2],
        "scalar": np.array(3, dtype=np.int8),
        "number": np.float32(0.1),
        "truth": np.bool_(True),
    }
    back = through_files(state, tmp_path)
    assert back["big_endian"].tolist() == [1.5, 2.5]
    assert back["reversed"].tolist() == [5, 3, 1]
    assert back["scalar"].shape == ()
    assert type(back["number"]) is float
    assert back["number"] == float(np.float32(0.1))
    assert back["truth"] is True


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({1, 2}, "policy/0/q is a set"),
        (object(), "policy/0/q is a object"),
        (torch.Generator(), "policy/0/q is a Generator"),
        (torch.eye(2).to_sparse(), "policy/0/q is a torch.sparse_coo"),
        (torch.empty(2, device="meta"), "policy/0/q is a torch.strided meta"),
        (np.array(["a"]), "policy/0/q is an array of <U1"),
        (np.array([object()]), "policy/0/q is an array of object"),
        ({3: 1}, "policy/0/q has the key 3"),
        (b"bytes", "policy/0/q is a bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_cannot_be_kept_is_refused_by_its_path(value, message):
    with pytest.raises(TypeError, match=message):
        flatten({"policy": [{"q": value}]}, copy=False)


def test_copy_is_independent_of_the_original_and_no_copy_is_none():
    weight = torch.zeros(3)
    copied, shared = flatten({"w": weight}, copy=True), flatten({"w": weight}, copy=False)
    weight += 1
    assert copied.tensors["w"].tolist() == [0, 0, 0]
    assert shared.tensors["w"].tolist() == [1, 1, 1]


def test_other_readers_understand_the_tensor_file(tmp_path):
    state = {
        name: random_bits((3, 5), dtype, 2)
        for name, dtype in {
            "a": torch.uint8,
            "b": torch.float64,
            "c": torch.bfloat16,
            "d": torch.bool,
        }.items()
    }
    write_file(tmp_path / "x.safetensors", tensor_chunks(state, {"name": "é"}))
    read = load_file(tmp_path / "x.safetensors")
    assert same(state, {name: read[name] for name in state})


def test_an_unknown_kind_of_value_is_not_taken_for_a_dictionary():
    with pytest.raises(ValueError, match=r"\$future"):
        unflatten({"a": {"$future": 1}}, {}.__getitem__)


def draws():
    return random.random(), random.gauss(0, 1), np.random.standard_normal(3).tolist(), torch.randn(4).tolist()


def test_random_generators_go_on_where_they_were(tmp_path):
    random.gauss(0, 1)  # both keep a second number of each pair back
    np.random.standard_normal()
    state = through_files(Rng().state_dict(), tmp_path)
    expected = draws()
    assert draws() != expected
    Rng().load_state_dict(state)
    assert draws() == expected


def test_a_foreign_random_state_is_refused():
    state = Rng().state_dict()
    with pytest.raises(CheckpointError, match="random generators"):
        Rng().load_state_dict({**state, "torch": torch.zeros(3, dtype=torch.uint8)})
    with pytest.raises(CheckpointError, match="random generators"):
        Rng().load_state_dict({"torch": state["torch"]})
