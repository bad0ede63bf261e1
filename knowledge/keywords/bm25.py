"""BM25 in a matrix: `Leg`, which scores rows by the tokens they have, on disk and mapped from it.

The scores are those of bm25s, which counts every row in Python: for 4-grams that takes many times as long.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ints: TypeAlias = NDArray[np.int32]
    Floats: TypeAlias = NDArray[np.float32]

K1, B = 1.5, 0.75
_ARRAYS = ("data", "indices", "indptr", "keys")
_AT_ONCE = 1 << 18


@dataclass(frozen=True, slots=True)
class Leg:
    """Scores of `size` rows by columns, one for each token: those of column c are `data[indptr[c]:indptr[c + 1]]`.

    They belong to the rows in `indices`, ascending. `keys` has the token of each column, ascending; where it is empty, the
    column's number is its token. `length` is how many tokens a row has in the mean.
    """

    size: int
    length: float
    data: Floats
    indices: Ints
    indptr: NDArray[np.int64]
    keys: Ints

    @classmethod
    def build(cls, batches: Iterable[tuple[Ints, Ints]], size: int, columns: int | None = None) -> Leg:
        """From (row, token) of every token, in batches with rows ascending. Tokens are below `columns`, or any hashes.

        The entries of a batch are sorted by token, then each is written straight to its place in the columns (a counting
        sort), so that time and memory grow with the number of entries only.
        """
        import numpy as np

        counted = []
        lengths = np.zeros(size, dtype=np.int64)
        for rows, found in batches:
            lengths += np.bincount(rows, minlength=size)
            entries, counts = np.unique(found.astype(np.int64) << 32 | rows, return_counts=True)
            token = (entries >> 32).astype(np.int32)
            counted.append((token, (entries & 0xFFFFFFFF).astype(np.int32), counts.astype(np.float32)))
        keys = np.zeros(0, np.int32)
        if columns is None:
            keys = np.unique(np.concatenate([np.unique(token) for token, _, _ in counted] or [keys]))
            counted = [(np.searchsorted(keys, token), rows, counts) for token, rows, counts in counted]
            columns = len(keys)
        having = np.zeros(columns, dtype=np.int64)
        for token, _, _ in counted:
            having += np.bincount(token, minlength=columns)
        idf = np.log(1 + (size - having + 0.5) / (having + 0.5)).astype(np.float32)
        length = float(lengths.mean()) if size else 0.0
        saturation = (K1 * (1 - B + B * lengths / max(length, 1e-9))).astype(np.float32)
        indptr = np.zeros(columns + 1, dtype=np.int64)
        np.cumsum(having, out=indptr[1:])
        data = np.empty(indptr[-1], dtype=np.float32)
        indices = np.empty(indptr[-1], dtype=np.int32)
        heads = indptr[:-1].copy()
        for token, rows, counts in counted:
            starts = np.flatnonzero(np.diff(token, prepend=-1))
            sizes = np.diff(starts, append=len(token))
            places = np.repeat(heads[token[starts]] - starts, sizes) + np.arange(len(token))
            data[places] = idf[token] * counts / (saturation[rows] + counts)
            indices[places] = rows
            heads[token[starts]] += sizes
        return cls(size, length, data, indices, indptr, keys)

    def add(self, tokens: Sequence[int] | Ints, scores: Floats) -> None:
        """Add what each of `tokens` gives to `scores`, one for every row."""
        import numpy as np

        starts, ends = self._bounds(tokens)
        columns = [slice(*column) for column in zip(starts.tolist(), ends.tolist(), strict=True)]
        if columns:
            rows = np.concatenate([self.indices[column] for column in columns])
            np.add.at(scores, rows, np.concatenate([self.data[column] for column in columns]))

    def rows(self, token: int) -> Ints:
        """The rows that have a token, ascending."""
        column = int(self.keys.searchsorted(self.keys.dtype.type(token))) if len(self.keys) else token
        if column >= len(self.indptr) - 1 or (len(self.keys) and self.keys[column] != token):
            return self.indices[:0]
        return self.indices[self.indptr[column] : self.indptr[column + 1]]

    def having(self, tokens: Sequence[int] | Ints | NDArray[np.int64]) -> NDArray[np.int64]:
        """How many rows have each of `tokens`."""
        starts, ends = self._bounds(tokens)
        return ends - starts

    def _bounds(self, tokens: Sequence[int] | Ints | NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        import numpy as np

        # Of the same type as the keys, which would be copied otherwise.
        wanted = np.asarray(tokens, self.keys.dtype)
        if len(self.indptr) == 1:
            return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), np.int64)
        if not len(self.keys):
            return np.asarray(self.indptr[wanted]), np.asarray(self.indptr[wanted + 1])
        columns = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        known = self.keys[columns] == wanted
        return np.where(known, self.indptr[columns], 0), np.where(known, self.indptr[columns + 1], 0)

    def save(self, directory: Path) -> None:
        """Write the arrays into a directory, which is made if need be."""
        import numpy as np

        directory.mkdir(parents=True, exist_ok=True)
        for name in _ARRAYS:
            np.save(directory / f"{name}.npy", getattr(self, name))

    @classmethod
    def load(cls, directory: Path, size: int, length: float) -> Leg:
        """Map the arrays from a directory. Raises `OSError` or `ValueError` when they are missing or do not fit together."""
        import numpy as np

        mapped = {name: np.load(directory / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}
        # Without the cost of a memmap object for each slice.
        leg = cls(size=size, length=length, **{name: np.asarray(array) for name, array in mapped.items()})
        data, indices, indptr, keys = leg.data, leg.indices, leg.indptr, leg.keys
        if (
            not len(data) == len(indices) == indptr[-1]
            or indptr[0] != 0
            or (indptr[1:] < indptr[:-1]).any()
            or not _are_rows(mapped["indices"], size)
            or (len(keys) and (len(keys) != len(indptr) - 1 or (keys[1:] <= keys[:-1]).any()))
        ):
            raise ValueError(f"the files in {directory.name} do not fit together")
        return leg


def _are_rows(mapped: Any, size: int) -> bool:
    """Whether all numbers of a mapped file are below `size`.

    It is read: all that is looked at where it is mapped counts as this process's memory, and most is never asked for.
    """
    import numpy as np

    with open(mapped.filename, "rb") as file:
        file.seek(mapped.offset)
        while len(some := np.fromfile(file, mapped.dtype, _AT_ONCE)):
            if some.min() < 0 or some.max() >= size:
                return False
    return True
