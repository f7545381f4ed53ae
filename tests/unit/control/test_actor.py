"""The methods that actors of one koco must keep for other versions: see docs/architecture.md."""

import inspect

import pytest

from koco.control.actor import ControlPlane
from koco.runner.actor import Runner

#: Released methods. New names may be added; released ones, and their class, must stay.
SHIPPED = {
    ControlPlane: {
        *("__init__", "admit", "append", "ask", "close", "configure", "hand_over", "identity"),
        *("operate", "ready", "resume"),
    },
    Runner: {
        "__init__",
        "attach",
        "cancel",
        "describe",
        "end",
        "hold",
        "is_blocked",
        "launch",
        "stack",
    },
}


@pytest.mark.parametrize("actor", SHIPPED, ids=lambda actor: actor.__name__)
def test_an_actor_keeps_its_released_methods_and_has_no_private_ones(actor: type) -> None:
    """Another koco looks up each of them by name."""
    methods = {name for name, _ in inspect.getmembers(actor, inspect.isfunction)}
    assert methods >= SHIPPED[actor]
    assert {name for name in methods if name.startswith("_")} == {"__init__"}
