"""Executions in lists: those that have ended are encoded once, and then found by their ids."""

from typing import Any

import msgspec

from koco.api.routes.executions.executions import Execution
from koco.control.container import Parts
from koco.store import model
from koco.store.executions import settled


class Rendered:
    """Renders executions for lists. Those that have ended are encoded once."""

    def __init__(self) -> None:
        self._encoded: dict[int, msgspec.Raw] = {}

    def of(self, parts: Parts, execution: model.Execution) -> Any:
        """Return an `Execution`, or its JSON."""
        if (known := self._encoded.get(execution.id)) is not None:
            return known
        shown = Execution.render(parts, execution)
        if not settled.is_settled(execution) or parts.supervisor.why(execution) is not None:
            return shown
        body = msgspec.json.encode(shown)
        if len(body) <= settled.LARGEST_BYTES:
            if len(self._encoded) >= settled.MOST:
                self._encoded.clear()
            self._encoded[execution.id] = msgspec.Raw(body)
        return shown
