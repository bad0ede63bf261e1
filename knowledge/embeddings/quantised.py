"""An ONNX model with 8-bit weights: half the time and a quarter of the memory, for vectors that are all but the same.

Matrices that are multiplied by constant ones take nearly all the time. Their weights become whole numbers, by column, when the
model is loaded; what they are multiplied by is made whole as it comes (ONNX's DynamicQuantizeLinear and MatMulInteger). The file
is read and written as Protocol Buffers are laid out, so that the onnx package is not needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# Fields of ONNX's messages, by number (onnx.proto).
_GRAPH, _OPSETS = 7, 8
_NODES, _WEIGHTS = 1, 5
_INPUT, _OUTPUT, _NAME, _OPERATION, _ATTRIBUTE = 1, 2, 3, 4, 5
_DIMENSIONS, _KIND, _TENSOR_NAME, _RAW = 1, 2, 8, 9
_FLOAT, _INT8 = 1, 3
_LENGTHS = 2
"""The wire type of what has a length in front: text, bytes, messages."""
_LEAST_OPSET = 11
_MOST = 63
"""Weights are kept to 7 bits: with 8, processors without VNNI overflow 16 bits when they add two products."""


def quantised(model: bytes) -> bytes:
    """The model with small weights; as it is when it has none to make small. Raises `ValueError` for what is no model."""
    fields = list(_fields(memoryview(model)))
    opsets = [value for number, _, value in fields if number == _OPSETS and isinstance(value, memoryview)]
    if not any(_opset(opset) >= _LEAST_OPSET for opset in opsets):
        return model
    written = bytearray()
    for number, wire, value in fields:
        if number == _GRAPH and isinstance(value, memoryview):
            _put(written, number, wire, _graph(value))
        else:
            _put(written, number, wire, value)
    return bytes(written)


def _opset(entry: memoryview) -> int:
    """The version in an opset entry, 0 for another domain than ONNX's own."""
    values = {number: value for number, _, value in _fields(entry)}
    version = values.get(2, 0)
    return version if isinstance(version, int) and not values.get(1) else 0


@dataclass(frozen=True, slots=True)
class _Node:
    operation: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def _node(value: memoryview) -> _Node:
    inputs: list[str] = []
    outputs: list[str] = []
    operation = ""
    for number, _, field in _fields(value):
        if isinstance(field, memoryview) and number in (_INPUT, _OUTPUT, _OPERATION):
            text = str(field, "utf-8")
            if number == _OPERATION:
                operation = text
            else:
                (inputs if number == _INPUT else outputs).append(text)
    return _Node(operation, tuple(inputs), tuple(outputs))


@dataclass(frozen=True, slots=True)
class _Matrix:
    """A constant matrix of floats."""

    name: str
    rows: int
    columns: int
    raw: memoryview


def _matrix(value: memoryview) -> _Matrix | None:
    """What a tensor holds if it is a matrix of floats that are kept as bytes."""
    dimensions: list[int] = []
    kind, name, raw = 0, "", memoryview(b"")
    for number, _, field in _fields(value):
        if number == _DIMENSIONS:
            dimensions += [field] if isinstance(field, int) else _varints(field)
        elif number == _KIND and isinstance(field, int):
            kind = field
        elif number == _TENSOR_NAME and isinstance(field, memoryview):
            name = str(field, "utf-8")
        elif number == _RAW and isinstance(field, memoryview):
            raw = field
    if kind != _FLOAT or len(dimensions) != 2 or len(raw) != 4 * dimensions[0] * dimensions[1]:
        return None
    return _Matrix(name, dimensions[0], dimensions[1], raw)


def _graph(graph: memoryview) -> bytes:
    fields = list(_fields(graph))
    nodes = [_node(value) for number, _, value in fields if number == _NODES and isinstance(value, memoryview)]
    tensors = [_matrix(value) for number, _, value in fields if number == _WEIGHTS and isinstance(value, memoryview)]
    matrices = {matrix.name: matrix for matrix in tensors if matrix is not None}
    multiplied = {node.inputs[1] for node in nodes if node.operation == "MatMul"} & matrices.keys()
    # A matrix that has another use stays as it is.
    multiplied -= {
        name for node in nodes for place, name in enumerate(node.inputs) if node.operation != "MatMul" or place != 1
    }
    written = bytearray()
    whole: set[str] = set()
    weight = iter(tensors)
    node = iter(nodes)
    for number, wire, value in fields:
        if number == _WEIGHTS:
            matrix = next(weight)
            if matrix is not None and matrix.name in multiplied:
                for tensor in _small(matrix):
                    _put(written, _WEIGHTS, _LENGTHS, tensor)
                continue
        elif number == _NODES:
            known = next(node)
            if known.operation == "MatMul" and known.inputs[1] in multiplied:
                for small in _multiplication(known, whole):
                    _put(written, _NODES, _LENGTHS, small)
                continue
        _put(written, number, wire, value)
    return bytes(written)


