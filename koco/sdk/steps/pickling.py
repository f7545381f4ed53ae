"""Pickle results, also those whose class was made by a call."""

import io
import operator
import pickle
from typing import Any


def dumps(value: Any) -> bytes:
    """Return a value, pickled. Raises what `pickle.dumps` raises."""
    try:
        return pickle.dumps(value, 5)
    except Exception:  # noqa: BLE001 - pickling runs a user's code
        # Only then, because it calls Python code for each object.
        buffer = io.BytesIO()
        _Pickler(buffer, 5).dump(value)
        return buffer.getvalue()


class _Pickler(pickle.Pickler):
    """Knows the classes that pydantic makes of a generic model, which no module has."""

    def reducer_override(self, value: Any) -> Any:
        """Return how to make such a class again; `NotImplemented` for anything else."""
        if not isinstance(value, type):
            return NotImplemented
        made_of = vars(value).get("__pydantic_generic_metadata__") or {}
        if (origin := made_of.get("origin")) is None:
            return NotImplemented
        args = made_of["args"]
        return operator.getitem, (origin, args if len(args) != 1 else args[0])
