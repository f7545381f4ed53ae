"""What the actors of one koco owe those of another: see `Upgrades` in docs/architecture.md."""

import inspect

import pytest

from koco.control.actor import ControlPlane
from koco.runner.actor import Runner

#: What has shipped. A name may be added; one that is here never goes, nor does its class.
SHIPPED = {
    ControlPlane: {
        *("__init__", "admit", "append", "ask", "close", "configure", "hand_over", "identity"),
        *("operate", "ready", "resume"),
    },
    Runner: {"__init__", "attach", "cancel", "describe", "end", "hold", "launch", "stack"},
}


@pytest.mark.parametrize("actor", SHIPPED, ids=lambda actor: actor.__name__)
def test_an_actor_has_the_methods_that_shipped_and_no_private_ones(actor: type) -> None:
    """Another koco, which looks up each of them by name, could not call it otherwise."""
    methods = {name for name, _ in inspect.getmembers(actor, inspect.isfunction)}
    assert methods >= SHIPPED[actor]
    assert {name for name in methods if name.startswith("_")} == {"__init__"}
