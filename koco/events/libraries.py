"""Conversion of values of well-known libraries. Types are found by name, so none is imported.

numpy, pandas, polars, pyarrow, torch, tensorflow, jax, cupy. A table becomes a list of objects,
with null for each missing value. An array becomes a list.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

#: The largest array or table that is converted (elements). Only the beginning of a larger one is
#: kept.
MOST = 4_000_000
#: How much of a larger array or table is kept (elements).
_START = 4096


class Labelled(NamedTuple):
    """Values with labels. Two labels may be the same."""

    pairs: list[tuple[Any, Any]]


Read = Callable[[Any], Any]


@functools.lru_cache(maxsize=512)
def reader(kind: type) -> Read | None:
    """Return the reader of a library's type or of a subclass, or None for other types."""
    for each in kind.__mro__:
        root = str(getattr(each, "__module__", "")).partition(".")[0]
        if (found := _READERS.get((root, each.__name__))) is not None:
            return found
    return None


def _array(array: Any) -> Any:
    """Read a numpy array into a list, with a nested list for each further dimension."""
    if array.size > MOST:
        start = _array(array.reshape(-1)[:_START])
        return _truncate(array, int(array.nbytes), start)
    kind = array.dtype.kind
    if kind in "Mm":
        return _replace_missing(array.astype(str).tolist(), "NaT")
    if array.dtype.names:
        return _records(array.tolist(), array.dtype.names, array.ndim)
    return array.tolist()


def _truncate(value: Any, size_bytes: int, start: Any) -> dict[str, Any]:
    """Return the object for a value that is too large: its size, and its beginning."""
    kind = type(value)
    return {"$cut": size_bytes, "$type": f"{kind.__module__}.{kind.__qualname__}", "$start": start}


def _replace_missing(values: Any, missing: str) -> Any:
    if isinstance(values, list):
        return [_replace_missing(each, missing) for each in values]
    return None if values == missing else values


def _records(values: Any, names: tuple[str, ...], dimensions: int) -> Any:
    if dimensions:
        return [_records(each, names, dimensions - 1) for each in values]
    return dict(zip(names, values, strict=True))


def _scalar(value: Any) -> Any:
    kind = value.dtype.kind
    if kind in "Mm":
        return _replace_missing(str(value), "NaT")
    if value.dtype.names:
        return dict(zip(value.dtype.names, value.item(), strict=True))
    found = value.item()
    # A longdouble's `item` returns a longdouble.
    return float(found) if type(found) is type(value) else found


def _column(series: Any) -> list[Any]:
    """Read a pandas column or index, with null for each missing value."""
    missing = series.isna().tolist()
    values = series.tolist()
    return [None if is_gap else each for each, is_gap in zip(values, missing, strict=True)]


def _is_row_number(index: Any) -> bool:
    """Return whether an index only numbers the rows. It carries no information if so."""
    return (
        index.nlevels == 1 and index.name is None and str(index.dtype).startswith(("int", "uint"))
    )


def _frame(frame: Any) -> Any:
    if frame.size > MOST:
        start = _frame(frame.head(max(1, _START // max(1, frame.shape[1]))))
        return _truncate(frame, int(frame.memory_usage().sum()), start)
    names = frame.columns.tolist()
    columns = [_column(frame.iloc[:, at]) for at in range(len(names))]
    if not _is_row_number(frame.index):
        labels = frame.index
        levels = [labels.get_level_values(at) for at in range(labels.nlevels)]
        given = [each if each is not None else "index" for each in labels.names]
        names = [*given, *names]
        columns = [*(_column(level) for level in levels), *columns]
    if not columns:
        return [{} for _ in range(len(frame))]
    if len({str(name) for name in names}) < len(names):
        return {"columns": names, "rows": [[*row] for row in zip(*columns, strict=True)]}
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _series(series: Any) -> Any:
    if series.size > MOST:
        return _truncate(series, int(series.memory_usage()), _series(series.head(_START)))
    values = _column(series)
    if _is_row_number(series.index):
        return values
    return Labelled([*zip(series.index.tolist(), values, strict=True)])


def _tensor(tensor: Any) -> Any:
    tensor = tensor.detach().cpu()
    if tensor.numel() > MOST:
        size_bytes = tensor.numel() * tensor.element_size()
        return _truncate(tensor, size_bytes, tensor.reshape(-1)[:_START].tolist())
    return tensor.tolist()


def _like_array(array: Any) -> Any:
    """Read an object with the `size` and `tolist` of an array."""
    if array.size > MOST:
        return _truncate(array, int(array.nbytes), array.reshape(-1)[:_START].tolist())
    return array.tolist()


def _read_by(method: str) -> Read:
    """Return a reader that calls a method of the table or column, if it is not too large."""

    def read(value: Any) -> Any:
        if len(value) > MOST:
            return _truncate(value, -1, getattr(value[:_START], method)())
        return getattr(value, method)()

    return read


_READERS: dict[tuple[str, str], Read] = {
    ("numpy", "ndarray"): _array,
    ("numpy", "generic"): _scalar,
    ("pandas", "DataFrame"): _frame,
    ("pandas", "Series"): _series,
    ("pandas", "Index"): lambda index: index.tolist() if index.nlevels > 1 else _column(index),
    ("pandas", "ExtensionArray"): _column,
    ("pandas", "NaTType"): lambda value: None,
    ("pandas", "NAType"): lambda value: None,
    ("pandas", "Timestamp"): lambda value: value.isoformat(),
    ("pandas", "Timedelta"): lambda value: value.isoformat(),
    ("pandas", "Period"): str,
    ("pandas", "Interval"): str,
    ("polars", "DataFrame"): _read_by("to_dicts"),
    ("polars", "Series"): _read_by("to_list"),
    ("pyarrow", "Table"): _read_by("to_pylist"),
    ("pyarrow", "RecordBatch"): _read_by("to_pylist"),
    ("pyarrow", "Array"): _read_by("to_pylist"),
    ("pyarrow", "ChunkedArray"): _read_by("to_pylist"),
    ("pyarrow", "Scalar"): lambda value: value.as_py(),
    ("torch", "Tensor"): _tensor,
    ("tensorflow", "EagerTensor"): lambda value: value.numpy(),
    ("jaxlib", "Array"): _like_array,
    ("jaxlib", "ArrayImpl"): _like_array,
    ("cupy", "ndarray"): _like_array,
}
