"""Small weights: the same model in a quarter of the memory, or as it was."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowledge.embeddings.quantised import quantised

LENGTHS = 2
RANDOM = np.random.default_rng(5)
WEIGHTS = RANDOM.standard_normal((24, 16)).astype(np.float32)
BIAS = RANDOM.standard_normal(16).astype(np.float32)


def number(value: int) -> bytes:
    """A varint."""
    said = bytearray()
    while value >= 0x80:
        said.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*said, value])


def field(place: int, value: int | bytes | str) -> bytes:
    """A field of a Protocol Buffers message."""
    if isinstance(value, int):
        return number(place << 3) + number(value)
    content = value.encode() if isinstance(value, str) else value
    return number(place << 3 | LENGTHS) + number(len(content)) + content


def node(operation: str, inputs: Sequence[str], output: str) -> bytes:
    return b"".join(field(1, name) for name in inputs) + field(2, output) + field(4, operation)


def tensor(name: str, values: np.ndarray[Any, np.dtype[np.float32]], *, packed: bool = False) -> bytes:
    sizes = b"".join(map(number, values.shape))
    dimensions = field(1, sizes) if packed else b"".join(field(1, size) for size in values.shape)
    return dimensions + field(2, 1) + field(8, name) + field(9, values.tobytes())


def value(name: str, sizes: Sequence[int]) -> bytes:
    """The type of an input or output: floats of this shape."""
    shape = b"".join(field(1, field(1, size)) for size in sizes)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, shape)))


def model(nodes: Sequence[bytes], *, opset: int = 17, packed: bool = False) -> bytes:
    """x (3 by 24) in, y (3 by 16) out; `w` is 24 by 16 and `b` 16."""
    graph = b"".join(field(1, one) for one in nodes) + field(2, "graph")
    graph += field(5, tensor("w", WEIGHTS, packed=packed)) + field(5, tensor("b", BIAS))
    graph += field(11, value("x", (3, 24))) + field(12, value("y", (3, 16)))
    return field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, opset))


LINEAR = (node("MatMul", ["x", "w"], "m"), node("Add", ["m", "b"], "y"))


def result(content: bytes, given: Any) -> Any:
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, {"x": given})[0]


@pytest.mark.parametrize("packed", [False, True])
def test_a_small_model_says_the_same(packed: bool) -> None:
    whole = model(LINEAR, packed=packed)
    small = quantised(whole)
    assert WEIGHTS.tobytes() not in small
    given = RANDOM.standard_normal((3, 24)).astype(np.float32)
    expected = given @ WEIGHTS + BIAS
    np.testing.assert_allclose(result(whole, given), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(result(small, given), expected, atol=0.25)
    assert np.corrcoef(result(small, given).ravel(), expected.ravel())[0, 1] > 0.999


def test_what_is_multiplied_twice_is_made_whole_once() -> None:
    twice = (node("MatMul", ["x", "w"], "m"), node("MatMul", ["x", "w"], "n"), node("Add", ["m", "n"], "y"))
    small = quantised(model(twice))
    assert small.count(b"DynamicQuantizeLinear") == 2, "its name and its operation"
    given = RANDOM.standard_normal((3, 24)).astype(np.float32)
    np.testing.assert_allclose(result(small, given), 2 * (given @ WEIGHTS), atol=0.5)


@pytest.mark.parametrize(
    "content",
    [
        model((node("Add", ["x", "x"], "z"), node("Identity", ["b"], "y"))),
        model(LINEAR, opset=10),
        model((*LINEAR, node("Transpose", ["w"], "t"))),
    ],
    ids=["nothing to multiply", "too old", "another use"],
)
def test_what_cannot_be_made_small_stays_as_it_is(content: bytes) -> None:
    assert quantised(content) == content


def test_a_model_that_is_cut_off_is_told() -> None:
    content = model(LINEAR)
    for end in range(len(content) - 200, len(content) - 60, 7):
        with pytest.raises(ValueError, match="ONNX model"):
            quantised(content[:end])


@given(st.binary(max_size=200))
def test_any_bytes_are_a_model_or_none(content: bytes) -> None:
    with suppress(ValueError):
        assert quantised(content) == content
