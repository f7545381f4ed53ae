"""A list that stays current: of a long one, mostly the head is fetched."""

import time
from typing import Any

import pytest

from koco.cli.live import listing
from koco.cli.live.listing import Listing
from koco.client.answers import Executions


class Server:
    """Answers with the executions that it has, and counts how many it has sent."""

    def __init__(self) -> None:
        self.items: list[Any] = [{"fid": f"f{n}", "status": "finished"} for n in range(50, 0, -1)]
        self.sent = 0

    def ask(self, most: int) -> Executions:
        items = self.items[:most]
        self.sent += len(items)
        return {"items": items, "next": "more" if len(self.items) > most else None}


def make() -> tuple[Server, Listing]:
    server = Server()
    return server, Listing(lambda: server.ask(40), lambda: server.ask(10))


def shown(found: Listing) -> list[str]:
    return [each["fid"] for each in found.items]


def test_a_head_is_joined_to_what_is_known() -> None:
    """New ones come first, others move out; what is gone from the head is gone."""
    server, found = make()
    found.refresh()
    assert (shown(found)[0], len(found.items), server.sent) == ("f50", 40, 40)
    server.items = [{"fid": "new", "status": "running"}, *server.items]
    del server.items[3]
    found.refresh()
    assert shown(found)[:4] == ["new", "f50", "f49", "f47"]
    assert (len(found.items), found.has_more, server.sent) == (40, True, 50)


def test_all_are_fetched_if_the_head_does_not_meet_them() -> None:
    """As after a burst, or with another filter."""
    server, found = make()
    found.refresh()
    server.items = [{"fid": f"n{n}", "status": "running"} for n in range(20)] + server.items
    found.refresh()
    assert shown(found) == [each["fid"] for each in server.items[:40]]
    server.items = server.items[:5]
    found.refresh()
    assert (shown(found), found.has_more) == (["n0", "n1", "n2", "n3", "n4"], False)


def test_all_are_fetched_at_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or when somebody wants to: then what has changed far down is seen."""
    server, found = make()
    found.refresh()
    server.items[30] = {"fid": "f20", "status": "error"}
    found.refresh()
    assert found.items[30]["status"] == "finished"
    found.forget()
    found.refresh()
    assert found.items[30]["status"] == "error"
    server.items[30] = {"fid": "f20", "status": "cancelled"}
    now = time.monotonic()
    monkeypatch.setattr(listing.time, "monotonic", lambda: now + 11)
    found.refresh()
    assert found.items[30]["status"] == "cancelled"
