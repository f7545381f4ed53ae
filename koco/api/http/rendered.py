"""Executions in lists: those that have ended are encoded once, and then found by their ids."""

from collections.abc import Callable
from typing import Any

import msgspec

from koco.control.container import Parts
from koco.store import model
from koco.store.executions import settled


class Rendered:
    """Renders executions for lists. Those that have ended are encoded once."""

    def __init__(self, render: Callable[[Parts, model.Execution], Any]) -> None:
        """`render` returns an execution as lists show it."""
        self._render = render
        self._encoded: dict[int, msgspec.Raw] = {}

    def of(self, parts: Parts, execution: model.Execution) -> Any:
        """Return an execution as lists show it, or the JSON of that."""
        if (known := self._encoded.get(execution.id)) is not None:
            return known
        shown = self._render(parts, execution)
        if not settled.is_settled(execution) or parts.supervisor.why(execution) is not None:
            return shown
        body = msgspec.json.encode(shown)
        if len(body) <= settled.LARGEST_BYTES:
            if len(self._encoded) >= settled.MOST:
                self._encoded.clear()
            self._encoded[execution.id] = msgspec.Raw(body)
        return shown
