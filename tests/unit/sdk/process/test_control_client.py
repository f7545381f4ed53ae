"""How the control plane's actor is called and found: names, and when those who call give up."""

import pytest

from koco.cluster import actor_names
from koco.errors import UnreachableError
from koco.sdk.process import control_client


def test_names_tell_generations() -> None:
    """Each that takes over has the next one; no other actor has any."""
    assert [control_client.name(number) for number in (1, 2, 12)] == [
        "control",
        "control:2",
        "control:12",
    ]
    assert [control_client.generation(control_client.name(number)) for number in (1, 2, 12)] == [
        1,
        2,
        12,
    ]
    others = ("controls", "control:x", "control:", actor_names.runner("control", 1, "ab"))
    assert not any(map(control_client.generation, others))


def test_what_is_away_is_tried_for_ever_what_is_gone_is_not() -> None:
    """A restart may last; without any actor there is an end to waiting."""
    tries = control_client._Tries(gone_s=0.0)
    pauses = [tries.away() for _ in range(20)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 0.5
    tries.gone(LookupError())
    tries.away()
    tries.gone(LookupError())  # it was there in between: counted anew
    with pytest.raises(UnreachableError):
        while True:
            tries.gone(LookupError())