def _small(matrix: _Matrix) -> tuple[bytes, bytes]:
    """A matrix in whole numbers, and what each of its columns is to be multiplied by."""
    import numpy as np

    weights = np.frombuffer(matrix.raw, np.float32).reshape(matrix.rows, matrix.columns)
    scales = np.maximum(np.abs(weights).max(axis=0, initial=0), 1e-12) / _MOST
    numbers = np.rint(weights / scales).astype(np.int8)
    return (
        _tensor(f"{matrix.name}/small", _INT8, (matrix.rows, matrix.columns), numbers.tobytes()),
        _tensor(f"{matrix.name}/scales", _FLOAT, (matrix.columns,), scales.astype(np.float32).tobytes()),
    )


def _multiplication(node: _Node, whole: set[str]) -> Iterator[bytes]:
    """The nodes that take the place of a multiplication. `whole`: what has been made whole already."""
    given, matrix = node.inputs[:2]
    number, scale, zero = f"{given}/number", f"{given}/scale", f"{given}/zero"
    if given not in whole:
        whole.add(given)
        yield _operation("DynamicQuantizeLinear", [given], [number, scale, zero])
    out = node.outputs[0]
    yield _operation("MatMulInteger", [number, f"{matrix}/small", zero], [f"{out}/number"])
    yield _operation("Cast", [f"{out}/number"], [f"{out}/float"], to=_FLOAT)
    yield _operation("Mul", [scale, f"{matrix}/scales"], [f"{out}/scale"])
    yield _operation("Mul", [f"{out}/float", f"{out}/scale"], [out])


def _operation(name: str, inputs: Sequence[str], outputs: Sequence[str], *, to: int | None = None) -> bytes:
    written = bytearray()
    for number, texts in (
        (_INPUT, inputs),
        (_OUTPUT, outputs),
        (_NAME, [f"{outputs[0]}/{name}"]),
        (_OPERATION, [name]),
    ):
        for text in texts:
            _put(written, number, _LENGTHS, text.encode())
    if to is not None:
        attribute = bytearray()
        _put(attribute, 1, _LENGTHS, b"to")
        _put(attribute, 3, 0, to)
        # The attribute's type: a whole number.
        _put(attribute, 20, 0, 2)
        _put(written, _ATTRIBUTE, _LENGTHS, attribute)
    return bytes(written)


def _tensor(name: str, kind: int, dimensions: Sequence[int], raw: bytes) -> bytes:
    written = bytearray()
    for dimension in dimensions:
        _put(written, _DIMENSIONS, 0, dimension)
    _put(written, _KIND, 0, kind)
    _put(written, _TENSOR_NAME, _LENGTHS, name.encode())
    _put(written, _RAW, _LENGTHS, raw)
    return bytes(written)


# --- Protocol Buffers


def _fields(data: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """(number, wire type, value) of each field of a message."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        wire = key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield key >> 3, wire, value
            continue
        if wire == _LENGTHS:
            size, at = _varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError("this is no ONNX model")
        if at + size > len(data):
            raise ValueError("the ONNX model is cut off")
        yield key >> 3, wire, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("the ONNX model is cut off")


def _varints(data: memoryview) -> list[int]:
    values, at = [], 0
    while at < len(data):
        value, at = _varint(data, at)
        values.append(value)
    return values


def _put(written: bytearray, number: int, wire: int, value: int | bytes | bytearray | memoryview) -> None:
    _put_varint(written, number << 3 | wire)
    if isinstance(value, int):
        _put_varint(written, value)
        return
    if wire == _LENGTHS:
        _put_varint(written, len(value))
    written += value


def _put_varint(written: bytearray, value: int) -> None:
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
