"""Releases."""

from collections.abc import Callable

import pytest

from koco.errors import (
    NotFoundError,
)
from koco.store.model import (
    ReleaseFailure,
)
from koco.store.store import Store
from tests.support.releases import flow, manifest
from tests.support.stores import Check


def test_switches_to_a_release_in_one_step(check: Callable[[Check], None]) -> None:
    """Numbers count per service, one release is live, and a failed one changes nothing."""

    async def body(store: Store) -> None:
        async def make(service: str = "svc") -> int:
            release = await store.releases.create(
                service, bundle="b", fingerprint="f", manifest=manifest(), by="me"
            )
            assert release.status == "starting"
            return release.number

        assert await make() == 1
        assert await store.releases.live("svc") is None
        await store.releases.go_live("svc", 1, [flow("x")])
        assert [await make(), await make("other")] == [2, 1]
        await store.releases.fail("svc", 2, ReleaseFailure(message="no"))
        live = await store.releases.live("svc")
        assert live is not None
        assert (live.number, live.flows) == (1, (flow("x"),))
        await store.releases.go_live("svc", await make(), [])
        assert [r.number for r in await store.releases.with_status("retired")] == [1]
        assert (await store.releases.get("svc", 2)).error == ReleaseFailure(message="no")
        with pytest.raises(NotFoundError):
            await store.releases.get("svc", 99)

    check(body)


def test_a_newer_release_supersedes_the_starting_ones(check: Callable[[Check], None]) -> None:
    """In the same commit. The error says who deployed it. The live release serves on."""

    async def body(store: Store) -> None:
        async def make(service: str = "svc", by: str = "ada") -> int:
            about = {"bundle": "b", "fingerprint": "f", "manifest": manifest()}
            return (await store.releases.create(service, by=by, fallback=False, **about)).number

        await make()
        await store.releases.go_live("svc", 1, [])
        await make()
        await make("other")
        assert await make(by="bob") == 3
        second = await store.releases.get("svc", 2)
        assert second.status == "failed"
        assert second.error is not None
        assert "bob deployed release 3" in second.error.message
        assert not second.has_closed, "what serves goes on"
        assert [(r.service, r.number) for r in await store.releases.with_status("starting")] == [
            ("other", 1),
            ("svc", 3),
        ]
        live = await store.releases.live("svc")
        assert live is not None
        assert live.number == 1
        assert (await store.releases.go_live("svc", 2, [])).status == "failed", "it is too late"

    check(body)
