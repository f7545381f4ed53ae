"""How the control plane's actor is called and found: names, and when those who call give up."""

import asyncio

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


def test_members_have_names_of_their_own() -> None:
    """They tell the generation and the number, and count as no control plane."""
    assert control_client.parse_member(control_client.member(2, 3)) == (2, 3)
    assert control_client.generation(control_client.member(2, 3)) is None
    assert control_client.place("control:2") == (2, 0)
    assert control_client.place(control_client.member(2, 3)) == (2, 3)
    for other in ("member", "member:1", "member:x:1", "member:1:2:3", "members:1:2"):
        assert control_client.place(other) is None


def test_another_process_is_found_in_place_of_one_that_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of the same generation, since the older one is in charge; the same one if it is alone.

    Ray's head lists its actors once for each search.
    """
    names = ["member:1:1", "member:2:1", "control", "control:2"]
    listings = []

    def listed() -> list[str]:
        listings.append(1)
        return names

    monkeypatch.setattr(control_client, "_names", listed)
    monkeypatch.setattr(control_client, "_found", lambda found: found)
    assert control_client._find(None) == "control"
    assert control_client._find("control") == "member:1:1"
    assert control_client._find("member:1:1") == "control"
    names.remove("member:1:1")
    assert control_client._find("control") == "control"
    names[:] = ["member:2:1"]
    assert control_client._find(None) == "member:2:1"
    assert len(listings) == 5

    def fail() -> list[str]:
        raise RuntimeError("Ray's head is down")

    monkeypatch.setattr(control_client, "_names", fail)
    assert control_client._find("control") == "control"
    with pytest.raises(control_client._NoPlaneError):
        control_client._find(None)


def test_one_that_stays_away_is_avoided() -> None:
    """After some calls, and again after as many more."""
    tries = control_client._Tries(gone_s=60)
    away = []
    for _ in range(8):
        tries.away()
        away.append(tries.is_long_away)
    assert away == [False, False, False, True] * 2


def test_what_waits_turns_to_another_process() -> None:
    """It is asked again there; a caller that gives up stays given up."""

    class Handle:
        def __init__(self, answer: bytes | None) -> None:
            self.asked: list[bytes] = []
            self._answer = answer
            self.ask = self  # handle.ask.remote(blob)

        async def remote(self, blob: bytes) -> bytes:
            self.asked.append(blob)
            if self._answer is None:
                await asyncio.Event().wait()
            return self._answer or b""

    async def body() -> None:
        silent, other = Handle(None), Handle(b"yes")
        control = control_client.Control(silent)
        waiting = asyncio.create_task(control.call("ask", b"?"))
        given_up = asyncio.create_task(control.call("ask", b"!"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.sleep(0)
        control.turn_to(other)
        assert await waiting == b"yes"
        with pytest.raises(asyncio.CancelledError):
            await given_up
        assert (silent.asked, other.asked) == ([b"?", b"!"], [b"?"])

    asyncio.run(body())
